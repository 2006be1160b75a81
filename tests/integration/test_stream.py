"""The live stream: what a projector commits reaches everybody who looks at that tenant, and nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from sojourn.console.api import stream as stream_api
from sojourn.console.stream import hub as hubs
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant
from tests.integration.site_steps import WAIT_SECONDS_MAX, Console, running_console

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
    """Leave what a projector would commit: rows and the position."""
    async with console.rows() as connection, connection.transaction():
        for offset, session_id in enumerate(sessions, first):
            await insert_history(connection, tenant, session_id, offset=offset, **columns)
        await connection.execute(
            "INSERT INTO sojourn_v1.position (topic, partition, epoch, next_offset, record_appended_at, committed_at)"
            " VALUES ('sojourn.lifecycle', 0, 1, %(next)s, %(at)s, now())"
            " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = %(next)s",
            {"next": first + len(sessions), "at": HISTORY_DAY},
        )


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


async def test_every_console_tells_and_who_goes_from_one_to_another_misses_nothing(
    two_tenants: Console, tmp_path: Path
) -> None:
    async with running_console(two_tenants.database, tmp_path / "other") as other:
        async with (
            listening(await two_tenants.client("acme", "read")) as here,
            listening(await other.client("acme", "read")) as there,
        ):
            await here.next("changes"), await there.next("changes")
            await commit(two_tenants, "acme", "s-1", first=1)
            told = [await here.next("changes", "resync"), await there.next("changes", "resync")]

        assert told[0] == told[1]
        await commit(two_tenants, "acme", "s-2", first=2)
        async with listening(await other.client("acme", "read"), told[0][1]) as again:
            missed = await again.next("changes", "resync")

    assert [change["session_id"] for change in missed[2]["sessions"]] == ["s-2"]


async def test_what_was_committed_while_the_console_had_no_database_is_told_when_it_is_back(
    two_tenants: Console, migrated_server: str
) -> None:
    (name,) = (await two_tenants.execute("SELECT current_database()"))[0]
    client = await two_tenants.client("acme", "read")
    async with listening(client) as listener, await psycopg.AsyncConnection.connect(migrated_server) as server:
        await listener.next("changes")
        await server.set_autocommit(True)
        away = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"

        async with two_tenants.rows() as connection:  # what is committed now, nobody listens to
            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            await server.execute(f"{away} AND pid <> %s".encode(), [name, connection.info.backend_pid])
            assert (await client.get("/v1/sessions")).status_code == 503
            await insert_history(connection, "acme", "s-1", offset=1)
            await connection.execute("UPDATE sojourn_v1.position SET next_offset = 2")
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())

        kind, last, told = await listener.next("changes", "resync")

    assert (kind, last, [change["session_id"] for change in told["sessions"]]) == ("changes", "0:2", ["s-1"])


async def test_a_stream_ends_when_the_database_cannot_say_who_may_read(
    two_tenants: Console, migrated_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_api, "CHECK_SECONDS", 0.05)
    (name,) = (await two_tenants.execute("SELECT current_database()"))[0]
    async with listening(await two_tenants.client("acme", "read")) as listener:
        await listener.next("changes")
        async with await psycopg.AsyncConnection.connect(migrated_server, autocommit=True) as server:
            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            await server.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", [name]
            )

            await listener.end()

            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


async def test_a_console_that_stops_ends_its_streams_in_order(two_tenants: Console, tmp_path: Path) -> None:
    async with AsyncExitStack() as listeners:
        async with running_console(two_tenants.database, tmp_path / "other") as other:
            client = httpx.AsyncClient(base_url=other.url, timeout=WAIT_SECONDS_MAX)
            await listeners.enter_async_context(client)
            client.headers["Authorization"] = f"Bearer {await other.token('acme', ['read'])}"
            listener = await listeners.enter_async_context(listening(client))
            await listener.next("changes")

        await listener.end()


async def test_who_is_told_of_a_change_gets_a_list_that_has_it_though_others_share_an_older_one(
    two_tenants: Console,
) -> None:
    async def shown() -> str:
        client = await two_tenants.person("acme", "viewer")
        answer = await client.get("/t/acme/sessions", headers={"HX-Request": "true", "Sojourn-Unasked": "yes"})
        assert answer.status_code == 200
        return answer.text

    async with listening(await two_tenants.client("acme", "read")) as listener:
        for number in range(1, 4):
            async with two_tenants.rows() as connection:
                await insert_live(connection, "acme", f"live-{number}", slot=number)
            await commit(two_tenants, "acme", f"s-{number}", first=number)
            while (await listener.next("changes", "resync"))[1] != f"0:{number + 1}":
                pass

            assert f"live-{number}" in await shown()
