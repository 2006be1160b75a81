"""What is written down of who asked for which export, with its effect in one transaction."""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from sojourn.console.identity import acts
from sojourn.console.identity.acts import Doer
from sojourn.console.jobs.orders import Order
from sojourn.console.site.site import Connection


class _Result(Struct, frozen=True):
    """How `admin_action` keeps what was asked for and what came of it."""

    outcome: Literal["allowed", "refused"]
    order: Order | None
    detail: str | None


async def write_act(
    connection: Connection,
    tenant: str,
    actor: str,
    origin: str | None,
    action: str,
    subject: str,
    order: Order | None = None,
    *,
    refusal: str | None = None,
    action_id: UUID | None = None,
) -> None:
    """Write an act down; `refusal` says why it was not allowed."""
    result = _Result("allowed" if refusal is None else "refused", order, refusal)
    by = Doer(actor, origin)
    text = msgspec.json.encode(result).decode()
    await acts.write_act(connection, tenant, by, action, subject, text, datetime.now(UTC), action_id=action_id)
