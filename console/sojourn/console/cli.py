"""The `sojourn` command: what its commands are, and how errors become one line and an exit code."""

import asyncio
import errno
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final, cast

import structlog

from sojourn.events.errors import SojournError

try:
    import psycopg
    from cyclopts import App
    from cyclopts.exceptions import CycloptsError

    from sojourn.console.output import OutputFailed, flush
    from sojourn.console.usage import check_words, explain
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("sojourn"):
        raise
    sys.stderr.write(f"sojourn: the command line needs more than the broker SDK ({error.name}): ")
    sys.stderr.write("pip install 'sojourn[server]'\n")
    sys.exit(1)

app = App(
    name="sojourn",
    help="Track remote-desktop sessions: who is connected now, and a history that can be proven against the log.",
    help_epilogue="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not reachable, 130 stopped.",
)
app.command("sojourn.console.up:up", help="Run everything on this machine until Ctrl-C or SIGTERM.")
app.command("sojourn.console.worker:worker", help="Project a log on Kafka, together with other workers.")
app.command("sojourn.console.web:console", help="Serve the pages and the API, beside workers.")
app.command("sojourn.console.gateway:gateway", help="Take events over HTTP, and give brokers their commands.")
app.command("sojourn.console.publish:publish", help="Append CloudEvents, one a line, to the log.")
app.command("sojourn.console.simulate:simulate", help="Publish believable days of simulated sessions.")
app.command("sojourn.console.lists:sessions", help="List who is connected now.")
app.command("sojourn.console.lists:history", help="List ended sessions.")
app.command("sojourn.console.export:export", help="Write the list or the history as Parquet or CSV.")
app.command("sojourn.console.replay:replay", help="Fold the lifecycle log from its start into Parquet.")
app.command("sojourn.console.status:status", help="Show positions, lag, owners and dispositions.")
app.command("sojourn.console.disconnect:disconnect", help="Ask the brokers to end sessions.")
app.command("sojourn.console.disconnect:log_off", help="Ask the brokers to log the users of sessions off.")
app.command("sojourn.console.disconnect:send_message", help="Ask the brokers to show a message in sessions.")

commands = App(name="commands", help="What was asked of brokers, and what came of it.")
commands.command("sojourn.console.commands:list_", name="list", help="List commands, and how each stands.")
commands.command("sojourn.console.commands:show", help="Show one command with every step of it.")
app.command(commands)

dead_letters = App(name="dead-letters", help="What could not be read or applied, and why.")
dead_letters.command("sojourn.console.dead_letters:list_", name="list", help="List dead letters.")
dead_letters.command("sojourn.console.dead_letters:show", help="Show one dead letter with its bytes.")
dead_letters.command("sojourn.console.resolutions:requeue", help="Apply a dead letter after all.")
dead_letters.command("sojourn.console.resolutions:discard", help="Give a dead letter up.")
app.command(dead_letters)

brokers = App(name="brokers", help="What brokers may do, how they place their sessions, and their tokens.")
brokers.command("sojourn.console.brokers:set_", name="set", help="Bind a broker to a partitioner and to tenants.")
brokers.command("sojourn.console.tokens:add", help="Make a token for brokers that publish over HTTP.")
brokers.command("sojourn.console.brokers:list_", name="list", help="List the brokers that are bound or have a token.")
brokers.command("sojourn.console.tokens:revoke", help="End a token.")
app.command(brokers)

tenants = App(name="tenants", help="The tenants, and what holds for each.")
tenants.command("sojourn.console.tenants:set_", name="set", help="Set what holds for a tenant.")
tenants.command("sojourn.console.tenants:list_", name="list", help="List the tenants.")
app.command(tenants)

users = App(name="users", help="Who may use the console, and what they may do there.")
users.command("sojourn.console.users:add", help="Let somebody use the console.")
users.command("sojourn.console.users:list_", name="list", help="List who may use the console.")
users.command("sojourn.console.users:set_roles", name="set-roles", help="Give somebody other roles.")
users.command("sojourn.console.users:disable", help="Let somebody in no more.")
users.command("sojourn.console.users:enable", help="Let somebody in again.")
users.command("sojourn.console.users:reset_password", name="reset-password", help="Give somebody a new password.")
app.command(users)

topics = App(name="topics", help="Sojourn's topics on Kafka.")
topics.command("sojourn.console.topics:create", help="Create the topics that are missing, and check all.")
app.command(topics)

log = App(name="log", help="The records themselves, and what the log lost.")
log.command("sojourn.console.log:read", help="Print records as the log holds them.")
log.command("sojourn.console.log:accept_gap", name="accept-gap", help="Go on behind records that the log lost.")
app.command(log)

database = App(name="db", help="The database schema.")
database.command("sojourn.console.admin:upgrade", help="Bring the database's schema up to this version.")
app.command(database)

config = App(name="config", help="The settings.")
config.command("sojourn.console.admin:show", help="Show each setting and where it comes from.")
app.command(config)


_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or a stopped command would leave PostgreSQL running
    try:
        _prepare_streams()
        words = sys.argv[1:]
        check_words(words)
        result: Any = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        flush()
    except CycloptsError as error:
        return _fail(explain(error), 2)
    except OutputFailed as error:
        _drop_output()
        return _fail(_one_line(error), error.exit_code)
    except SojournError as error:
        return _fail(_one_line(error), error.exit_code)
    except psycopg.errors.DiskFull as error:
        return _fail(f"the database's disk is full; free some space: {_one_line(error)}", 1)
    except psycopg.OperationalError as error:
        return _fail(f"the database went away: {_one_line(error)}", 3)
    except psycopg.Error as error:
        return _fail(f"the database refused this: {_one_line(error)}", 1)
    except BrokenPipeError:  # `sojourn sessions | head` has seen enough
        _drop_output()
        return 1
    except OSError as error:
        return _fail(_of_system(error), 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return result if isinstance(result, int) else 0


def _prepare_streams() -> None:
    """Write UTF-8 whatever the locale, since names and JSON need it; refuse to work for nobody."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
    if sys.stdout is None:
        raise SojournError("the standard output is closed; send it to a file or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        cast("Any", stream).reconfigure(encoding="utf-8", errors="backslashreplace")


def _drop_output() -> None:
    """Let what is still buffered go nowhere: the interpreter writes it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _of_system(error: OSError) -> str:
    reason = (error.strerror or _one_line(error)).lower()
    advice = "; free some space" if error.errno in _FULL else ""
    return f"{reason}{advice}: {error.filename}" if error.filename else f"{reason}{advice}"


def _fail(message: str, exit_code: int) -> int:
    sys.stderr.write(f"sojourn: {message}\n")
    return exit_code
