"""Export jobs: asked for over HTTP, worked on by any console, and exactly what the list shows."""

import csv
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import httpx
import pytest

from sojourn.console.jobs import asking
from sojourn.events.embedded.database import Database
from sojourn.projections.read import HISTORY_COLUMNS, HistoryFilter, as_reader, history_query, stream
from tests.integration.export_steps import A_DAY, DAYS, ROWS, Exporting, exporting
from tests.integration.rows import HISTORY_DAY


@pytest.fixture
async def console(migrated_database: Database, tmp_path: Path) -> AsyncIterator[Exporting]:
    """Serve a console whose exports a test lets be worked on."""
    async with exporting(migrated_database, tmp_path) as found:
        yield found


async def listed(console: Exporting, filters: HistoryFilter) -> list[str]:
    """Return the ids that the list shows, in its order."""
    async with console.rows() as connection, as_reader(connection, "acme"):
        column = HISTORY_COLUMNS.index("session_id")
        return [row[column] async for row in stream(connection, history_query(filters))]


async def test_a_csv_export_is_asked_for_watched_and_downloaded_as_the_list_shows_it(console: Exporting) -> None:
    client = await console.client("acme", "export")

    asked = await client.post("/v1/exports", json={"dataset": "history", "format": "csv", "filter": {"user": "u-3"}})
    waiting = (await client.get(asked.headers["location"])).json()
    await console.work()
    job = (await client.get(asked.headers["location"])).json()
    file = await client.get(f"{asked.headers['location']}/files/1")

    assert asked.status_code == 202
    assert (waiting["state"], waiting["fraction"], waiting["files"]) == ("queued", None, None)
    assert (job["state"], job["fraction"], job["rows_written"], job["attempts"]) == ("done", 1.0, 12, 1)
    assert job["requested_by"].startswith("token test-")
    rows = list(csv.DictReader(io.StringIO(file.text, newline="")))
    assert [row["session_id"] for row in rows] == await listed(console, HistoryFilter(user="u-3"))
    assert len(file.content) == job["bytes"]


async def test_a_parquet_export_of_many_days_comes_as_one_zip_that_duckdb_reads(
    console: Exporting, tmp_path: Path
) -> None:
    client = await console.client("acme", "export")

    job = await console.exported(client, format="parquet")
    archive = await client.get(f"/v1/exports/{job['job_id']}/archive")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        assert opened.testzip() is None
        opened.extractall(tmp_path / "opened")

    assert (job["files"], job["rows_expected"]) == (DAYS, ROWS)
    path = f"{tmp_path}/opened/*/tenant=*/date=*/*.parquet"
    with duckdb.connect() as readers:
        found = readers.execute(
            "SELECT session_id FROM read_parquet(?, hive_partitioning = true) ORDER BY logout_at, session_id", [path]
        ).fetchall()
    assert [session_id for (session_id,) in found] == await listed(console, HistoryFilter())
    assert archive.headers["content-type"] == "application/zip"
    assert (await client.get(f"/v1/exports/{job['job_id']}/archive")).content == archive.content


async def test_a_range_of_time_exports_the_sessions_of_that_range(console: Exporting) -> None:
    client = await console.client("acme", "export")
    begin = HISTORY_DAY + timedelta(days=1)

    job = await console.exported(client, filter={"from": begin.isoformat(), "to": "2026-11-22"})

    assert job["rows_written"] == A_DAY
    assert job["filter"] == {"from": "2026-11-21T09:00:00Z", "to": "2026-11-22T00:00:00Z"}


async def test_the_current_list_is_exported_as_of_one_instant(console: Exporting) -> None:
    client = await console.client("acme", "export")
    before = datetime.now(UTC)

    job = await console.exported(client, dataset="current")
    manifest = (await client.get(f"/v1/exports/{job['job_id']}/manifest")).json()

    assert before <= datetime.fromisoformat(job["as_of"]) <= datetime.now(UTC)
    assert (manifest["as_of"], manifest["rows"]) == (job["as_of"], 1)


async def test_texts_that_a_spreadsheet_evaluates_are_neutralised_unless_somebody_says_no(console: Exporting) -> None:
    client = await console.client("acme", "export")

    for neutralised, shown in ((None, "'=1+1"), (True, "'=1+1"), (False, "=1+1")):
        job = await console.exported(client, filter={"user": "=1+1"}, neutralised=neutralised)
        text = (await client.get(f"/v1/exports/{job['job_id']}/files/1")).text
        manifest = (await client.get(f"/v1/exports/{job['job_id']}/manifest")).json()
        assert next(csv.DictReader(io.StringIO(text)))["user_name"] == shown
        assert manifest["neutralised"] is job["neutralised"] is (neutralised is not False)


NONSENSE: Final[list[tuple[dict[str, Any], str, int]]] = [
    ({"dataset": "users"}, "dataset", 400),
    ({"format": "xlsx"}, "format", 400),
    ({"path": "/etc"}, "path", 400),
    ({"neutralised": "perhaps"}, "neutralised", 400),
    ({"filter": "all"}, "filter", 400),
    ({"filter": {"state": ["active"], "nothing": 1}}, "filter.", 400),
    ({"filter": {"user": {"is": "Ada"}}}, "filter.user", 400),
    ({"filter": {"user": "a\0b"}}, "filter.user", 400),
    ({"filter": {"user": "a" * 1001}}, "filter.user", 400),
    ({"filter": {"from": "yesterday"}}, "filter.from", 400),
    ({"filter": {"from": "2026-11-22", "to": "2026-11-21"}}, "filter.to", 409),
    ({"format": "parquet", "neutralised": False}, "neutralised", 409),
    ({"destination": "/srv/exports"}, "destination", 404),
    ({"destination": "../archive"}, "destination", 404),
    ({"destination": "https://example.com"}, "destination", 404),
]


async def test_nonsense_is_refused_by_the_name_of_what_is_wrong(console: Exporting) -> None:
    client = await console.client("acme", "export")

    for asked, name, status in NONSENSE:
        answer = await client.post("/v1/exports", json={"dataset": "history", "format": "csv", **asked})

        assert answer.status_code == status, answer.text
        assert name in answer.json()["detail"]
    assert await console.execute("SELECT FROM sojourn.export_job") == []


async def test_every_request_is_written_down_with_its_job_or_its_refusal(console: Exporting) -> None:
    client = await console.client("acme", "export")

    job = await console.exported(client, filter={"user": "Ada"})
    await client.post("/v1/exports", json={"dataset": "history", "format": "csv", "destination": "moon"})
    await client.get(f"/v1/exports/{job['job_id']}/files/1")
    await client.get(f"/v1/exports/{job['job_id']}/files/1", headers={"Range": "bytes=100-"})
    await client.post(f"/v1/exports/{job['job_id']}/cancel")

    asked = await console.acts("export")
    assert [act[2] for act in asked] == ["allowed", "refused"]
    assert asked[0][:2] == (job["requested_by"], job["job_id"])
    assert "'moon'" in asked[1][3]
    assert [act[1:3] for act in await console.acts("export_download")] == [(f"{job['job_id']} file 1", "allowed")]
    assert [act[2] for act in await console.acts("export_cancel")] == ["refused"]


async def test_a_repeat_under_the_same_key_is_the_same_export_and_another_one_is_refused(console: Exporting) -> None:
    client = await console.client("acme", "export")
    body = {"dataset": "history", "format": "csv", "filter": {"user": "Ada"}}
    key = {"Idempotency-Key": "k-1"}

    first, again = [await client.post("/v1/exports", json=body, headers=key) for _ in range(2)]
    other = await client.post("/v1/exports", json={**body, "format": "parquet"}, headers=key)
    globex = await (await console.client("globex", "export")).post("/v1/exports", json=body, headers=key)

    assert first.json() == again.json()
    assert (other.status_code, other.json()["type"]) == (422, "urn:sojourn:problem:key-taken")
    assert globex.json()["job_id"] != first.json()["job_id"]
    assert [act[2] for act in await console.acts("export")] == ["allowed", "refused", "allowed"]


async def test_a_tenant_may_not_fill_the_queue(console: Exporting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "OPEN_JOBS_MAX", 2)
    client = await console.client("acme", "export")

    codes = [
        (await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})).status_code for _ in range(3)
    ]

    assert codes == [202, 202, 429]


async def test_another_tenant_s_exports_look_like_none_at_all(console: Exporting) -> None:
    acme, globex = await console.client("acme"), await console.client("globex")
    job = await console.exported(acme)
    schedule = await acme.post(
        "/v1/export-schedules", json={"name": "daily", "every": "day", "time_of_day": "01:00", "format": "csv"}
    )
    unknown = "00000000-0000-4000-8000-000000000000"

    async def answers(client: httpx.AsyncClient, job_id: str, schedule_id: str) -> list[tuple[int, bytes]]:
        found = [
            *[await client.get(f"/v1/exports/{job_id}{path}") for path in ("", "/manifest", "/files/1", "/archive")],
            await client.post(f"/v1/exports/{job_id}/cancel"),
            await client.delete(f"/v1/export-schedules/{schedule_id}"),
        ]
        return [(answer.status_code, answer.content) for answer in found]

    strange = await answers(globex, job["job_id"], schedule.json()["schedule_id"])
    assert strange == await answers(globex, unknown, unknown)
    assert {code for code, _ in strange} == {404}
    for path, name in (("/v1/exports", "exports"), ("/v1/export-schedules", "schedules")):
        assert (await globex.get(path)).json()[name] == []
        assert len((await acme.get(path)).json()[name]) == 1


async def test_who_may_only_read_neither_exports_nor_takes_files_away(console: Exporting) -> None:
    job = await console.exported(await console.client("acme", "export"))
    reader = await console.client("acme", "read", "disconnect", "audit")
    body = {"dataset": "history", "format": "csv"}
    schedule = {"name": "daily", "every": "day", "time_of_day": "01:00", "format": "csv"}

    answers = [
        await reader.post("/v1/exports", json=body),
        await reader.get("/v1/exports"),
        *[await reader.get(f"/v1/exports/{job['job_id']}{path}") for path in ("", "/manifest", "/files/1", "/archive")],
        await reader.post(f"/v1/exports/{job['job_id']}/cancel"),
        await reader.post("/v1/export-schedules", json=schedule),
        await reader.get("/v1/export-schedules"),
    ]

    assert {answer.status_code for answer in answers} == {403}


async def test_pages_of_exports_go_on_where_the_last_one_ended(console: Exporting) -> None:
    client, globex = await console.client("acme", "export"), await console.client("globex", "export")
    asked = [
        (await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})).json()["job_id"]
        for _ in range(5)
    ]
    found: list[str] = []
    cursor = None

    while True:
        page = (await client.get("/v1/exports", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        found += [job["job_id"] for job in page["exports"]]
        if page["next"] is None:
            break
        cursor = page["next"]

    assert found == asked[::-1]
    strange = await globex.get("/v1/exports", params={"cursor": cursor or ""})
    assert strange.json()["type"] == "urn:sojourn:problem:bad-cursor"
