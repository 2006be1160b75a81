"""What each role of the database may see and write of another tenant, in every table and view that there is."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

import psycopg
import pytest
from psycopg import sql

from sojourn.events.embedded.database import Database

OURS: Final = "acme"
THEIRS: Final = "globex"

# A value of each type that a column may have which may not be null; of numbers 0.
VALUES: Final[dict[str, LiteralString]] = {
    "text": "%(tenant)s",
    "text[]": "'{}'",
    "jsonb": "'{}'",
    "bytea": "convert_to(%(tenant)s, 'UTF8')",
    "uuid": "gen_random_uuid()",
    "boolean": "false",
    "date": "'2026-11-24'",
    "timestamp with time zone": "'2026-11-24T08:00:00Z'",
}
COLUMNS: Final = """
    SELECT format('%I.%I', n.nspname, c.relname), a.attname, format_type(a.atttypid, NULL)
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname IN ('sojourn', 'sojourn_v1')
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND (a.attnotnull OR a.attname = 'tenant')
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND EXISTS (SELECT FROM pg_attribute AS t WHERE t.attrelid = c.oid AND t.attname = 'tenant')
"""
READABLE: Final = """
    SELECT format('%%I.%%I', n.nspname, c.relname), coalesce(
        (SELECT attname FROM pg_attribute AS a WHERE a.attrelid = c.oid AND attname = 'tenant'),
        (SELECT attname FROM pg_attribute AS a WHERE a.attrelid = c.oid AND attname = 'source'))
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname IN ('sojourn', 'sojourn_v1')
    WHERE c.relkind IN ('r', 'p', 'v') AND has_any_column_privilege(%(role)s, c.oid, 'SELECT')
        AND has_schema_privilege(%(role)s, n.oid, 'USAGE')
"""
# Who sees rows of all tenants, and where: nobody else does, and these nowhere else.
ALL_TENANTS: Final[dict[str, set[str]]] = {
    "sojourn_operator": {"sojourn.broker"},  # of which it sees what brokers take
    "sojourn_gateway": {"sojourn_v1.command", "sojourn.command"},
    "sojourn_gatekeeper": {"sojourn.account", "sojourn.sign_in", "sojourn.api_token"},
    "sojourn_exporter": {"sojourn.export_job", "sojourn.export_schedule"},
    "sojourn_searcher": {"sojourn_v1.known_name"},
}
OF_ONE_TENANT: Final = ("sojourn_reader", "sojourn_console", "sojourn_operator", "sojourn_resolver")
BROKERS: Final = "INSERT INTO sojourn_v1.broker (source, partition, tenants) VALUES (%s, 0, %s)"


@pytest.fixture
async def two(migrated_database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Give two tenants a row of each table, and a broker each."""
    async with await migrated_database.connect(autocommit=True) as connection:
        await connection.execute("SELECT sojourn_v1.ensure_history_month('2026-11-01')")
        for table, columns in (await tables(connection)).items():
            for tenant in (OURS, THEIRS):
                await connection.execute(row_of(table, columns), {"tenant": tenant})
        for tenant in (OURS, THEIRS):
            await connection.execute(BROKERS, [tenant, [tenant]])
        yield connection


async def tables(connection: psycopg.AsyncConnection[Any]) -> dict[str, dict[str, str]]:
    """Return the tables of tenants, with the type of each column that a row needs."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in await (await connection.execute(COLUMNS)).fetchall():
        found.setdefault(table, {})[column] = kind
    return found


def row_of(table: str, columns: dict[str, str]) -> sql.Composed:
    """Return the statement that adds a row of a tenant, in which all texts are the tenant's name."""
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(sql.SQL(VALUES.get(kind, "0")) for kind in columns.values()),
    )


@asynccontextmanager
async def acting(
    connection: psycopg.AsyncConnection[Any], role: str, tenant: str | None
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Act as a role for a tenant; nothing of it stays."""
    async with connection.transaction(force_rollback=True):
        await connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        if tenant is not None:
            await connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [tenant])
        yield connection


async def seen(connection: psycopg.AsyncConnection[Any], role: str, tenant: str | None) -> dict[str, set[str]]:
    """Return of which tenants a role sees something, in each table and view that names them, or brokers."""
    readable = await (await connection.execute(READABLE, {"role": role})).fetchall()
    found = {}
    for relation, column in readable:
        if column is None:
            continue
        query = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier(*relation.split(".")))
        async with acting(connection, role, tenant) as acts:
            found[relation] = {row[0] for row in await (await acts.execute(query)).fetchall()} & {OURS, THEIRS}
    return found


@pytest.mark.parametrize("role", sorted({*OF_ONE_TENANT, *ALL_TENANTS}))
async def test_a_role_sees_what_is_the_tenants_of_its_transaction_and_of_all_only_what_it_works_on(
    two: psycopg.AsyncConnection[Any], role: str
) -> None:
    wide = ALL_TENANTS.get(role, set())

    nobodys, ours = await seen(two, role, None), await seen(two, role, OURS)

    assert {relation for relation, tenants in nobodys.items() if tenants} == wide
    assert {relation for relation, tenants in ours.items() if THEIRS in tenants} == wide
    assert any(ours.values())


@pytest.mark.parametrize("role", OF_ONE_TENANT)
async def test_a_role_of_one_tenant_writes_no_row_of_another_and_changes_none(
    two: psycopg.AsyncConnection[Any], role: str
) -> None:
    found = await tables(two)
    for table, columns in found.items():
        for tenant in (None, OURS):
            async with acting(two, role, tenant) as acts:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await acts.execute(row_of(table, columns), {"tenant": THEIRS})
        for change in changes(table):
            async with acting(two, role, OURS) as acts:
                try:
                    cursor = await acts.execute(change, [THEIRS])
                except psycopg.errors.InsufficientPrivilege:
                    continue
                assert cursor.rowcount == 0, table
    assert len(found) > 15


def changes(table: str) -> Iterator[sql.Composed]:
    """Yield what would change another tenant's rows."""
    for change in ("UPDATE {} SET tenant = tenant WHERE tenant = %s", "DELETE FROM {} WHERE tenant = %s"):
        yield sql.SQL(change).format(sql.Identifier(*table.split(".")))
