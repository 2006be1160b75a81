"""The schema's version: bringing a database up to it, and refusing one that does not fit."""

import asyncio
from importlib.resources import files
from typing import Final, LiteralString

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config

from sojourn.events.embedded.database import Database
from sojourn.events.errors import SojournError
from sojourn.projections.statements import statement

VERSION: Final = "0001"  # the newest migration; a test compares


class SchemaMismatch(SojournError):
    """the database has another schema version than this Sojourn"""


async def version(database: Database) -> str | None:
    """Return the migration that the database stands at, None for an empty one."""
    async with await database.connect() as connection:
        cursor = await connection.execute("SELECT to_regclass('sojourn.alembic_version') IS NOT NULL")
        if await cursor.fetchone() != (True,):
            return None
        row = await (await connection.execute("SELECT version_num FROM sojourn.alembic_version")).fetchone()
    return None if row is None else row[0]


async def check(database: Database) -> None:
    """Raise `SchemaMismatch` unless the database has exactly this version."""
    found = await version(database)
    if found == VERSION:
        return
    if found is not None and found > VERSION:
        raise SchemaMismatch(f"the database was upgraded by a newer Sojourn; install that one: schema {found}")
    raise SchemaMismatch(f"the database needs `sojourn db upgrade` first: schema {found or 'none'}, not {VERSION}")


async def upgrade(database: Database) -> bool:
    """Run what migrations are missing, one process at a time; return whether there were any.

    Raises `SchemaMismatch` for a database of a newer Sojourn.
    """
    found = await version(database)
    if found == VERSION:
        return False
    if found is not None and found > VERSION:
        raise SchemaMismatch(f"the database was upgraded by a newer Sojourn; install that one: schema {found}")
    await asyncio.to_thread(_upgrade, database.dsn)
    return True


def _upgrade(dsn: str) -> None:
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=sqlalchemy.NullPool
    )
    config = Config()
    config.set_main_option("script_location", str(files("sojourn.projections").joinpath("migrations")))
    with engine.connect() as connection:
        run_statements(connection, statement("bootstrap"))
        connection.commit()
        connection.exec_driver_sql("SELECT pg_advisory_lock(hashtext('sojourn.migrations'))")
        connection.exec_driver_sql("SET ROLE sojourn_owner")
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def run_statements(connection: sqlalchemy.Connection, statements: LiteralString) -> None:
    """Run statements as they stand; SQLAlchemy would take a % in them for a parameter."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.execute(statements)
