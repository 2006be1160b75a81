"""What was asked of brokers about a tenant's sessions, as the trail of acts keeps it, and what has come of it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple, get_args
from uuid import UUID

import msgspec
import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.events.fields import CommandKind
from sojourn.projections import tables
from sojourn.projections.listing import Page, Place, Unpaged, page_of, ties_by
from sojourn.projections.read import statement_of
from sojourn.projections.read_commands import Standing, Step, load_standings, load_steps_of
from sojourn.projections.requests import Answer, Recorded

_COLUMNS: Final = ("action_id", "at", "actor", "action", "reason", "result")


class Request(NamedTuple):
    """One request with its answers for each session; a key that was taken leaves one without any."""

    request_id: UUID
    kind: CommandKind
    reason: str
    message: str | None
    expires_seconds: int
    requested_by: str
    requested_at: datetime
    answers: list[Answer]


class Followed(NamedTuple):
    """How a command stands by now, if the log shows it, and what moved it."""

    standing: Standing | None
    steps: list[Step]


async def requests_page(connection: AsyncConnection[Any], after: Place | None, rows_max: int) -> Page:
    """Return a page of requests under `request`, the newest first, as the tenant's reader."""
    c = tables.admin_action.c
    ties = ties_by(c.action_id, c.at)
    page = await page_of(connection, Unpaged(_requests(), _COLUMNS, c.at, ties, is_falling=True), after, rows_max)
    return page._replace(rows=[{"request": _request(*row.values())} for row in page.rows])


async def find_request(connection: AsyncConnection[Any], request_id: UUID) -> Request | None:
    """Return one request, as the tenant's reader; None for none."""
    text, values = statement_of(_requests().where(tables.admin_action.c.action_id == request_id))
    row = await (await connection.execute(text, values)).fetchone()
    return None if row is None else _request(*row)


async def follow(connection: AsyncConnection[Any], tenant: str, answers: Iterable[Answer]) -> dict[str, Followed]:
    """Return by command what has come of it, as the tenant's reader."""
    command_ids = [answer.command_id for answer in answers if answer.command_id is not None]
    standings = await load_standings(connection, tenant, command_ids)
    steps = await load_steps_of(connection, tenant, standings)
    return {command_id: Followed(standings.get(command_id), steps.get(command_id, [])) for command_id in command_ids}


def _requests() -> sa.Select[*tuple[Any, ...]]:
    c = tables.admin_action.c
    return sa.select(*(c[name] for name in _COLUMNS)).where(c.action.in_(get_args(CommandKind)))


def _request(action_id: UUID, at: datetime, actor: str, action: CommandKind, reason: str, result: str) -> Request:
    recorded = msgspec.json.decode(result, type=Recorded)
    return Request(action_id, action, reason, recorded.message, recorded.expires_seconds, actor, at, recorded.answers)
