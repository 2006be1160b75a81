"""The page of exports: lists' menus lead to it, it follows what runs, and it says what was wrong."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sojourn.events.embedded.database import Database
from tests.integration.export_steps import A_DAY, ROWS, Exporting, exporting

PAGE = "/t/acme/exports"


@pytest.fixture
async def console(migrated_database: Database, tmp_path: Path) -> AsyncIterator[Exporting]:
    """Serve a console whose exports a test lets be worked on."""
    async with exporting(migrated_database, tmp_path) as found:
        yield found


async def test_the_menu_of_a_list_leads_to_its_export_on_the_page(console: Exporting) -> None:
    client = await console.client("acme")
    menu = {
        "dataset": "history",
        "format": "csv-raw",
        "user": "=1+1",
        "from": "2026-11-21T00:00:00Z",
        "reason": "logoff",
    }

    sent = await client.post(PAGE, data={**menu, "to": "2026-11-22T00:00:00Z"})
    waiting = await client.get(PAGE)
    await console.work()
    done = await client.get(PAGE)

    assert sent.status_code == 303
    (job,) = (await client.get("/v1/exports")).json()["exports"]
    assert sent.headers["location"] == f"{PAGE}#job-{job['job_id']}"
    assert f'id="job-{job["job_id"]}"' in waiting.text
    assert 'hx-trigger="every 2s"' in waiting.text
    assert "Cancel" in waiting.text
    assert (job["neutralised"], job["rows_written"], job["filter"]["reason"]) == (False, A_DAY, "logoff")
    assert "every 2s" not in done.text
    assert f"/v1/exports/{job['job_id']}/files/1?tenant=acme" in done.text
    assert "CSV for programs" in done.text
    assert (await client.get(f"/v1/exports/{job['job_id']}/files/1?tenant=acme")).status_code == 200


async def test_days_of_the_form_are_those_of_the_tenant_and_include_the_last(console: Exporting) -> None:
    await console.execute("UPDATE sojourn_v1.tenant_config SET time_zone = 'Asia/Shanghai' WHERE tenant = 'acme'")
    client = await console.client("acme")

    await client.post(PAGE, data={"dataset": "history", "format": "parquet", "from": "2026-11-20", "to": "2026-11-21"})
    await console.work()

    (job,) = (await client.get("/v1/exports")).json()["exports"]
    assert job["filter"] == {"from": "2026-11-19T16:00:00Z", "to": "2026-11-21T16:00:00Z"}
    assert job["rows_written"] == 2 * A_DAY


async def test_a_script_gets_the_rows_alone_and_hears_when_there_is_no_more_to_follow(console: Exporting) -> None:
    client = await console.client("acme")
    await client.post(PAGE, data={"dataset": "history", "format": "csv"})

    following = await client.get(PAGE, headers={"HX-Request": "true"})
    await console.work()
    last = await client.get(PAGE, headers={"HX-Request": "true"})

    assert (following.status_code, last.status_code) == (200, 286)
    assert "<html" not in following.text
    assert f"{ROWS}" in last.text


async def test_what_is_wrong_is_told_on_the_page_with_what_was_filled_in(console: Exporting) -> None:
    client = await console.client("acme")

    for sent, words in (
        ({"format": "csv"}, "dataset"),
        ({"dataset": "history", "format": "xlsx"}, "format"),
        ({"dataset": "history", "format": "csv", "from": "2026-11-22", "to": "2026-11-20"}, "before it begins"),
        ({"dataset": "history", "format": "csv", "path": "/etc/passwd"}, "path"),
        ({"dataset": "history", "format": "csv", "destination": "../up"}, "destination"),
    ):
        answer = await client.post(PAGE, data=sent)
        assert answer.status_code == (404 if "destination" in sent else 400)
        assert 'role="alert"' in answer.text
        assert words in answer.text
    kept = await client.post(PAGE, data={"dataset": "history", "format": "csv", "user": "Ada <b>", "to": "never"})
    assert 'value="Ada &lt;b&gt;"' in kept.text
    assert await console.execute("SELECT FROM sojourn.export_job") == []


async def test_an_export_is_cancelled_on_the_page_once(console: Exporting) -> None:
    client = await console.client("acme")
    await client.post(PAGE, data={"dataset": "history", "format": "csv"})
    (job,) = (await client.get("/v1/exports")).json()["exports"]

    first = await client.post(f"{PAGE}/{job['job_id']}/cancel")
    second = await client.post(f"{PAGE}/{job['job_id']}/cancel")

    assert (first.status_code, second.status_code) == (303, 409)
    assert "the export has ended" in second.text
    assert "cancelled" in second.text


async def test_a_schedule_is_begun_and_ended_on_the_page(console: Exporting) -> None:
    client = await console.client("acme")
    form = {"name": "For <finance>", "every": "month", "time_of_day": "06:30", "format": "csv"}

    begun = await client.post(f"{PAGE}/schedules", data={**form, "destination": "archive"})
    taken = await client.post(f"{PAGE}/schedules", data=form)
    page = (await client.get(PAGE)).text
    (schedule,) = (await client.get("/v1/export-schedules")).json()["schedules"]
    ended = await client.post(f"{PAGE}/schedules/{schedule['schedule_id']}/end")

    assert (begun.status_code, taken.status_code, ended.status_code) == (303, 409, 303)
    assert "a schedule has this name" in taken.text
    assert "For &lt;finance&gt;" in page
    assert "every month, 06:30" in page
    assert "For &lt;finance&gt;" not in (await client.get(PAGE)).text


async def test_an_empty_page_says_what_to_do_in_both_languages(console: Exporting) -> None:
    client = await console.client("acme")

    english = await client.get(PAGE)
    chinese = await client.get(PAGE, headers={"Accept-Language": "zh"})

    assert "Nothing was exported yet" in english.text
    assert "尚未导出任何内容" in chinese.text
    assert "New export" not in chinese.text


async def test_another_tenant_s_page_and_who_may_not_export_are_refused(console: Exporting) -> None:
    globex, reader = await console.client("globex"), await console.client("acme", "read")

    assert (await globex.get(PAGE)).status_code == 404
    assert (await globex.post(PAGE, data={"dataset": "history", "format": "csv"})).status_code == 404
    assert (await reader.get(PAGE)).status_code == 403
    assert (await reader.post(PAGE, data={"dataset": "history", "format": "csv"})).status_code == 403
