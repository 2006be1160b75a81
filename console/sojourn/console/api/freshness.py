"""`/v1/freshness`, `/v1/brokers`: up to when the lists are complete, and what the tenant's brokers are heard to say."""

from datetime import datetime
from typing import Any, Literal

from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Connection, Site
from sojourn.projections.freshness import BrokerSigns, sentence, tenant_freshness
from sojourn.projections.statements import statement


class BrokerFreshness(Struct, frozen=True):
    """What was heard of a broker; `last_event_at` is by its own clock, `skew_seconds` by how much that is ahead."""

    source: str
    state: Literal["reporting", "silent", "unknown"]
    last_event_at: datetime | None
    last_heard_at: datetime | None
    last_alive_at: datetime | None
    silent_since: datetime | None
    skew_seconds: float | None
    misrouted_at: datetime | None


class FreshnessAnswer(Struct, frozen=True):
    """How fresh and how complete the lists are: all that was appended before `complete_to` is in them."""

    as_of: datetime
    complete_to: datetime | None
    sentence: str
    brokers: list[BrokerFreshness]


class TenantBroker(Struct, frozen=True):
    """A broker of the tenant: how many sessions of the tenant it serves, and which commands it takes.

    A broker that never said what it takes ends sessions.
    """

    source: str
    state: Literal["reporting", "silent", "unknown"]
    sessions: int
    commands: list[str]
    last_heard_at: datetime | None
    silent_since: datetime | None


class BrokersAnswer(Struct, frozen=True):
    """The brokers that are bound to the tenant, or have served its sessions."""

    as_of: datetime
    brokers: list[TenantBroker]


def freshness_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers about freshness and brokers."""

    @get("/v1/freshness", opt=needs("read"), operation_id="getFreshness", tags=["freshness"], summary="How fresh it is")
    async def freshness(principal: Who) -> FreshnessAnswer:
        """Tell up to when the lists are complete, as an instant and in words, and what the brokers are heard to say."""
        async with site.reader(principal.tenant) as connection:
            as_of = await _as_of(connection)
            fresh = await tenant_freshness(connection)
        return FreshnessAnswer(as_of, fresh.complete_to, sentence(fresh, as_of), [_signs(one) for one in fresh.brokers])

    @get("/v1/brokers", opt=needs("read"), operation_id="listBrokers", tags=["brokers"], summary="The tenant's brokers")
    async def brokers(principal: Who) -> BrokersAnswer:
        """List the brokers with the number of open sessions of the tenant that each serves."""
        async with site.reader(principal.tenant) as connection:
            as_of = await _as_of(connection)
            fresh = await tenant_freshness(connection)
            cursor = await connection.execute(statement("count_brokers"))
            served = {source: (sessions, commands) for source, sessions, commands in await cursor.fetchall()}
        known = [
            TenantBroker(one.source, one.state, *served[one.source], one.last_heard_at, one.silent_since)
            for one in fresh.brokers
        ]
        return BrokersAnswer(as_of, known)

    return [freshness, brokers]


async def _as_of(connection: Connection) -> datetime:
    row: Any = await (await connection.execute("SELECT now()")).fetchone()
    as_of: datetime = row[0]
    return as_of


def _signs(broker: BrokerSigns) -> BrokerFreshness:
    return BrokerFreshness(state=broker.state, **broker._asdict())
