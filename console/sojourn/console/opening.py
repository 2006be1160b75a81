"""Opening what a command needs: settings, database, schema, log."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from cyclopts import Parameter

from sojourn.events.embedded.database import Database, open_database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.log import Log
from sojourn.events.settings import Settings
from sojourn.projections import schema

SWITCH: Final = Parameter(negative="", show_default=False)  # an option without a value, which is off unless named

DataDir = Annotated[Path | None, Parameter(name="--data-dir", help="The data directory, instead of SOJOURN_DATA_DIR.")]
Json = Annotated[bool, SWITCH, Parameter(name="--json", help="Print one JSON object a line.")]
Tenant = Annotated[str, Parameter(name="--tenant", help="The tenant.")]


class Opened(NamedTuple):
    """A database whose schema fits, and the log: the one in it, or Kafka."""

    settings: Settings
    database: Database
    log: Log


@asynccontextmanager
async def opened(data_dir: Path | None) -> AsyncIterator[Opened]:
    """Open the database that the settings name, bring an embedded or empty one up to date, and close it at the end.

    Raises `SchemaMismatch` when somebody else's database needs `sojourn db upgrade`, or is of a newer Sojourn.
    """
    settings = Settings.from_environment(os.environ, data_dir)
    database = await open_database(settings)
    try:
        if settings.database_dsn is None or await schema.version(database) is None:
            await schema.upgrade(database)
        else:
            await schema.check(database)
        log: Log
        if settings.kafka is not None:
            log = KafkaLog(settings.kafka)
        else:
            async with await database.connect() as connection:
                await install(connection)
            log = EmbeddedLog(database)
        try:
            yield Opened(settings, database, log)
        finally:
            await log.close()
    finally:
        await database.close()


@asynccontextmanager
async def opened_log(data_dir: Path | None) -> AsyncIterator[Log]:
    """Open the log alone: where Kafka is the log, no database is needed, which a broker's host does not have."""
    settings = Settings.from_environment(os.environ, data_dir)
    if settings.kafka is None:
        async with opened(data_dir) as parts:
            yield parts.log
        return
    log = KafkaLog(settings.kafka)
    try:
        yield log
    finally:
        await log.close()
