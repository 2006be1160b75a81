"""The live stream: what a projector commits reaches everybody who looks at that tenant, and nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from sojourn.console.api import stream as stream_api
from sojourn.console.stream import hub as hubs
from tests.integration.rows import HISTORY_DAY, insert_history, insert_tenant
from tests.integration.site_steps import WAIT_SECONDS_MAX, Console

Event = tuple[str, str | None, dict[str, Any]]


class Listener:
    """Reads the events of a stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self, *kinds: str) -> Event:
        """Return the next event of one of these kinds."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while True:
                event = await self._event()
                if event[0] in kinds:
                    return event

    async def end(self) -> None:
        """Wait until the server ends the stream."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            async for _ in self._lines:
                pass

    async def _event(self) -> Event:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if not line:
                if "event" in fields:
                    return fields["event"], fields.get("id"), json.loads(fields["data"])
                continue
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def listening(client: httpx.AsyncClient, last: str | None = None) -> AsyncIterator[Listener]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with client.stream("GET", "/v1/stream", headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield Listener(answer)


async def commit(console: Console, tenant: str, *sessions: str, first: int, **columns: Any) -> None:
    """Leave what a projector would commit: rows, the position, and the notification."""
    async with console.rows() as connection, connection.transaction():
        for offset, session_id in enumerate(sessions, first):
            await insert_history(connection, tenant, session_id, offset=offset, **columns)
        await connection.execute(
            "INSERT INTO sojourn_v1.position (topic, partition, epoch, next_offset, record_appended_at, committed_at)"
            " VALUES ('sojourn.lifecycle', 0, 1, %(next)s, %(at)s, now())"
            " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = %(next)s",
            {"next": first + len(sessions), "at": HISTORY_DAY},
        )
        await connection.execute("SELECT pg_notify('sojourn_applied', 'sojourn.lifecycle')")


@pytest.fixture
async def two_tenants(console: Console) -> Console:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
        await insert_tenant(connection, "globex")
    await commit(console, "acme", "s-0", first=0)
    return console


async def test_a_commit_is_told_to_the_streams_of_its_tenant_and_to_no_other(two_tenants: Console) -> None:
    acme, globex = await two_tenants.client("acme", "read"), await two_tenants.client("globex", "read")
    async with listening(acme) as one, listening(globex) as other:
        await one.next("changes"), await other.next("changes")

        await commit(two_tenants, "acme", "s-1", first=1)
        told = await one.next("changes", "resync")
        await commit(two_tenants, "globex", "g-1", first=2, logout_at=None, revision=1)
        others = await other.next("changes", "resync")

    assert (told[0], told[1]) == ("changes", "0:2")
    assert told[2]["sessions"] == [{"session_id": "s-1", "change": "ended"}]
    assert others[2]["sessions"] == [{"session_id": "g-1", "change": "opened"}]


async def test_who_comes_again_is_told_what_was_missed(two_tenants: Console) -> None:
    client = await two_tenants.client("acme", "read")
    async with listening(client) as first:
        _, last, _ = await first.next("changes")
    await commit(two_tenants, "acme", "s-1", "s-2", first=1)

    async with listening(client, last) as again:
        kind, _, told = await again.next("changes", "resync")

    assert kind == "changes"
    assert {change["session_id"] for change in told["sessions"]} == {"s-1", "s-2"}


async def test_who_missed_too_much_or_knows_another_log_is_told_to_read_anew(
    two_tenants: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "CHANGES_MAX", 1)
    client = await two_tenants.client("acme", "read")
    await commit(two_tenants, "acme", "s-1", "s-2", first=1)

    for last in ("0:1", "0:999", "7:1"):
        async with listening(client, last) as again:
            assert (await again.next("changes", "resync"))[0] == "resync"


async def test_a_client_that_does_not_read_is_told_to_read_anew_instead_of_everything() -> None:
    stream = hubs.Stream("acme")
    for number in range(hubs.QUEUE_MESSAGES_MAX + 1):
        stream.tell([b"%d" % number], b"resync")

    assert [await stream.next(1)] == [b"resync"]
    with pytest.raises(TimeoutError):
        await stream.next(0.01)


async def test_a_client_that_does_not_read_hears_of_the_end_all_the_same() -> None:
    stream = hubs.Stream("acme")
    stream.end()
    stream.tell([b"%d" % number for number in range(hubs.QUEUE_MESSAGES_MAX + 1)], b"resync")

    assert await stream.next(1) is None


async def test_a_stream_ends_when_its_credential_is_taken_back(
    two_tenants: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_api, "CHECK_SECONDS", 0.05)
    client = await two_tenants.client("acme", "read")
    async with listening(client) as listener:
        await listener.next("changes")

        await two_tenants.execute("UPDATE sojourn.api_token SET revoked_at = now()")

        await listener.end()


async def test_nobody_has_more_streams_than_are_good(two_tenants: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_api, "STREAMS_OF_ONE_MAX", 1)
    client = await two_tenants.client("acme", "read")
    async with listening(client) as listener:
        await listener.next("changes")
        second = await client.get("/v1/stream")

    assert second.status_code == 429


async def test_what_is_no_event_id_is_refused(two_tenants: Console) -> None:
    client = await two_tenants.client("acme", "read")

    for last in ("x", "0:1,", "0:-1", "0:1" * 9000):
        assert (await client.get("/v1/stream", headers={"Last-Event-ID": last})).status_code in {400, 431}
