"""The events that Sojourn appends itself; their ids come from what they decide, so that a repeat has the same id."""

import zlib
from datetime import datetime, timedelta

from sojourn.events.decision_data import (
    BrokerReturnedData,
    BrokerSilentData,
    DeadLetterResolvedData,
    DisconnectExpiredData,
    DisconnectRequestedData,
    GapAcceptedData,
    LostData,
    LostEndedData,
    RecoveredData,
    SourceBoundData,
    TenantConfiguredData,
)
from sojourn.events.fields import TEXT_CHARACTERS_MAX, Partitioner
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import (
    SOJOURN,
    BrokerReturned,
    BrokerSilent,
    DeadLetterResolved,
    DisconnectExpired,
    DisconnectRequested,
    GapAccepted,
    Lost,
    LostEnded,
    Recovered,
    SourceBound,
    TenantConfigured,
)


def source_bound(
    source: str, partitioner: Partitioner, at: datetime, tenants: list[str] | None = None, who: str | None = None
) -> SourceBound:
    """Return the event that binds a broker to a partitioner and, unless None, to the tenants it may speak for."""
    of_tenants = "" if tenants is None else f"/{','.join(sorted(tenants))}"
    return SourceBound(
        specversion="1.0",
        id=f"source_bound/{partitioner}/{source}{of_tenants}"[:TEXT_CHARACTERS_MAX],
        source=SOJOURN,
        time=at,
        data=SourceBoundData(source, partitioner, tenants if tenants is None else sorted(tenants), who),
    )


def tenant_configured(tenant: str, data: TenantConfiguredData, at: datetime) -> TenantConfigured:
    """Return the event that says what holds for a tenant from now on."""
    return TenantConfigured(
        specversion="1.0", id=f"configured/{tenant}/{_instant(at)}", source=SOJOURN, time=at, tenant=tenant, data=data
    )


def lost(
    tenant: str,
    session_id: str,
    last_seen_at: datetime,
    deadline: datetime,
    timeout_seconds: int,
    heartbeat_offset: int,
) -> Lost:
    """Return the event that declares a session lost; its evidence is when it was last seen."""
    return Lost(
        specversion="1.0",
        id=f"lost/{tenant}/{session_id}/{_instant(last_seen_at)}",
        source=SOJOURN,
        time=deadline,
        tenant=tenant,
        subject=session_id,
        data=LostData(last_seen_at, deadline, timeout_seconds, heartbeat_offset),
    )


def recovered(tenant: str, session_id: str, lost_id: str, seen_at: datetime, heartbeat_offset: int) -> Recovered:
    """Return the event that puts a loss right."""
    return Recovered(
        specversion="1.0",
        id=f"recovered/{lost_id}"[:TEXT_CHARACTERS_MAX],
        source=SOJOURN,
        time=seen_at,
        tenant=tenant,
        subject=session_id,
        data=RecoveredData(seen_at, heartbeat_offset, lost_id),
    )


def lost_ended(
    tenant: str, session_id: str, lost_id: str, between: tuple[datetime, datetime], grace_seconds: int
) -> LostEnded:
    """Return the event that ends a session which stayed lost for the grace period."""
    return LostEnded(
        specversion="1.0",
        id=f"lost_ended/{lost_id}"[:TEXT_CHARACTERS_MAX],
        source=SOJOURN,
        time=between[1] + timedelta(seconds=grace_seconds),
        tenant=tenant,
        subject=session_id,
        data=LostEndedData(*between, grace_seconds, lost_id),
    )


def disconnect_requested(
    tenant: str, session_id: str, data: DisconnectRequestedData, at: datetime
) -> DisconnectRequested:
    """Return the event that asks a session's broker for something."""
    return DisconnectRequested(
        specversion="1.0",
        id=f"requested/{data.command}",
        source=SOJOURN,
        time=at,
        tenant=tenant,
        subject=session_id,
        data=data,
    )


def disconnect_expired(tenant: str, session_id: str, command: str, deadline: datetime) -> DisconnectExpired:
    """Return the event that calls a command not confirmed."""
    return DisconnectExpired(
        specversion="1.0",
        id=f"expired/{command}",
        source=SOJOURN,
        time=deadline,
        tenant=tenant,
        subject=session_id,
        data=DisconnectExpiredData(command, deadline),
    )


def broker_silent(
    source: str, partition: int, last_heard_at: datetime, deadline: datetime, offset: int
) -> BrokerSilent:
    """Return the event that calls a broker silent in one partition, whose heartbeats were read up to `offset`."""
    return BrokerSilent(
        specversion="1.0",
        id=f"silent/{partition}/{_instant(last_heard_at)}/{source}"[:TEXT_CHARACTERS_MAX],
        source=SOJOURN,
        time=deadline,
        data=BrokerSilentData(source, last_heard_at, deadline, offset),
    )


def broker_returned(source: str, silent_id: str, heard_at: datetime, offset: int) -> BrokerReturned:
    """Return the event that ends a broker's silence in one partition."""
    return BrokerReturned(
        specversion="1.0",
        id=f"returned/{silent_id}"[:TEXT_CHARACTERS_MAX],
        source=SOJOURN,
        time=heard_at,
        data=BrokerReturnedData(source, heard_at, offset, silent_id),
    )


def gap_accepted(
    partition: int, from_offset: int, to_offset: int, *, reason: str, who: str, at: datetime
) -> GapAccepted:
    """Return the event that accepts the loss of lifecycle records from one offset up to another."""
    return GapAccepted(
        specversion="1.0",
        id=f"gap_accepted/{LIFECYCLE}/{partition}/{from_offset}-{to_offset}",
        source=SOJOURN,
        time=at,
        data=GapAcceptedData(LIFECYCLE, partition, from_offset, to_offset, reason, who),
    )


def dead_letter_resolved(data: DeadLetterResolvedData, at: datetime) -> DeadLetterResolved:
    """Return the event that says what is done with a dead letter."""
    place = f"{data.topic}/{data.partition}/{data.offset}/{data.appended_at.timestamp():.6f}"
    mended = "" if data.value is None else f"/{zlib.crc32(data.value):08x}"
    return DeadLetterResolved(
        specversion="1.0", id=f"{data.resolution}/{place}{mended}", source=SOJOURN, time=at, data=data
    )


def _instant(at: datetime) -> str:
    return f"{at.timestamp():.3f}"
