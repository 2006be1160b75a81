"""Schedules: every day, week or month exactly one export, also after Sojourn was stopped and with several consoles."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from sojourn.console.jobs import asking
from sojourn.console.jobs.schedules import run_due
from sojourn.events.embedded.database import Database
from tests.integration.export_steps import A_DAY, Exporting, exporting

DAILY = {"name": "daily", "every": "day", "time_of_day": "01:00", "format": "csv"}


@pytest.fixture
async def console(migrated_database: Database, tmp_path: Path) -> AsyncIterator[Exporting]:
    """Serve a console whose exports a test lets be worked on."""
    async with exporting(migrated_database, tmp_path) as found:
        yield found


async def missed(console: Exporting, days: int) -> None:
    """Let a schedule have been due days ago, at that hour of the tenant's day."""
    await console.execute(
        "UPDATE sojourn.export_schedule SET next_day = next_day - %s, next_at = next_at - %s",
        [days, timedelta(days=days)],
    )


async def jobs(client: httpx.AsyncClient) -> list[dict[str, str]]:
    """Return the filters of all exports, the oldest period first."""
    found = (await client.get("/v1/exports")).json()["exports"]
    return sorted((job["filter"] for job in found), key=lambda filters: str(filters["from"]))


async def test_a_schedule_begins_with_the_next_period_and_asks_for_it_when_it_is_over(console: Exporting) -> None:
    await console.execute("UPDATE sojourn_v1.tenant_config SET time_zone = 'Asia/Shanghai' WHERE tenant = 'acme'")
    client = await console.client("acme")

    begun = await client.post("/v1/export-schedules", json=DAILY)
    async with console.site() as site:
        await run_due(site)
        early = await jobs(client)
        await missed(console, 1)
        await run_due(site)
        await run_due(site)

    assert begun.status_code == 201, begun.text
    next_at = datetime.fromisoformat(begun.json()["next_at"])
    assert datetime.now(UTC) < next_at <= datetime.now(UTC) + timedelta(days=1)
    assert next_at.hour == 17  # 01:00 there
    assert early == []
    (filters,) = await jobs(client)
    over = next_at - timedelta(days=1, hours=1)
    assert filters == {"from": f"{over - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}", "to": f"{over:%Y-%m-%dT%H:%M:%SZ}"}
    assert (await client.get("/v1/export-schedules")).json()["schedules"][0]["next_at"] == begun.json()["next_at"]


async def test_periods_that_were_missed_are_made_up_for_once_each_whoever_is_back_first(console: Exporting) -> None:
    client = await console.client("acme")
    begun = await client.post("/v1/export-schedules", json=DAILY)
    await missed(console, 5)

    async with console.site() as one, console.site() as other, console.site() as third:
        await asyncio.gather(*(run_due(site) for site in (one, other, third) * 3))

    found = await jobs(client)
    assert len(found) == 5
    assert [earlier["to"] for earlier in found[:-1]] == [later["from"] for later in found[1:]]
    assert [act[0] for act in await console.acts("export")] == ["schedule daily"] * 5
    assert (await client.get("/v1/export-schedules")).json()["schedules"][0]["next_at"] == begun.json()["next_at"]


async def test_a_schedule_that_cannot_be_run_keeps_no_other_tenant_waiting(console: Exporting) -> None:
    clients = [await console.client(tenant) for tenant in ("acme", "globex")]
    for client in clients:
        await client.post("/v1/export-schedules", json=DAILY)
    await console.execute("UPDATE sojourn.export_schedule SET filter = '{\"from\": 1}' WHERE tenant = 'acme'")
    await missed(console, 1)

    await console.work()

    assert [len(await jobs(client)) for client in clients] == [0, 1]


async def test_a_period_is_never_asked_for_twice_even_if_the_schedule_is_set_back(console: Exporting) -> None:
    client = await console.client("acme")
    await client.post("/v1/export-schedules", json=DAILY)

    async with console.site() as site:
        for _ in range(2):
            await missed(console, 2)
            await run_due(site)

    assert len(await jobs(client)) == 2


async def test_a_scheduled_export_has_the_sessions_of_its_period_and_goes_where_it_says(console: Exporting) -> None:
    client = await console.client("acme")
    await client.post("/v1/export-schedules", json={**DAILY, "filter": {"user": "=1+1"}, "destination": "archive"})
    await console.execute("UPDATE sojourn.export_schedule SET next_day = '2026-11-22', next_at = '2026-11-22T01:00Z'")
    await console.work()
    while (await client.get("/v1/exports")).json()["exports"][0]["state"] != "done":
        await console.work()

    found = (await client.get("/v1/exports", params={"limit": 200})).json()["exports"]
    (job,) = [job for job in found if job["filter"]["from"] == "2026-11-21T00:00:00Z"]
    assert (job["rows_written"], job["requested_by"]) == (A_DAY, "schedule daily")
    assert len(list((console.archive / "acme").glob("sojourn-history-*"))) == len(found)


async def test_a_schedule_that_was_ended_asks_for_no_more_and_its_name_is_free(console: Exporting) -> None:
    client = await console.client("acme")
    begun = (await client.post("/v1/export-schedules", json=DAILY)).json()

    taken = await client.post("/v1/export-schedules", json=DAILY)
    ended = await client.delete(f"/v1/export-schedules/{begun['schedule_id']}")
    again = await client.delete(f"/v1/export-schedules/{begun['schedule_id']}")
    await missed(console, 3)
    async with console.site() as site:
        await run_due(site)
    free = await client.post("/v1/export-schedules", json=DAILY)

    assert (taken.status_code, ended.status_code, again.status_code, free.status_code) == (409, 204, 404, 201)
    assert await jobs(client) == []
    assert [act[2] for act in await console.acts("export_schedule")] == ["allowed", "refused", "allowed"]
    assert [act[2] for act in await console.acts("export_schedule_end")] == ["allowed", "refused"]


async def test_a_schedule_that_makes_no_sense_is_refused_by_name(
    console: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await console.client("acme")

    for asked, name in (
        ({"every": "hour"}, "every"),
        ({"time_of_day": "24:00"}, "time_of_day"),
        ({"time_of_day": "1:00"}, "time_of_day"),
        ({"name": " "}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"filter": {"from": "2026-11-20"}}, "filter"),
        ({"filter": {"state": "lost"}}, "filter.state"),
        ({"destination": "moon"}, "destination"),
        ({"dataset": "current"}, "dataset"),
    ):
        answer = await client.post("/v1/export-schedules", json={**DAILY, **asked})
        assert answer.status_code == (404 if "destination" in asked else 400), answer.text
        assert name in answer.json()["detail"]
    monkeypatch.setattr(asking, "SCHEDULES_MAX", 0)
    full = await client.post("/v1/export-schedules", json=DAILY)

    assert full.status_code == 409
    assert await console.execute("SELECT FROM sojourn.export_schedule") == []
