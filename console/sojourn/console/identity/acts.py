"""Administrative acts: who did what, from where, and what came of it, written in the transaction of their effect."""

import uuid
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from sojourn.console.site.principal import Principal
from sojourn.projections.statements import statement

DONE = "done"


class Doer(NamedTuple):
    """Who does it, from where."""

    actor: str
    origin: str | None


def doer(principal: Principal) -> Doer:
    """Return who asks as the one who does it."""
    return Doer(principal.actor, principal.origin)


async def write_act(
    connection: AsyncConnection[Any],
    tenant: str,
    by: Doer,
    action: str,
    subject: str,
    result: str,
    at: datetime,
    *,
    action_id: UUID | None = None,
) -> None:
    """Write an act, a new one unless it has an id, into the transaction of a connection that acts for the tenant."""
    values = {
        "tenant": tenant,
        "action_id": action_id or uuid.uuid4(),
        "at": at,
        "actor": by.actor,
        "action": action,
        "subject": subject,
        "reason": None,
        "origin": by.origin,
        "result": result,
    }
    await connection.execute(statement("insert_action"), values)


def refused(why: str) -> str:
    """Return the result of an act that was refused."""
    return f"refused: {why}"
