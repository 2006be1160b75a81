"""How fresh and how complete the lists are: up to which instant, and what each broker was heard to say."""

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.events.topics import HEARTBEATS
from sojourn.projections import tables
from sojourn.projections.read import stream

AHEAD_SECONDS_MIN: Final = 5  # of a broker's clock: less may be the log's delay
STALE_SECONDS: Final = 15  # three times as often as it is told how far the lists are complete


class BrokerSigns(NamedTuple):
    """What was heard of a broker, in all partitions.

    `last_event_at` is by its own clock, the others are append times; `skew_seconds` is by how much its clock is ahead.
    `can_be_silent` says that it used to tell that it is alive, `silent_since` that it has stopped in every partition.
    """

    source: str
    last_event_at: datetime | None
    last_heard_at: datetime | None
    last_alive_at: datetime | None
    silent_since: datetime | None
    skew_seconds: float | None
    misrouted_at: datetime | None

    @property
    def state(self) -> Literal["reporting", "silent", "unknown"]:
        """reporting, silent, or unknown for one that never says that it is alive."""
        if self.silent_since is not None:
            return "silent"
        return "unknown" if self.last_alive_at is None else "reporting"


class Freshness(NamedTuple):
    """Everything that was appended before `complete_to` is in the lists; None while no partition told so."""

    complete_to: datetime | None
    brokers: Sequence[BrokerSigns]


async def freshness(connection: AsyncConnection[Any]) -> Freshness:
    """Return how complete the lists are, and all brokers that were heard of; as the auditor."""
    return await _freshness(connection, tables.brokers)


async def tenant_freshness(connection: AsyncConnection[Any]) -> Freshness:
    """Return how complete the lists are, and the brokers that are bound to the tenant or have served it; as its reader.

    What happens to other tenants changes nothing of it.
    """
    return await _freshness(connection, tables.tenant_brokers)


async def _freshness(connection: AsyncConnection[Any], brokers: sa.Table) -> Freshness:
    p, b = tables.positions.c, brokers.c
    complete = sa.select(
        sa.case((sa.func.bool_and(p.complete_to.is_not(None)), sa.func.min(p.complete_to)), else_=None)
    ).where(p.topic == HEARTBEATS)  # where it is told of both topics
    known_alive = b.last_alive_at.is_not(None)
    is_silent = sa.func.bool_and(b.silent_since.is_not(None)).filter(known_alive)
    signs = (
        sa.select(
            b.source,
            sa.func.max(b.last_event_at),
            sa.func.max(b.last_appended_at),
            sa.func.max(b.last_alive_at),
            sa.case((is_silent, sa.func.max(b.silent_since)), else_=None),
            sa.func.max(b.skew_seconds),
            sa.func.max(b.misrouted_at),
        )
        .where(b.last_appended_at.is_not(None))
        .group_by(b.source)
        .order_by(b.source)
    )
    async with aclosing(stream(connection, complete)) as rows:
        (complete_to,) = [row[0] async for row in rows]
    async with aclosing(stream(connection, signs)) as rows:
        return Freshness(complete_to, [BrokerSigns(*row) async for row in rows])


def sentence(fresh: Freshness, now: datetime) -> str:
    """Say in one line how fresh the lists are and what is not as it should be."""
    parts = [_complete(fresh.complete_to, now)]
    reporting = [broker for broker in fresh.brokers if broker.state == "reporting"]
    silent = [broker for broker in fresh.brokers if broker.state == "silent"]
    if reporting or silent:
        parts.append(f"{len(reporting)} of {len(reporting) + len(silent)} brokers reporting")
    parts += [f"broker {name(broker.source)} silent for {_span(now, broker.silent_since)}" for broker in silent]
    parts += _clocks(fresh.brokers)
    parts += [
        f"heartbeats of broker {name(broker.source)} come to wrong partitions"
        for broker in fresh.brokers
        if broker.misrouted_at is not None and now - broker.misrouted_at < timedelta(days=1)
    ]
    return "; ".join(parts)


def name(source: str) -> str:
    """Return a broker's name as people call it: the last part of its source."""
    return source.rstrip("/").rpartition("/")[2] or source


def _complete(complete_to: datetime | None, now: datetime) -> str:
    if complete_to is None:
        return "nothing is known to be complete yet"
    text = f"complete to {complete_to:%H:%M:%S} UTC"
    if now - complete_to > timedelta(days=1):
        text = f"complete to {complete_to:%Y-%m-%d %H:%M:%S} UTC"
    if (now - complete_to).total_seconds() > STALE_SECONDS:
        return f"{text}, behind by {_span(now, complete_to)}: nobody is declared lost meanwhile"
    return text


def _clocks(brokers: Iterable[BrokerSigns]) -> list[str]:
    return [
        f"clock of broker {name(broker.source)} {_length(abs(broker.skew_seconds))} "
        f"{'ahead' if broker.skew_seconds > 0 else 'behind'}"
        for broker in brokers
        if broker.skew_seconds is not None and abs(broker.skew_seconds) >= AHEAD_SECONDS_MIN
    ]


def _span(now: datetime, since: datetime | None) -> str:
    assert since is not None
    return _length(max(0.0, (now - since).total_seconds()))


def _length(seconds: float) -> str:
    """Return a duration as `40 s`, `3 m`, `2 h` or `5 d`, rounded down."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
