"""Which sessions there are: a function of a world and the day, whenever it is asked."""

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sojourn.events.errors import UsageError
from sojourn.events.simulator.day import OVERTIME, Session, day_sessions
from sojourn.events.simulator.world import Tenant, World, build_world

SESSIONS_MAX: Final = 10_000_000  # 250 working days of SESSIONS_PER_DAY_MAX
SESSIONS_PER_DAY_MAX: Final = 50_000  # a tenant's day is planned at once, about 600 bytes a session
SESSIONS_PER_PERSON_DAY: Final = 1.9  # measured, Monday to Friday
WORKING_DAYS: Final = 5  # that `simulate` spreads its sessions over, until a day is full


class Plan(Struct, frozen=True):
    """The sessions of a world from one on, without end; of what ended before `told_before` every end is published."""

    world: World
    begin: tuple[int, str]
    told_before: int = 0

    def sessions(self, since: int) -> Iterator[Session]:
        """Yield in order all sessions that are open at `since` or begin later, and some that ended shortly before."""
        since = max(since, self.begin[0])
        streams = [_days(self.world, tenant, tenant.day(since - OVERTIME)) for tenant in self.world.tenants]
        for session in heapq.merge(*streams, key=lambda session: session.order):
            if session.order >= self.begin:
                is_missing = not session.end_published and session.logout >= self.told_before
                yield session if is_missing or session.end_published else replace(session, end_published=True)


def plan_simulation(seed: int, sessions: int, end: datetime, *, tenants: int = 3, brokers: int = 4) -> Plan:
    """Plan the newest `sessions` sessions that begin before `end`.

    They fill about a working week; more than 50 000 a day make it longer.
    """
    if not 1 <= sessions <= SESSIONS_MAX:
        raise UsageError(f"the number of sessions is 1 to {SESSIONS_MAX}, not: {sessions}")
    per_day = min(sessions / WORKING_DAYS, SESSIONS_PER_DAY_MAX)
    world = build_world(seed, max(tenants, round(per_day / SESSIONS_PER_PERSON_DAY)), tenants, brokers)
    before = milliseconds(end)
    days = {tenant.name: tenant.day(before) for tenant in world.tenants}
    found = step = 0
    while found < sessions:
        found += _sessions_before(world, before, days, step)
        step += 1
    # The days of two time zones overlap: one day more holds everything that began after the oldest one so far.
    found += _sessions_before(world, before, days, step)
    streams = [_days(world, tenant, days[tenant.name] - step) for tenant in world.tenants]
    newest = islice(heapq.merge(*streams, key=lambda session: session.order), found - sessions, None)
    return Plan(world, next(newest).order)


def _sessions_before(world: World, before: int, days: dict[str, int], step: int) -> int:
    return sum(
        session.login < before
        for tenant in world.tenants
        for session in day_sessions(world, tenant, days[tenant.name] - step)
    )


def _days(world: World, tenant: Tenant, first: int) -> Iterator[Session]:
    for day in count(first):
        yield from day_sessions(world, tenant, day)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(instant: datetime) -> int:
    """Return the whole milliseconds since 1970, rounded down."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def instant_at(moment: int) -> datetime:
    """Return the instant so many milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=moment)
