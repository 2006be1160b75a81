"""The `sojourn` command: what its commands are, and how errors become one line and an exit code."""

import asyncio
import logging
import os
import sys
from typing import Any

import structlog

from sojourn.events.errors import SojournError

try:
    import psycopg
    from cyclopts import App
    from cyclopts.exceptions import CycloptsError
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("sojourn"):
        raise
    sys.stderr.write(f"sojourn: the command line needs more than the broker SDK ({error.name}): ")
    sys.stderr.write("pip install 'sojourn[server]'\n")
    sys.exit(1)

app = App(
    name="sojourn",
    help="Track remote-desktop sessions: who is connected now, and a history that can be proven against the log.",
    help_epilogue="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not reachable.",
)
app.command("sojourn.console.up:up", help="Run everything on this machine until Ctrl-C or SIGTERM.")
app.command("sojourn.console.publish:publish", help="Append CloudEvents, one a line, to the log.")
app.command("sojourn.console.simulate:simulate", help="Publish believable days of simulated sessions.")
app.command("sojourn.console.lists:sessions", help="List who is connected now.")
app.command("sojourn.console.lists:history", help="List ended sessions.")
app.command("sojourn.console.export:export", help="Write the list or the history as Parquet or CSV.")
app.command("sojourn.console.replay:replay", help="Fold the lifecycle log from its start into Parquet.")
app.command("sojourn.console.status:status", help="Show positions, lag, owners and dispositions.")

dead_letters = App(name="dead-letters", help="What could not be read or applied, and why.")
dead_letters.command("sojourn.console.dead_letters:list_", name="list", help="List dead letters.")
dead_letters.command("sojourn.console.dead_letters:show", help="Show one dead letter with its bytes.")
app.command(dead_letters)

database = App(name="db", help="The database schema.")
database.command("sojourn.console.admin:upgrade", help="Bring the database's schema up to this version.")
app.command(database)

config = App(name="config", help="The settings.")
config.command("sojourn.console.admin:show", help="Show each setting and where it comes from.")
app.command(config)


def main() -> int:
    """Run the command line and return its exit code."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        result: Any = app(exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(f"{_one_line(error)} (see `sojourn --help`)", 2)
    except SojournError as error:
        return _fail(_one_line(error), error.exit_code)
    except psycopg.errors.DiskFull as error:
        return _fail(f"the database's disk is full; free some space: {_one_line(error)}", 1)
    except psycopg.OperationalError as error:
        return _fail(f"the database went away: {_one_line(error)}", 3)
    except psycopg.Error as error:
        return _fail(f"the database refused this: {_one_line(error)}", 1)
    except BrokenPipeError:  # `sojourn sessions | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(_one_line(error), 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return result if isinstance(result, int) else 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _fail(message: str, exit_code: int) -> int:
    sys.stderr.write(f"sojourn: {message}\n")
    return exit_code
