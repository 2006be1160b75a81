"""Administrative acts that the log tells of: written with their effect, once, whichever partition applies it first."""

import uuid
from typing import Any, Final

import msgspec
from msgspec.structs import asdict
from psycopg import AsyncConnection

from sojourn.events.types import GapAccepted, SourceBound, TenantConfigured
from sojourn.projections.statements import statement

PLATFORM: Final = "~platform"  # whose act it is that is about no tenant; no tenant can have this name

_ACTIONS: Final = uuid.UUID("0f3c1c2e-6b0a-4c58-9a9d-4a1f0c7a9b11")


async def write_told_act(connection: AsyncConnection[Any], event: SourceBound | TenantConfigured | GapAccepted) -> None:
    """Write who decided what, for each tenant that it is about; nothing where the event does not tell who."""
    if event.data.who is None:
        return
    tenants, action, subject, what = _told(event)
    for tenant in tenants:
        values = {
            "tenant": tenant,
            "action_id": uuid.uuid5(_ACTIONS, f"{event.id}@{event.time.isoformat()}"),  # the same in each partition
            "at": event.time,
            "actor": event.data.who,
            "action": action,
            "subject": subject,
            "reason": event.data.reason if isinstance(event, GapAccepted) else None,
            "origin": "the log",
            "result": f"done: {what}",
        }
        await connection.execute(statement("insert_action"), values)


def _told(event: SourceBound | TenantConfigured | GapAccepted) -> tuple[list[str], str, str, str]:
    """Return whose act it is, its name, what it is about, and what holds from then on."""
    match event:
        case SourceBound(data=data):
            tenants = "any tenant" if data.tenants is None else ", ".join(data.tenants) or "no tenant"
            return data.tenants or [PLATFORM], "broker.set", data.source, f"{data.partitioner}, for {tenants}"
        case TenantConfigured(tenant=tenant, data=data):
            setting = {name: value for name, value in asdict(data).items() if value and name != "who"}
            return [tenant], "tenant.set", tenant, msgspec.json.encode(setting).decode()
        case GapAccepted(data=data):
            subject = f"{data.topic}@{data.partition}:{data.from_offset}"
            return [PLATFORM], "log.accept_gap", subject, f"goes on at offset {data.to_offset}"
