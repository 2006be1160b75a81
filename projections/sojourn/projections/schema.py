"""The schema's version: bringing a database up to it, and refusing one that does not fit."""

import asyncio
import importlib
from typing import Final

from sojourn.events.embedded.database import Database
from sojourn.events.errors import SojournError

VERSION: Final = "0006"  # the newest migration; a test compares


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
    # Alembic takes longer to import than most commands to run, and is needed once.
    migrate = importlib.import_module("sojourn.projections.migrate")
    await asyncio.to_thread(migrate.upgrade, database.dsn)
    return True
