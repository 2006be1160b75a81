"""`sojourn disconnect`, `log-off` and `send-message`: asking sessions' brokers, and following what comes of it."""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number
from psycopg import AsyncConnection

from sojourn.console.accounts import account
from sojourn.console.opening import SWITCH, DataDir, Json, Tenant, opened
from sojourn.console.output import Columns, cell, flush, write_json, write_line
from sojourn.console.progress import progress_bar
from sojourn.events.errors import SojournError, UsageError
from sojourn.events.fields import CommandKind
from sojourn.projections.owners import held
from sojourn.projections.read import as_auditor, as_reader
from sojourn.projections.read_commands import Standing, load_standings
from sojourn.projections.requests import (
    EXPIRES_SECONDS_DEFAULT,
    EXPIRES_SECONDS_MAX,
    Answer,
    Asked,
    Asker,
    check,
    request_commands,
    try_request,
)

WAIT_SECONDS_MAX: Final = 3600  # a command is concluded half a minute after its expiry at the latest
POLL_SECONDS: Final = 0.2  # a person sees no difference, and the query takes a millisecond
STDIN_BYTES_MAX: Final = 1 << 20  # a thousand ids of 200 characters, in any script

DONE: Final[dict[CommandKind, str]] = {
    "disconnect": "confirmed",
    "log_off": "confirmed",
    "send_message": "acknowledged",  # there is no more to see of a message than that the broker showed it
}

Sessions = Annotated[
    str, Parameter(allow_leading_hyphen=True, help="The sessions' ids; - reads them from standard input, one a line.")
]
Reason = Annotated[str, Parameter(help="Why; it is kept with who did it, and shown by `sojourn commands`.")]
Message = Annotated[str | None, Parameter(help="What the broker shows to the user.")]
DryRun = Annotated[bool, SWITCH, Parameter(help="Show what would be asked of which broker, and change nothing.")]
Expires = Annotated[
    int,
    Parameter(
        help="After how many seconds no broker may carry it out any more.",
        validator=Number(gte=1, lte=EXPIRES_SECONDS_MAX),
    ),
]
Key = Annotated[
    str | None,
    Parameter(help="Any text; the same command with the same key again changes nothing, and shows the same."),
]
Wait = Annotated[
    float | None,
    Parameter(
        help="Follow each command for so many seconds until it is concluded.",
        validator=Number(gte=0, lte=WAIT_SECONDS_MAX),
    ),
]


async def disconnect(
    *sessions: Sessions,
    tenant: Tenant,
    reason: Reason,
    message: Message = None,
    dry_run: DryRun = False,
    expires: Expires = EXPIRES_SECONDS_DEFAULT,
    idempotency_key: Key = None,
    wait: Wait = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Ask the brokers to end sessions; what the users run goes on without them."""
    asked = Asked("disconnect", _named(sessions), reason, message, expires)
    return await _run(tenant, asked, idempotency_key, wait, data_dir, dry_run=dry_run, json=json)


async def log_off(
    *sessions: Sessions,
    tenant: Tenant,
    reason: Reason,
    message: Message = None,
    dry_run: DryRun = False,
    expires: Expires = EXPIRES_SECONDS_DEFAULT,
    idempotency_key: Key = None,
    wait: Wait = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Ask the brokers to log the users of sessions off, which ends what they run; only some brokers can."""
    asked = Asked("log_off", _named(sessions), reason, message, expires)
    return await _run(tenant, asked, idempotency_key, wait, data_dir, dry_run=dry_run, json=json)


async def send_message(
    *sessions: Sessions,
    tenant: Tenant,
    message: Annotated[str, Parameter(help="What the broker shows to the user.")],
    reason: Reason,
    dry_run: DryRun = False,
    expires: Expires = EXPIRES_SECONDS_DEFAULT,
    idempotency_key: Key = None,
    wait: Wait = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Ask the brokers to show a message in sessions; only some brokers can."""
    asked = Asked("send_message", _named(sessions), reason, message, expires)
    return await _run(tenant, asked, idempotency_key, wait, data_dir, dry_run=dry_run, json=json)


def _named(sessions: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that were named, with those from standard input in the place of -."""
    for session in sessions:
        if session.startswith("-") and session != "-":
            raise UsageError(
                f"no such option; a session of this name is written to the standard input, for -: {session}"
            )
    named = [one for session in sessions for one in (_from_input() if session == "-" else [session])]
    if not named:
        raise UsageError("no session is named; give their ids, or - for those on standard input")
    return tuple(named)


def _from_input() -> list[str]:
    if sys.stdin is None:
        raise SojournError("the standard input is closed; name the sessions, or write their ids to it with a pipe")
    text = sys.stdin.buffer.read(STDIN_BYTES_MAX + 1)
    if len(text) > STDIN_BYTES_MAX:
        raise UsageError(f"the standard input holds more than {STDIN_BYTES_MAX} bytes of sessions' ids")
    try:
        return [line.strip() for line in text.decode().split("\n") if line.strip()]
    except UnicodeDecodeError:
        raise UsageError("the standard input is no UTF-8") from None


async def _run(
    tenant: str,
    asked: Asked,
    key: str | None,
    wait: float | None,
    data_dir: Path | None,
    *,
    dry_run: bool,
    json: bool,
) -> int:
    """Ask, tell what came of it, and return the exit code: 1 if something was refused, or waited for in vain."""
    check(asked, key)
    async with opened(data_dir) as (settings, database, _), await database.connect(autocommit=True) as connection:
        if dry_run:
            answers = await try_request(connection, tenant, asked)
        else:
            asker = Asker(account(), f"command line on {socket.gethostname()}")
            answers = await request_commands(connection, tenant, asked, asker, datetime.now(UTC), key=key)
        if wait is None or dry_run:
            _tell(answers, asked, tenant, dry_run=dry_run, json=json)
            if not dry_run and not json and not await _is_projected(connection):
                write_line(f"nobody takes them to the brokers: start `sojourn {'worker' if settings.kafka else 'up'}`")
            return int(any(answer.status == "refused" for answer in answers))
        done = 0
        async for answer, standing in _followed(connection, tenant, answers, wait):
            done += standing is not None and standing.state == DONE[asked.kind]
            _tell_end(answer, standing, json=json)
        if not json:
            write_line(f"{done} of {len(answers)} {DONE[asked.kind]}")
        return int(done < len(answers))


async def _is_projected(connection: AsyncConnection[Any]) -> bool:
    async with as_auditor(connection):
        return bool(await held(connection))


def _tell(answers: Sequence[Answer], asked: Asked, tenant: str, *, dry_run: bool, json: bool) -> None:
    columns = Columns(("SESSION", "RESULT", "BROKER", "COMMAND", "DETAIL"))
    allowed = "allowed" if dry_run else "requested"
    for answer in answers:
        status = allowed if answer.status == "requested" else "refused"
        if json:
            write_json(_document(answer, status, answer.detail))
        else:
            cells = (answer.session_id, status, answer.broker, answer.command_id, answer.detail)
            columns.write([cell(value) for value in cells])
    if json:
        return
    columns.close()
    count = sum(answer.status == "requested" for answer in answers)
    write_line(f"{asked.kind}: {count} {allowed}, {len(answers) - count} refused")
    if dry_run:
        write_line("nothing was changed")
    elif count:
        write_line(f"requested is not done: see `sojourn commands list --tenant {tenant}`, or ask with --wait 60")


def _tell_end(answer: Answer, standing: Standing | None, *, json: bool) -> None:
    """Tell what a session came to, at once: others may take longer."""
    if answer.status == "refused":
        state, detail = "refused", answer.detail
    elif standing is None:
        state, detail = "requested", "nobody has taken it to the broker yet"
    else:
        state = standing.state
        detail = standing.detail if standing.concluded_at is not None else "not concluded yet"
    if json:
        write_json(_document(answer, state, detail))
    else:
        words = (cell(answer.session_id), state.replace("_", " "), *([cell(detail)] if detail else []))
        write_line("  ".join(words))
    flush()


def _document(answer: Answer, state: str, detail: str | None) -> dict[str, Any]:
    return {
        "session_id": answer.session_id,
        "command_id": answer.command_id,
        "broker": answer.broker,
        "state": state,
        "detail": detail,
    }


async def _followed(
    connection: AsyncConnection[Any], tenant: str, answers: Sequence[Answer], wait: float
) -> AsyncIterator[tuple[Answer, Standing | None]]:
    """Yield each session when its command is concluded, those that were refused first, the rest when time is over."""
    deadline = time.monotonic() + wait
    open_: dict[str, Answer] = {}
    for answer in answers:
        if answer.command_id is None:
            yield answer, None
        else:
            open_[answer.command_id] = answer
    with progress_bar("concluded", len(answers)) as advance:
        while True:
            advance(len(answers) - len(open_))
            async with as_reader(connection, tenant):
                standings = await load_standings(connection, tenant, open_)
            for command_id, standing in standings.items():
                if standing.concluded_at is not None:
                    yield open_.pop(command_id), standing
            left = deadline - time.monotonic()
            if not open_ or left <= 0:
                break
            await asyncio.sleep(min(POLL_SECONDS, left))
        for command_id, answer in open_.items():
            yield answer, standings.get(command_id)
