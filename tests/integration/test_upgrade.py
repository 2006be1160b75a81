"""A database of the first version that users have, with what its own code wrote, brought to the newest version."""

import asyncio
import json
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from sojourn.consumers import partition, sweep
from sojourn.consumers.host import Host
from sojourn.events.embedded.database import Database, ExternalDatabase
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.publisher import Publisher
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections import migrate, schema
from sojourn.projections.statements import statement
from tests.fault.checker import check_counts, check_history, check_live, check_superseded, check_tenants, look
from tests.integration.site_steps import running_console

# What version 0001 left of two tenants: sessions that are open, ended, corrected, ended without a beginning; a
# duplicate, a conflict, a record that is no JSON. No code can make these rows anew: that of version 0001 did.
LEFT: Final[dict[str, list[dict[str, Any]]]] = json.loads(
    (Path(__file__).parent / "upgrades" / "0001.json").read_text()
)
FIRST: Final = files("sojourn.projections").joinpath("migrations", "versions", "0001_first.sql")

WAIT_SECONDS_MAX: Final = 30  # it takes one; the machine may be busy


@pytest.fixture(scope="module")
def upgraded(migrated_server: str) -> str:
    """Make a database that was upgraded, to be copied, and return its name."""
    name = "upgraded"
    with psycopg.connect(migrated_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    dsn = make_conninfo(migrated_server, dbname=name)
    asyncio.run(make_first(ExternalDatabase(dsn)))
    migrate.upgrade(dsn)
    return name


@pytest.fixture
async def database(migrated_server: str, upgraded: str) -> AsyncIterator[Database]:
    """Copy it for a test."""
    copy = f"copy_of_{upgraded}"
    async with await psycopg.AsyncConnection.connect(migrated_server, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {copy} TEMPLATE {upgraded}".encode())
        yield ExternalDatabase(make_conninfo(migrated_server, dbname=copy))
        await connection.execute(f"DROP DATABASE {copy} WITH (FORCE)".encode())


async def make_first(database: Database) -> None:
    """Make what version 0001 left: its schema and the log, which is the same to this day, with their rows."""
    async with await database.connect() as connection:
        await install(connection)
        await connection.execute("DELETE FROM sojourn_log.log_head")
        await connection.execute(statement("bootstrap"))
        await connection.execute("SET ROLE sojourn_owner")
        await connection.execute(FIRST.read_text().encode())
        await connection.execute("CREATE TABLE sojourn.alembic_version (version_num varchar(32) PRIMARY KEY)")
        await connection.execute("INSERT INTO sojourn.alembic_version VALUES ('0001')")
        await connection.execute("SELECT sojourn_v1.ensure_history_month('2026-11-01')")
        await connection.execute("RESET ROLE")
        for table, left in LEFT.items():
            insert = sql.SQL("INSERT INTO {0} SELECT * FROM jsonb_populate_recordset(NULL::{0}, %s)")
            await connection.execute(insert.format(sql.Identifier(*table.split("."))), [Jsonb(left)])


async def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with await database.connect() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def test_every_row_that_there_was_says_what_it_said(database: Database) -> None:
    assert await schema.version(database) == schema.VERSION
    for table, left in LEFT.items():
        found = [row for (row,) in await rows(database, f"SELECT to_jsonb(t) FROM {table} AS t")]  # noqa: S608 - a name
        assert [one for one in left if not any(one.items() <= row.items() for row in found)] == [], table
        assert len(found) == len(left), table


async def test_what_lists_are_made_of_is_filled_from_the_sessions_that_there_were(database: Database) -> None:
    counts = await rows(database, "SELECT tenant, partition, broker, state, sessions FROM sojourn_v1.session_count")
    names = await rows(database, "SELECT tenant, kind, id, name, name_md5 = md5(name)::uuid FROM sojourn_v1.known_name")

    assert sorted(counts) == [("acme", 0, "/brokers/eu-1", "active", 1), ("globex", 1, "/brokers/eu-1", "active", 1)]
    assert sorted(names) == [
        ("acme", "desktop", "d-204", "CAD-204", True),
        ("acme", "desktop", "d-205", "CAD-205", True),
        ("acme", "user", "u-17", "Ada Byron", True),
        ("acme", "user", "u-18", "Grace Hopper", True),
        ("acme", "user", "u-19", "Bob Ross", True),
        ("globex", "desktop", "d-1", "设计 1", True),
        ("globex", "user", "u-1", "王小明", True),
    ]


async def test_the_console_lists_finds_and_counts_what_there_was(database: Database, tmp_path: Path) -> None:
    async with running_console(database, tmp_path) as console:
        acme, globex = await console.client("acme"), await console.client("globex")
        person = await console.person("acme", "tenant_admin")
        day = {"from": "2026-11-24T00:00:00Z", "to": "2026-11-25T00:00:00Z"}

        current = (await acme.get("/v1/sessions", params={"search": "ada by"})).json()
        found = (await globex.get("/v1/sessions", params={"search": "小明"})).json()
        history = (await acme.get("/v1/history", params={**day, "search": "Grace"})).json()
        days = await acme.get("/v1/statistics/frequency", params=day)
        acts = (await acme.get("/v1/admin-actions")).json()
        pages = [await person.get(f"/t/acme/{page}") for page in ("sessions", "sessions/s-late", "history?range=any")]

    assert [(one["session_id"], one["state"]) for one in current["sessions"]] == [("s-open", "active")]
    assert current["sessions"][0]["current_client_ip"] == "10.4.2.99"
    assert current["counts"] == {"active": 1, "lost": 0, "unconfirmed": 0}
    assert [one["user_name"] for one in found["sessions"]] == ["王小明"]
    assert [(one["session_id"], one["reason"]) for one in history["sessions"]] == [("s-ended", "network")]
    assert days.status_code == 200, days.text
    assert [act["action"] for act in acts["admin_actions"]] == ["reset"]
    assert [page.status_code for page in pages] == [200, 200, 200]
    assert "Bob Ross" in pages[2].text


def event(kind: str, session: str, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": f"{session}-{kind}-anew",
            "source": "/brokers/eu-1",
            "type": f"sojourn.session.{kind}.v1",
            "time": "2026-11-26T12:00:00Z",
            "tenant": "acme",
            "subject": session,
            "data": data,
        }
    )


async def test_the_projector_goes_on_with_the_sessions_that_there_were(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "TIMEOUT_SECONDS", 7 * 86400)
    monkeypatch.setattr(partition, "FLUSH_SECONDS", 0.01)
    log = EmbeddedLog(database)
    who = {"user": {"id": "u-20", "name": "Eve"}, "desktop": {"id": "d-206", "name": "CAD-206", "pool": "cad"}}
    terminal = {"type": "thin_client", "os": "Linux", "version": "7.1", "name": ""}

    await Publisher(log).publish(
        [
            event("heartbeat", "s-new", {}),
            event("established", "s-new", {**who, "terminal": terminal, "client_ip": "10.4.2.18", "protocol": "blast"}),
            event("destroyed", "s-open", {"reason": "logoff"}),
            event("destroyed", "s-late", {"reason": "idle_timeout"}),  # later than what is known of it
        ]
    )
    stopping = asyncio.Event()
    running = asyncio.create_task(Host(database, log, "newest").run(stopping))
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not running.done() and not await is_applied(database, log):  # noqa: ASYNC110 - a table tells
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    scene = await look(database, log)
    await log.close()

    checks = (check_live, check_counts, check_history, check_superseded, check_tenants)
    assert [problem for check in checks for problem in check(scene)] == []
    assert {(row["tenant"], row["session_id"]) for row in scene.tables["live_session"]} == {
        ("acme", "s-new"),
        ("globex", "s-open"),
    }


async def is_applied(database: Database, log: EmbeddedLog) -> bool:
    ends = {(topic, p): end for topic in (LIFECYCLE, HEARTBEATS) for p, end in (await log.end_offsets(topic)).items()}
    return set(await rows(database, "SELECT topic, partition, next_offset FROM sojourn_v1.position")) == {
        (*place, end) for place, end in ends.items()
    }
