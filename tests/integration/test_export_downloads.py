"""Downloads of exports: resumed where they were cut off, and never a file that is no part of the export."""

import hashlib
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sojourn.events.embedded.database import Database
from tests.integration.export_steps import Exporting, exporting


@pytest.fixture
async def console(migrated_database: Database, tmp_path: Path) -> AsyncIterator[Exporting]:
    """Serve a console whose exports a test lets be worked on."""
    async with exporting(migrated_database, tmp_path) as found:
        yield found


async def ranged(client: httpx.AsyncClient, path: str, range_: str, **headers: str) -> httpx.Response:
    return await client.get(path, headers={"Range": range_, **headers})


async def test_a_download_goes_on_where_it_was_cut_off(console: Exporting) -> None:
    client = await console.client("acme", "export")
    job = await console.exported(client, format="parquet")

    for path in (f"/v1/exports/{job['job_id']}/files/2", f"/v1/exports/{job['job_id']}/archive"):
        whole = await client.get(path)
        size, etag = len(whole.content), whole.headers["etag"]
        for range_, expected in (
            ("bytes=0-99", whole.content[:100]),
            ("bytes=100-", whole.content[100:]),
            ("bytes=-70", whole.content[-70:]),
            (f"bytes=10-{size + 50}", whole.content[10:]),
            (f"bytes=-{size + 50}", whole.content),
        ):
            part = await ranged(client, path, range_, **{"If-Range": etag})
            assert (part.status_code, part.content) == (206, expected), range_
            assert part.headers["content-range"].endswith(f"/{size}")
            assert part.headers["content-length"] == str(len(expected))
        assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")


async def test_a_range_of_other_bytes_gets_all_of_these(console: Exporting) -> None:
    client = await console.client("acme", "export")
    job = await console.exported(client)
    path = f"/v1/exports/{job['job_id']}/files/1"
    whole = (await client.get(path)).content

    for range_, headers in (
        ("bytes=5-9", {"If-Range": '"' + "0" * 64 + '"'}),
        ("bytes=9-5", {}),
        ("bytes=0-1,5-6", {}),
        ("bytes=-", {}),
        ("lines=1-2", {}),
    ):
        answer = await ranged(client, path, range_, **headers)
        assert (answer.status_code, answer.content) == (200, whole), range_
    beyond = await ranged(client, path, f"bytes={len(whole)}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole)}")


async def test_nobody_takes_a_file_away_without_a_trace_whatever_part_of_it_they_ask_for(console: Exporting) -> None:
    job = await console.exported(await console.client("acme", "export"))
    taken = []

    for place, what in (("files/1", "file 1"), ("archive", "archive")):
        for range_ in ("bytes=00-", "bytes=1-", "bytes=-9999999", "bytes=0-,0-", "bytes=5-9"):
            client, path = await console.client("acme", "export"), f"/v1/exports/{job['job_id']}/{place}"
            begun = await ranged(client, path, range_, **{"If-Range": '"of other bytes"'} if range_[-1] == "9" else {})
            rest = await ranged(client, path, "bytes=7-")
            assert (begun.status_code in {200, 206}, rest.status_code) == (True, 206), range_
            taken.append(f"{job['job_id']} {what}")

    acts = await console.acts("export_download")
    assert [act[1] for act in acts] == taken
    assert len({act[0] for act in acts}) == len(taken)


async def test_a_file_is_named_for_its_tenant_and_time_and_marked_by_its_digest(console: Exporting) -> None:
    client = await console.client("acme", "export")
    job = await console.exported(client)

    file = await client.get(f"/v1/exports/{job['job_id']}/files/1")
    manifest = (await client.get(f"/v1/exports/{job['job_id']}/manifest")).json()

    digest = hashlib.sha256(file.content).hexdigest()
    assert file.headers["etag"] == f'"{digest}"'
    assert manifest["files"][0]["sha256"] == digest
    name = file.headers["content-disposition"].removeprefix('attachment; filename="').removesuffix('"')
    assert name.startswith("sojourn-acme-history-20")
    assert name.endswith("Z.csv")
    assert file.headers["x-content-type-options"] == "nosniff"


async def test_the_files_are_for_nobody_else_on_the_machine(console: Exporting) -> None:
    job = await console.exported(await console.client("acme", "export"))

    for folder in (console.folder(job), console.folder(job).parent, console.folder(job).parents[1]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_numbers_that_no_file_has_are_not_found(console: Exporting) -> None:
    client = await console.client("acme", "export")
    job = await console.exported(client)

    for number in ("0", "2", "-1", "99999999999999999999", "one", "%2e%2e%2f1"):
        answer = await client.get(f"/v1/exports/{job['job_id']}/files/{number}")
        assert answer.status_code in {400, 404}, number


@pytest.mark.parametrize("path", ["../../../secret", "/etc/passwd", "link.csv", "folder/secret"])
async def test_nothing_outside_of_an_export_is_served_even_if_its_row_or_folder_was_changed(
    console: Exporting, path: str
) -> None:
    client = await console.client("acme", "export")
    job = await console.exported(client)
    outside = console.data_dir / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret!!")
    (console.data_dir / "exports" / "secret").write_text("secret!!")
    folder = console.folder(job) / "1"
    (folder / "link.csv").symlink_to(outside / "secret")
    (folder / "folder").symlink_to(outside)
    manifest: dict[str, Any] = (await client.get(f"/v1/exports/{job['job_id']}/manifest")).json()
    manifest["files"][0] |= {"path": path, "bytes": 8}
    await console.execute("UPDATE sojourn.export_job SET manifest = %s", [json.dumps(manifest)])

    for place in ("files/1", "archive"):
        answer = await client.get(f"/v1/exports/{job['job_id']}/{place}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:sojourn:problem:files-elsewhere")
        assert b"secret!!" not in answer.content


async def test_a_console_on_another_machine_says_where_the_files_are(console: Exporting) -> None:
    client = await console.client("acme", "export")
    job = await console.exported(client)
    (console.data_dir / "exports").rename(console.data_dir / "of-another-machine")

    answer = await client.get(f"/v1/exports/{job['job_id']}/files/1")

    assert answer.status_code == 409
    assert "another console" in answer.json()["detail"]
