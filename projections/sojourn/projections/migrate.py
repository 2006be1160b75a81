"""Running Alembic's migrations, on one connection and as the owner of the tables."""

from importlib.resources import files
from typing import LiteralString

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config

from sojourn.events.errors import SojournError
from sojourn.projections.statements import statement


class UpgradeRefused(SojournError):
    """this login may not upgrade the database; it has to own it, and may create roles"""


def upgrade(dsn: str) -> None:
    """Run what migrations are missing, one process at a time; raises `UpgradeRefused`."""
    try:
        _upgrade(dsn)
    except (psycopg.errors.InsufficientPrivilege, sqlalchemy.exc.ProgrammingError) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise UpgradeRefused(f"{UpgradeRefused.__doc__}: {reason}") from error


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
