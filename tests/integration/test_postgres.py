"""The embedded PostgreSQL as its users see it: started when needed, stopped by the last of them."""

import asyncio
import os
from pathlib import Path

import adbc_driver_postgresql.dbapi
import psycopg
import pytest

from sojourn.events.embedded.database import Database, ExternalDatabase, open_database
from sojourn.events.embedded.postgres import LOG_BYTES_MAX
from sojourn.events.errors import Unreachable, UsageError
from sojourn.events.settings import Settings
from tests.integration.server_processes import (
    answer,
    finish,
    postmaster,
    server_processes,
    user_process,
)


async def shown(database: Database, setting: str) -> str:
    async with await database.connect() as connection:
        row = await (await connection.execute("SELECT current_setting(%s)", (setting,))).fetchone()
    assert row
    return str(row[0])


async def test_the_server_is_durable_and_local_and_speaks_utc(database: Database) -> None:
    expected = {
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "",
    }

    assert {name: await shown(database, name) for name in expected} == expected


async def test_text_is_sorted_by_code_point_and_known_beyond_ascii(database: Database) -> None:
    async with await database.connect() as connection:
        rows = await (
            await connection.execute("SELECT lower(v) FROM unnest(ARRAY['Ä', 'b', 'Z', 'É']) AS t(v) ORDER BY v")
        ).fetchall()

    assert [value for (value,) in rows] == ["z", "b", "ä", "é"]


async def test_what_was_committed_is_there_when_opened_again(settings: Settings) -> None:
    first = await open_database(settings)
    async with await first.connect() as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await first.close()

    second = await open_database(settings)
    async with await second.connect() as connection:
        row = await (await connection.execute("SELECT answer FROM kept")).fetchone()
    await second.close()

    assert row == (42,)


async def test_a_connection_commits_by_itself_only_when_asked(database: Database) -> None:
    async with await database.connect(autocommit=True) as itself, await database.connect() as transaction:
        assert itself.autocommit
        assert not transaction.autocommit


async def test_adbc_understands_the_connection_string_too(database: Database) -> None:
    with adbc_driver_postgresql.dbapi.connect(database.dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('TimeZone')")
        row = cursor.fetchone()

    assert row == ("UTC",)


async def test_libpq_variables_of_the_caller_change_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGUSER", "PGDATABASE", "PGDATA"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGOPTIONS", "-c TimeZone=Asia/Tokyo")

    database = await open_database(settings)
    zone = await shown(database, "TimeZone")
    await database.close()

    assert zone == "UTC"


async def test_the_event_loop_runs_while_the_server_starts(settings: Settings) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    turning = asyncio.create_task(turn())
    database = await open_database(settings)
    turning.cancel()
    await database.close()

    assert turns > 10  # a blocked loop makes one or two


async def test_the_last_of_two_processes_stops_the_server(settings: Settings) -> None:
    database = await open_database(settings)
    with user_process(settings.data_dir) as other:
        assert answer(other) == "ready"

        await database.close()
        assert server_processes(settings.data_dir)

        assert finish(other) == "closed"
        assert not server_processes(settings.data_dir)


def test_processes_that_start_at_once_share_one_server(data_dir: Path) -> None:
    with user_process(data_dir) as first, user_process(data_dir) as second, user_process(data_dir) as third:
        assert [answer(process) for process in (first, second, third)] == ["ready"] * 3
        starts = (data_dir / "postgres.log").read_text().count("starting PostgreSQL")
        assert [finish(process) for process in (first, second, third)] == ["closed"] * 3

    assert starts == 1
    assert not server_processes(data_dir)


async def test_two_databases_of_one_process_count_as_two_users(settings: Settings) -> None:
    first, second = await open_database(settings), await open_database(settings)

    await first.close()
    assert await shown(second, "TimeZone") == "UTC"

    await second.close()
    assert not server_processes(settings.data_dir)


async def test_the_server_is_out_of_reach_of_the_terminal(database: Database, data_dir: Path) -> None:
    assert database.dsn
    assert os.getsid(postmaster(data_dir)) != os.getsid(0)
    assert os.getpgid(postmaster(data_dir)) != os.getpgid(0)


async def test_a_closed_database_starts_no_server_again(settings: Settings) -> None:
    database = await open_database(settings)
    await database.close()

    with pytest.raises(Unreachable, match="has been closed"):
        await database.connect()

    assert not server_processes(settings.data_dir)


async def test_closing_twice_is_the_same_as_once(settings: Settings) -> None:
    database = await open_database(settings)

    await database.close()
    await database.close()

    assert not server_processes(settings.data_dir)


async def test_the_log_of_the_server_stays_bounded(database: Database, data_dir: Path) -> None:
    log = data_dir / "postgres.log"
    with log.open("ab") as out:
        out.write(b"x" * LOG_BYTES_MAX)

    async with await database.connect() as connection:
        await connection.execute("DO $$ BEGIN RAISE WARNING 'after the cut'; END $$")

    assert log.stat().st_size < LOG_BYTES_MAX
    assert "after the cut" in log.read_text()
    assert b"\0" not in log.read_bytes()
    assert log.with_name("postgres.log.1").stat().st_size > LOG_BYTES_MAX


async def test_the_log_of_the_server_holds_no_values(database: Database, data_dir: Path) -> None:
    async with await database.connect() as connection:
        with pytest.raises(psycopg.DataError):
            await connection.execute("SELECT 1 / (length('jane.doe') - 8)")

    text = (data_dir / "postgres.log").read_text()
    assert "division by zero" in text
    assert "jane.doe" not in text


async def test_connections_speak_utc_whatever_the_server_prefers(database: Database) -> None:
    async with await database.connect(autocommit=True) as connection:
        await connection.execute("ALTER ROLE sojourn SET TimeZone = 'Asia/Tokyo'")
    external = ExternalDatabase(database.dsn.replace("TimeZone=UTC", "work_mem=5MB"))

    assert await shown(database, "TimeZone") == "UTC"
    assert await shown(external, "TimeZone") == "UTC"
    assert await shown(external, "work_mem") == "5MB"


async def test_closing_an_external_database_leaves_it_running(database: Database) -> None:
    external = ExternalDatabase(database.dsn)

    await external.close()

    assert await shown(database, "TimeZone") == "UTC"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://sojourn:s3cret@127.0.0.1:1/sojourn",
        "host=127.0.0.1 port=1 user=sojourn password=s3cret",
    ],
)
async def test_an_external_database_that_is_down_is_named_without_its_password(data_dir: Path, dsn: str) -> None:
    database = await open_database(Settings(data_dir, dsn))

    with pytest.raises(Unreachable) as caught:
        await database.connect()

    assert "127.0.0.1:1" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("dsn", ["postgresql://sojourn:s3cret@[::1/x", "host=x s3cret"])
async def test_a_connection_string_that_libpq_refuses_is_not_shown(data_dir: Path, dsn: str) -> None:
    with pytest.raises(UsageError, match="SOJOURN_DATABASE_DSN") as caught:
        await open_database(Settings(data_dir, dsn))

    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__
