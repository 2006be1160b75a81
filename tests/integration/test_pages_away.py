"""While the database is away: pages and the API say so with what to do, streams stay, and all goes on by itself."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from tests.integration.lived import complete
from tests.integration.site_steps import WAIT_SECONDS_MAX, Console
from tests.integration.test_pages_current import NOW, PAGE, acme, opened, shown, text_of
from tests.integration.test_stream import listening

__all__ = ["acme"]


@asynccontextmanager
async def away(console: Console, migrated_server: str) -> AsyncIterator[None]:
    """Cut every connection to the console's database, and let nobody connect while the block runs."""
    async with await psycopg.AsyncConnection.connect(migrated_server, autocommit=True) as superuser:
        ((name,),) = await console.execute("SELECT current_database()")
        connects = psycopg.sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        await superuser.execute(connects.format(psycopg.sql.Identifier(name), psycopg.sql.SQL("false")))
        await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            await superuser.execute(connects.format(psycopg.sql.Identifier(name), psycopg.sql.SQL("true")))


async def test_a_database_that_is_away_is_told_with_what_to_do_and_comes_back_by_itself(
    acme: Console, migrated_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.console.api.stream.CHECK_SECONDS", 600)  # the hub alone is looked at here
    await opened(acme, "s-1")
    person, program = await acme.person("acme", "operator"), await acme.client("acme")
    async with listening(program) as stream:
        await stream.next("changes")
        before = await person.get(PAGE)
        async with away(acme, migrated_server):
            page, answer = await person.get(PAGE), await program.get("/v1/sessions")
            sent = await person.post("/t/acme/disconnect", data={"session": "s-1", "reason": "x", "send": "yes"})
            door = await acme.browser().get("/sign-in")

        after = await person.get(PAGE)
        async with acme.rows() as connection:
            await complete(connection, NOW)
        while (await stream.next("freshness"))[2]["complete_to"] is None:
            pass  # told before

    assert shown(before) == shown(after) == ["s-1"]
    assert (page.status_code, answer.status_code, sent.status_code, door.status_code) == (503, 503, 503, 200)
    assert page.headers["retry-after"] == answer.headers["retry-after"] == "2"
    assert answer.json()["type"] == "urn:sojourn:problem:unavailable"
    assert re.search(
        r"The database does not answer.* Wait some seconds and load the page again.*request \w+", text_of(page)
    )
    assert "Nothing of what you sent was done" in text_of(sent)


async def test_a_connection_that_is_cut_under_a_page_makes_it_unavailable_and_not_broken(acme: Console) -> None:
    await opened(acme, "s-1")
    person = await acme.person("acme", "viewer")
    cut_what_waits = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with acme.rows() as connection, connection.transaction():
        await connection.execute("LOCK sojourn_v1.live_session")
        asking = asyncio.create_task(person.get(PAGE))
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not await acme.execute(cut_what_waits):
                pass

        cut = await asking

    assert cut.status_code == 503
    assert shown(await person.get(PAGE)) == ["s-1"]
