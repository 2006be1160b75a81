"""What operators ask of sessions' brokers: judged, written down, and put into the outbox, in one transaction."""

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection

from sojourn.events.codec import encode
from sojourn.events.decision_data import DisconnectRequestedData
from sojourn.events.decisions import disconnect_requested
from sojourn.events.errors import SojournError, UsageError
from sojourn.events.fields import ID_CHARACTERS_MAX, TEXT_CHARACTERS_MAX, CommandKind
from sojourn.events.topics import LIFECYCLE, session_key
from sojourn.projections.outbox import ANY_EPOCH
from sojourn.projections.read import NoSuchTenant
from sojourn.projections.statements import statement

SESSIONS_MAX: Final = 1000  # of one request: more than a broker holds that somebody wants to empty
EXPIRES_SECONDS_DEFAULT: Final = 60  # whoever asks still looks at the result then
EXPIRES_SECONDS_MAX: Final = 3600  # later it would end what its asker no longer thinks of
KEY_CHARACTERS_MAX: Final = 200  # a UUID has 36

_ACTIONS: Final = uuid.UUID("6f0e1c2a-0c3b-5f57-9a55-2f6d7f8b9c10")  # the namespace of ids that come from keys
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class KeyTaken(SojournError):
    """this idempotency key was used for another request"""


class Asked(Struct, frozen=True):
    """What is asked of the brokers of these sessions, why, and for how long it may still be carried out."""

    kind: CommandKind
    session_ids: tuple[str, ...]
    reason: str
    message: str | None = None
    expires_seconds: int = EXPIRES_SECONDS_DEFAULT


class Asker(NamedTuple):
    """Who asks, and from where."""

    actor: str
    origin: str


class Answer(Struct, frozen=True, omit_defaults=True):
    """What came of one session: a command on its way, or why there is none."""

    session_id: str
    status: Literal["requested", "refused"]
    command_id: str | None = None
    broker: str | None = None
    detail: str | None = None


class Recorded(Struct, frozen=True):
    """How `admin_action` keeps the rest of a request and what came of it."""

    outcome: Literal["allowed", "refused"]
    message: str | None
    expires_seconds: int
    answers: list[Answer]
    detail: str | None = None


class _Found(NamedTuple):
    """A row of sql/find_sessions.sql."""

    session_id: str
    broker: str | None
    partition: int | None
    commands: list[str] | None
    ended_at: datetime | None


async def request_commands(
    connection: AsyncConnection[Any], tenant: str, asked: Asked, asker: Asker, at: datetime, *, key: str | None = None
) -> list[Answer]:
    """Ask for what is allowed, write down who asked and what came of it, and return that for each session.

    A repeat under the same `key` changes nothing and returns what came of the first. Raises `UsageError` for what no
    request can be, `NoSuchTenant`, and `KeyTaken`.
    """
    check(asked, key)
    action_id = uuid.uuid4() if key is None else request_id(tenant, key)
    async with _as_operator(connection, tenant):
        found = await _find(connection, tenant, asked)
        answers = [_judged(row, asked, action_id) for row in found]
        if await _write_down(connection, tenant, action_id, asked, asker, at, _result(asked, answers)):
            for row, answer in zip(found, answers, strict=True):
                if answer.status == "requested":
                    await _put(connection, tenant, row, _event_data(asked, asker, answer, at), at)
            return answers
        first = await _first_answers(connection, tenant, action_id, asked)
        if first is None:
            detail = f"{KeyTaken.__doc__}: {key!r}"
            refused = Recorded("refused", asked.message, asked.expires_seconds, [], detail)
            await _write_down(connection, tenant, uuid.uuid4(), asked, asker, at, refused)
    if first is None:
        raise KeyTaken(f"{KeyTaken.__doc__}; choose another: {key!r}")
    return first


def request_id(tenant: str, key: str) -> uuid.UUID:
    """Return the id of what is asked under this key."""
    return uuid.uuid5(_ACTIONS, f"{tenant}/{key}")


async def try_request(connection: AsyncConnection[Any], tenant: str, asked: Asked) -> list[Answer]:
    """Return what a request would come to now, and change nothing; raises as `request_commands` does."""
    check(asked, None)
    async with _as_operator(connection, tenant):
        return [_judged(row, asked, None) for row in await _find(connection, tenant, asked)]


def check(asked: Asked, key: str | None) -> None:
    """Raise `UsageError` for what no event can hold, or nobody means."""
    count = len(asked.session_ids)
    if not 1 <= count <= SESSIONS_MAX:
        raise UsageError(f"a request names 1 to {SESSIONS_MAX} sessions, not: {count}")
    for session_id in asked.session_ids:
        if not 1 <= len(session_id) <= ID_CHARACTERS_MAX or _CONTROL.search(session_id):
            rule = f"a session's id is 1 to {ID_CHARACTERS_MAX} characters, no control characters"
            raise UsageError(f"{rule}, not: {session_id!r}")
    if not asked.reason.strip():
        raise UsageError("a reason says why, and is kept with what was done; it cannot be blank")
    if asked.kind == "send_message" and not (asked.message or "").strip():
        raise UsageError("a message says something; it cannot be blank")
    for name, text in (("reason", asked.reason), ("message", asked.message or "")):
        if len(text) > TEXT_CHARACTERS_MAX:
            raise UsageError(f"a {name} has at most {TEXT_CHARACTERS_MAX} characters, not: {len(text)}")
        if "\0" in text:
            raise UsageError(f"a {name} holds no NUL, unlike: {text!r}")
    if not 1 <= asked.expires_seconds <= EXPIRES_SECONDS_MAX:
        raise UsageError(f"a command expires after 1 to {EXPIRES_SECONDS_MAX} seconds, not: {asked.expires_seconds}")
    if key is not None and not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        raise UsageError(f"an idempotency key has 1 to {KEY_CHARACTERS_MAX} characters, not: {len(key)}")


@asynccontextmanager
async def _as_operator(connection: AsyncConnection[Any], tenant: str) -> AsyncIterator[None]:
    """Act for one tenant, in one transaction."""
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE sojourn_operator")
        await connection.execute("SET LOCAL search_path = sojourn; SET LOCAL TimeZone = 'UTC'")
        await connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [tenant])
        cursor = await connection.execute("SELECT FROM tenant WHERE tenant = %s", [tenant])
        if cursor.rowcount == 0:
            raise NoSuchTenant(tenant)
        yield


async def _find(connection: AsyncConnection[Any], tenant: str, asked: Asked) -> list[_Found]:
    session_ids = list(dict.fromkeys(asked.session_ids))
    cursor = await connection.execute(statement("find_sessions"), {"tenant": tenant, "session_ids": session_ids})
    return [_Found(*row) for row in await cursor.fetchall()]


def _judged(found: _Found, asked: Asked, action_id: uuid.UUID | None) -> Answer:
    """Return what may be asked; without `action_id` it is only tried, and makes no command."""
    refusal = _refusal(found, asked.kind)
    if refusal is not None:
        return Answer(found.session_id, "refused", None, found.broker, refusal)
    command_id = None if action_id is None else str(uuid.uuid5(action_id, found.session_id))
    return Answer(found.session_id, "requested", command_id, found.broker)


def _refusal(found: _Found, kind: CommandKind) -> str | None:
    if found.broker is None:
        if found.ended_at is None:
            return "no such session"
        return f"has ended at {found.ended_at:%Y-%m-%d %H:%M:%S} UTC"
    declared = ["disconnect"] if found.commands is None else found.commands  # an old broker says nothing of commands
    if kind in declared:
        return None
    takes = ", ".join(declared) or "no commands"
    return f"its broker does not take {kind}; what {found.broker} declares: {takes}"


def _result(asked: Asked, answers: list[Answer]) -> Recorded:
    allowed = any(answer.status == "requested" for answer in answers)
    return Recorded("allowed" if allowed else "refused", asked.message, asked.expires_seconds, answers)


async def _write_down(
    connection: AsyncConnection[Any],
    tenant: str,
    action_id: uuid.UUID,
    asked: Asked,
    asker: Asker,
    at: datetime,
    result: Recorded,
) -> bool:
    """Write the act; return False where it stands there already, also if another process is just writing it."""
    values = {
        "tenant": tenant,
        "action_id": action_id,
        "at": at,
        "actor": asker.actor,
        "action": asked.kind,
        "subject": _subject(asked),
        "reason": asked.reason,
        "origin": asker.origin,
        "result": msgspec.json.encode(result).decode(),
    }
    cursor = await connection.execute(statement("insert_action"), values)
    return cursor.rowcount == 1


async def _first_answers(
    connection: AsyncConnection[Any], tenant: str, action_id: uuid.UUID, asked: Asked
) -> list[Answer] | None:
    """Return what came of the request that was made under this id, None where that was another one."""
    cursor = await connection.execute(statement("load_action"), {"tenant": tenant, "action_id": action_id})
    row = await cursor.fetchone()
    assert row is not None
    action, subject, reason, text = row
    result = msgspec.json.decode(text, type=Recorded)
    was = (action, subject, reason, result.message, result.expires_seconds)
    is_same = was == (asked.kind, _subject(asked), asked.reason, asked.message, asked.expires_seconds)
    return result.answers if is_same else None


def _subject(asked: Asked) -> str:
    return msgspec.json.encode(list(dict.fromkeys(asked.session_ids))).decode()


def _event_data(asked: Asked, asker: Asker, answer: Answer, at: datetime) -> DisconnectRequestedData:
    assert answer.command_id is not None
    assert answer.broker is not None
    return DisconnectRequestedData(
        command=answer.command_id,
        kind=asked.kind,
        broker=answer.broker,
        reason=asked.reason,
        requested_by=asker.actor,
        expires_at=at + timedelta(seconds=asked.expires_seconds),
        message=asked.message,
    )


async def _put(
    connection: AsyncConnection[Any], tenant: str, found: _Found, data: DisconnectRequestedData, at: datetime
) -> None:
    values = {
        "topic": LIFECYCLE,
        "partition": found.partition,
        "epoch": ANY_EPOCH,
        "key": session_key(tenant, found.session_id),
        "value": encode(disconnect_requested(tenant, found.session_id, data, at)),
        "at": at,
    }
    await connection.execute(statement("insert_request"), values)
