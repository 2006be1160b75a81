"""The migrations against the declared tables, and what each role may see and do."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from psycopg.conninfo import make_conninfo
from sqlalchemy.dialects import postgresql

from sojourn.events.embedded.database import Database
from sojourn.events.errors import SojournError
from sojourn.projections import console_tables, schema, tables
from sojourn.projections.read import (
    CurrentFilter,
    HistoryFilter,
    NoSuchTenant,
    as_auditor,
    as_reader,
    current_query,
    history_query,
    stream,
)
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant

ROLES = (
    "sojourn_owner",
    "sojourn_projector",
    "sojourn_reader",
    "sojourn_auditor",
    "sojourn_operator",
    "sojourn_resolver",
    "sojourn_gateway",
    "sojourn_console",
    "sojourn_gatekeeper",
    "sojourn_exporter",
    "sojourn_searcher",
)
OF_TENANTS = """
    SELECT format('%I.%I', n.nspname, c.relname), c.relrowsecurity AND c.relforcerowsecurity
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant'
    WHERE n.nspname LIKE 'sojourn%' AND c.relkind IN ('r', 'p')
    ORDER BY 1
"""
COLUMNS = """
    SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname), a.attnum, format_type(a.atttypid, a.atttypmod),
        a.attnotnull, a.attidentity, a.attcollation::regcollation::text, pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE n.nspname LIKE 'sojourn%' AND n.nspname <> 'sojourn_log' AND c.relkind IN ('r', 'p') AND a.attnum > 0
        AND c.relname <> 'alembic_version'
    ORDER BY 1
"""
TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname), pg_get_partkeydef(c.oid), c.reloptions
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname LIKE 'sojourn%' AND n.nspname <> 'sojourn_log' AND c.relkind IN ('r', 'p')
        AND c.relname <> 'alembic_version'
    ORDER BY 1
"""
KEYS = """
    SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE connamespace::regnamespace::text LIKE 'sojourn%' AND contype <> 'n'
        AND conrelid::regclass::text NOT LIKE '%alembic_version'
    ORDER BY 1, 2
"""
FORBIDDEN = (
    "CREATE TABLE sojourn_v1.mine (tenant text)",
    "CREATE TABLE sojourn.mine (tenant text)",
    "ALTER TABLE sojourn_v1.live_session ADD COLUMN mine text",
    "DROP TABLE sojourn_v1.superseded",
    "ALTER TABLE sojourn_v1.live_session DISABLE ROW LEVEL SECURITY",
    "DROP POLICY of_tenant ON sojourn_v1.live_session",
    "TRUNCATE sojourn_v1.session_history",
    "UPDATE sojourn_v1.session_history SET tenant = 'other'",
    "DELETE FROM sojourn_v1.session_history",
    "SELECT sojourn.isolate('sojourn_v1.live_session')",
)
INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname LIKE 'sojourn%' AND schemaname <> 'sojourn_log' AND tablename <> 'alembic_version'
        AND indexname <> 'known_name_grams' ORDER BY 1
"""  # that one is of a function, which only the migration makes


async def rows(connection: psycopg.AsyncConnection[Any], query: str) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode())).fetchall()


def declare(dsn: str) -> None:
    """Make the tables as tables.py has them."""
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(tables.VERSIONED))
        connection.execute(sa.schema.CreateSchema(tables.STABLE))
        console_tables.TABLES.create_all(connection)


async def test_the_migrations_make_exactly_the_declared_tables(
    migrated_database: Database, migrated: psycopg.AsyncConnection[Any]
) -> None:
    await migrated.execute("CREATE DATABASE declared")
    declared_dsn = make_conninfo(migrated_database.dsn, dbname="declared")

    await asyncio.to_thread(declare, declared_dsn)

    async with await psycopg.AsyncConnection.connect(declared_dsn) as declared:
        for catalogue in (COLUMNS, TABLES, KEYS, INDEXES):
            found = await rows(migrated, catalogue)
            assert found == await rows(declared, catalogue)
            assert found


async def test_the_declared_views_have_the_columns_of_the_migrated_ones(
    migrated: psycopg.AsyncConnection[Any],
) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    declared = [
        (view.name, column.name, column.type.compile(dialect).lower())
        for view in tables.VIEWS.sorted_tables
        for column in view.columns
    ]

    migrated_columns = await rows(
        migrated,
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relkind = 'v' AND c.relnamespace = 'sojourn'::regnamespace AND a.attnum > 0
        ORDER BY c.relname, a.attnum
        """,
    )

    assert sorted(declared) == sorted(migrated_columns)
    assert [d for d in declared if d[0] == "ended_session"] == [m for m in migrated_columns if m[0] == "ended_session"]


def test_the_version_in_the_code_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))

    assert scripts.get_current_head() == schema.VERSION


async def test_every_table_of_tenants_forces_row_level_security(migrated: psycopg.AsyncConnection[Any]) -> None:
    await migrated.execute("SELECT sojourn_v1.ensure_history_month('2026-11-01')")

    found = dict(await rows(migrated, OF_TENANTS))

    assert {"sojourn_v1.live_session", "sojourn_v1.session_history_2026_11", "sojourn.export_job"} <= found.keys()
    assert [table for table, forced in found.items() if not forced] == []


async def test_every_table_of_tenants_has_policies_that_name_the_tenant(
    migrated: psycopg.AsyncConnection[Any],
) -> None:
    policies = await rows(
        migrated,
        """
        SELECT format('%I.%I', schemaname, tablename), policyname, cmd, roles::text[], qual, with_check
        FROM pg_policies WHERE schemaname LIKE 'sojourn%'
        """,
    )
    of_tenant = "(tenant = current_setting('sojourn.tenant'::text, true))"
    expected = {
        ("of_tenant", "ALL", ("sojourn_owner", "sojourn_reader"), of_tenant, of_tenant),
        ("all_tenants", "ALL", ("sojourn_projector",), "true", "true"),
        ("audit", "SELECT", ("sojourn_auditor",), "true", None),
    }

    tenants = [table for table, _ in await rows(migrated, OF_TENANTS)]

    finding = ("gatekeeper", "SELECT", ("sojourn_gatekeeper",), "true", None)
    noting = ("seen", "UPDATE", ("sojourn_gatekeeper",), "true", "true")
    exporting = ("exporter", "ALL", ("sojourn_exporter",), "true", "true")
    more: dict[str, set[tuple[Any, ...]]] = {
        "sojourn_v1.command": {("gateway", "SELECT", ("sojourn_gateway",), "true", None)},
        "sojourn.account": {finding},
        "sojourn.sign_in": {finding, noting},
        "sojourn.api_token": {finding, noting},
        "sojourn.export_job": {exporting},
        "sojourn.export_schedule": {exporting},
        "sojourn_v1.known_name": {("search", "SELECT", ("sojourn_searcher",), "true", None)},
    }
    assert len(tenants) == 19
    for table in tenants:
        found = {(p[1], p[2], tuple(sorted(p[3])), p[4], p[5]) for p in policies if p[0] == table}
        assert found == expected | more.get(table, set()), table


async def test_every_key_of_a_table_of_tenants_starts_with_the_tenant(migrated: psycopg.AsyncConnection[Any]) -> None:
    keys = await rows(
        migrated,
        """
        SELECT c.conrelid::regclass::text, a.attname
        FROM pg_constraint AS c JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'p'
            AND EXISTS (SELECT FROM pg_attribute AS t WHERE t.attrelid = c.conrelid AND t.attname = 'tenant')
        """,
    )

    assert len(keys) > 5
    assert [table for table, first in keys if first != "tenant"] == ["sojourn_v1.dead_letter"]


async def test_a_reader_without_a_tenant_sees_nothing(migrated: psycopg.AsyncConnection[Any]) -> None:
    await insert_tenant(migrated, "acme")
    await insert_live(migrated, "acme", "s-1")
    await insert_history(migrated, "acme", "s-0")

    async with migrated.transaction():
        await migrated.execute("SET LOCAL ROLE sojourn_reader")
        seen = [
            await rows(migrated, f"SELECT FROM sojourn.{view}")
            for view in ("current_session", "session_event", "session_revision", "ended_session", "tenant")
        ]

    assert seen == [[], [], [], [], []]


async def test_a_reader_sees_the_same_rows_whether_another_tenant_exists_or_not(
    migrated: psycopg.AsyncConnection[Any],
) -> None:
    await insert_tenant(migrated, "acme")
    await insert_live(migrated, "acme", "s-1")
    await insert_history(migrated, "acme", "s-0")
    alone = await seen_by(migrated, "acme")

    await insert_tenant(migrated, "globex")
    await insert_live(migrated, "globex", "s-1", user_name="Grace Hopper")
    await insert_history(migrated, "globex", "s-0", user_name="Grace Hopper")
    beside = await seen_by(migrated, "acme")

    assert beside == alone
    assert len(alone) == 4
    assert {row[0] for row in await seen_by(migrated, "globex")} == {"globex"}


async def seen_by(connection: psycopg.AsyncConnection[Any], tenant: str) -> list[tuple[Any, ...]]:
    """Return all that the queries give to a tenant, but for what goes on by itself."""
    found = []
    async with as_reader(connection, tenant):
        for query in (
            current_query(CurrentFilter()),
            history_query(HistoryFilter(), with_open=True),
            history_query(HistoryFilter(), revisions=True),
        ):
            found += [tuple(v for v in row if not isinstance(v, float)) async for row in stream(connection, query)]
    return found


async def test_a_tenant_that_does_not_exist_is_named_in_one_line(migrated: psycopg.AsyncConnection[Any]) -> None:
    await insert_tenant(migrated, "acme")

    with pytest.raises(NoSuchTenant, match=r"first event on.*: 'acm'$"):
        async with as_reader(migrated, "acm"):
            pass


async def test_the_auditor_sees_all_tenants_and_writes_nothing(migrated: psycopg.AsyncConnection[Any]) -> None:
    for tenant in ("acme", "globex"):
        await insert_tenant(migrated, tenant)
        await insert_history(migrated, tenant, "s-0")

    async with as_auditor(migrated):
        found = await rows(migrated, "SELECT tenant FROM ended_session ORDER BY 1")

    assert found == [("acme",), ("globex",)]
    await refuse(migrated, "sojourn_auditor", "INSERT INTO sojourn_v1.superseded DEFAULT VALUES")


async def refuse(connection: psycopg.AsyncConnection[Any], role: str, statement: str) -> None:
    """Assert that the role may not do this."""
    async with connection.transaction(force_rollback=True):
        await connection.execute(f"SET LOCAL ROLE {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


@pytest.mark.parametrize("role", ["sojourn_projector", "sojourn_reader", "sojourn_auditor"])
async def test_the_roles_of_a_running_sojourn_cannot_change_the_schema_or_history(
    migrated: psycopg.AsyncConnection[Any], role: str
) -> None:
    for statement in FORBIDDEN:
        await refuse(migrated, role, statement)


async def test_a_reader_cannot_write_a_row_of_another_tenant(migrated: psycopg.AsyncConnection[Any]) -> None:
    await migrated.execute("GRANT INSERT ON sojourn.admin_action TO sojourn_reader")
    insert = """
        INSERT INTO sojourn.admin_action (tenant, action_id, at, actor, action, subject, result)
        VALUES (%s, gen_random_uuid(), now(), 'ada', 'export', 'history', 'done')
    """

    async with migrated.transaction(force_rollback=True):
        await migrated.execute("SET LOCAL ROLE sojourn_reader")
        await migrated.execute("SELECT set_config('sojourn.tenant', 'acme', true)")
        await migrated.execute(insert, ["acme"])
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            await migrated.execute(insert, ["globex"])


async def test_no_role_is_a_superuser_or_passes_row_level_security(migrated: psycopg.AsyncConnection[Any]) -> None:
    found = await rows(
        migrated,
        """
        SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin
        FROM pg_roles WHERE rolname LIKE 'sojourn\\_%'
        """,
    )

    assert sorted(found) == sorted((role, False) for role in ROLES)


async def test_only_the_owner_owns_anything_but_what_searches(migrated: psycopg.AsyncConnection[Any]) -> None:
    await migrated.execute("SELECT sojourn_v1.ensure_history_month('2026-11-01')")

    owners = await rows(
        migrated,
        """
        SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'sojourn%'
        UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'sojourn%'
        UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname LIKE 'sojourn%'
        ORDER BY 1
        """,
    )

    searchers = await rows(
        migrated, "SELECT proname FROM pg_proc WHERE pg_get_userbyid(proowner) = 'sojourn_searcher' AND prosecdef"
    )
    assert owners == [("sojourn_owner",), ("sojourn_searcher",)]
    assert searchers == [("find_names",)]


async def test_upgrading_twice_changes_nothing(
    migrated_database: Database, migrated: psycopg.AsyncConnection[Any]
) -> None:
    before = [await rows(migrated, catalogue) for catalogue in (COLUMNS, TABLES, KEYS, INDEXES)]

    assert not await schema.upgrade(migrated_database)

    assert [await rows(migrated, catalogue) for catalogue in (COLUMNS, TABLES, KEYS, INDEXES)] == before
    await schema.check(migrated_database)


async def test_two_processes_can_upgrade_an_empty_database_at_once(database: Database) -> None:
    program = "import sys; from sojourn.projections.migrate import upgrade; sys.stdin.read(1); upgrade(sys.argv[1])"
    command = (sys.executable, "-c", program, database.dsn)
    pipes: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    processes = [await asyncio.create_subprocess_exec(*command, **pipes) for _ in range(3)]

    ended = await asyncio.gather(*(process.communicate(b"\n") for process in processes))

    assert [process.returncode for process in processes] == [0, 0, 0], ended
    await schema.check(database)


async def test_a_database_of_a_newer_sojourn_is_refused(
    migrated_database: Database, migrated: psycopg.AsyncConnection[Any]
) -> None:
    await migrated.execute("UPDATE sojourn.alembic_version SET version_num = '9999'")

    for step in (schema.upgrade, schema.check):
        with pytest.raises(schema.SchemaMismatch, match=r"newer Sojourn.*9999") as refused:
            await step(migrated_database)
        assert isinstance(refused.value, SojournError)
        assert "\n" not in str(refused.value)


async def test_an_empty_database_says_how_to_upgrade_it(database: Database) -> None:
    with pytest.raises(schema.SchemaMismatch, match="sojourn db upgrade"):
        await schema.check(database)


async def test_last_seen_reads_the_slot_of_a_page(migrated: psycopg.AsyncConnection[Any]) -> None:
    seconds = int(HISTORY_DAY.timestamp())
    page = b"\xff" * 4 + seconds.to_bytes(4, "big") + bytes(4 * 254)

    cursor = await migrated.execute("SELECT sojourn_v1.last_seen(%s, 257), sojourn_v1.last_seen(%s, 0)", [page, page])

    found = await cursor.fetchone()
    assert found is not None
    assert found[0] == HISTORY_DAY
    assert found[1].timestamp() == 2**32 - 1
