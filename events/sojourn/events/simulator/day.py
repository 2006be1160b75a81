"""What one person does on one day: when they connect, from where, and how each connection ends."""

from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from sojourn.events.fields import Reason
from sojourn.events.simulator.names import CUT_DETAILS
from sojourn.events.simulator.world import (
    DAY,
    HOUR,
    MINUTE,
    RESTART_CLOSING,
    RESTART_DOWN,
    SECOND,
    Device,
    Person,
    Seat,
    Tenant,
    World,
    drawing,
    exponential,
    next_restart,
    pick,
    public_address,
    weighted,
)

PRESENT_SHARE: Final = 0.84  # of people who work on a given working day
WEEKEND_SHARE: Final = 0.07
SHIFT_WEEKEND_SHARE: Final = 0.6  # a service desk is open all week
COMMUTE_SHARE: Final = 0.12  # of people who look at their mail on the way
LUNCH_CONNECTED_SHARE: Final = 0.45
EVENING_SHARE: Final = 0.22
EVENING_MOBILE_SHARE: Final = 0.35  # of evenings; the others are spent at a computer
SECOND_DESKTOP_SHARE: Final = 0.3  # of days, for those who have one

MISSING_END_SHARE: Final = 0.015  # of sessions whose `destroyed` never leaves the broker
ERROR_SHARE: Final = 0.14  # of cuts that are no network's fault
RECONNECT_SHARE: Final = 0.85  # of people who come back after a cut
ACCESS_TOLD_SHARE: Final = 0.7  # of sessions whose broker tells `access` where it can be derived
ROAMING_SHARE: Final = 0.3  # of mobile sessions whose client changes its address

SATURDAY: Final = 5  # counted from Monday, 0
SHIFT_MINUTES: Final = {"early": (300, 540, 790), "late": (800, 1050, 1290), "night": (1265, 1440, 1725)}
OVERTIME: Final = 2 * HOUR  # by which a session can outlast its day: the night shift's last one
IDLE_TIMEOUT: Final = 30 * MINUTE
SESSION_MIN: Final = 20 * SECOND  # who would have to leave sooner does not connect

CLOSES: Final[tuple[tuple[float, Reason], ...]] = (  # what nothing cuts; cumulative
    (0.72, "logoff"),
    (0.94, "idle_timeout"),
    (0.97, "admin_disconnect"),
    (1.0, "unknown"),
)


class Session(Struct, frozen=True, gc=False):
    """One connection, with its real end; without `end_published` nobody hears of that."""

    login: int
    id: str
    tenant: str
    person: Person
    seat: Seat
    device: Device
    client_ip: str
    roamed: tuple[int, str] | None
    access_told: bool
    predecessor: str | None
    logout: int
    reason: Reason
    detail: str | None
    end_published: bool

    @property
    def order(self) -> tuple[int, str]:
        """What sessions are ordered by, and the same for no two."""
        return self.login, self.id


class Spell(NamedTuple):
    """Time that somebody means to spend at a desktop, in milliseconds after midnight."""

    start: int
    stop: int
    device: Device
    seat: Seat


def day_sessions(world: World, tenant: Tenant, day: int) -> list[Session]:
    """Return the sessions that begin in a company's day, in order; they end at most `OVERTIME` after it."""
    midnight = day * DAY - tenant.offset
    weekend = (day + 3) % 7 >= SATURDAY  # day 0, 1970-01-01, was a Thursday
    sessions: list[Session] = []
    for index, person in enumerate(tenant.people):
        draw = drawing(world.root, tenant.name, index, day)
        free = 0  # when the person's own desktop is theirs again
        for spell in _spells(person, draw, weekend=weekend):
            own = spell.seat is person.seat
            start = midnight + (max(spell.start, free) if own else spell.start)
            for session in _connect(world, tenant, person, spell, start, midnight + spell.stop, draw):
                sessions.append(session)
                if own:
                    free = session.logout - midnight + MINUTE
    sessions.sort(key=lambda session: session.order)
    return sessions


def _spells(person: Person, draw: Random, *, weekend: bool) -> Iterator[Spell]:
    """Yield when the person means to be connected on one day; those at the own desktop in order."""
    chance = draw.random
    if person.shift is not None:
        if chance() < (SHIFT_WEEKEND_SHARE if weekend else PRESENT_SHARE):
            begin, middle, end = SHIFT_MINUTES[person.shift]
            rest = middle + 90 * chance()
            yield _spell(person.seat, person.desk, begin + 45 * chance(), rest)
            yield _spell(person.seat, person.desk, rest + 20 + 25 * chance(), end + 45 * chance())
    elif weekend:
        if chance() < WEEKEND_SHARE:
            start = 540 + 660 * chance()
            yield _spell(person.seat, pick((person.away, person.pocket), draw), start, start + 15 + 135 * chance())
    elif chance() < PRESENT_SHARE:
        yield from _working_day(person, draw)


def _working_day(person: Person, draw: Random) -> Iterator[Spell]:
    chance, seat = draw.random, person.seat
    device = person.away if chance() < person.home_share else person.desk
    arrival = person.arrival + 25 * (chance() + chance() - 1)
    departure = arrival + 480 + 100 * chance()
    if chance() < COMMUTE_SHARE:
        start = arrival - 70 + 20 * chance()
        yield _spell(seat, person.pocket, start, start + 2 + 12 * chance())
    if chance() < LUNCH_CONNECTED_SHARE:
        yield _spell(seat, device, arrival, departure)
    else:
        lunch = 705 + 60 * chance()
        yield _spell(seat, device, arrival, lunch)
        yield _spell(seat, device, lunch + 30 + 35 * chance(), departure)
    if chance() < EVENING_SHARE:
        start = 1140 + 170 * chance()
        evening = person.pocket if chance() < EVENING_MOBILE_SHARE else person.away
        yield _spell(seat, evening, start, start + 5 + min(150.0, exponential(35, draw)))
    if person.second is not None and chance() < SECOND_DESKTOP_SHARE:
        start = 600 + 300 * chance()
        yield _spell(person.second, device, start, start + 30 + 90 * chance())


def _spell(seat: Seat, device: Device, start: float, stop: float) -> Spell:
    """Return the spell between two minutes after local midnight."""
    return Spell(int(start * MINUTE), int(stop * MINUTE), device, seat)


def _connect(
    world: World, tenant: Tenant, person: Person, spell: Spell, start: int, stop: int, draw: Random
) -> Iterator[Session]:
    """Yield the sessions of one spell: one, and another after each cut that the person comes back from."""
    broker = spell.seat.broker
    close = weighted(CLOSES, draw)
    if close == "idle_timeout":
        stop += IDLE_TIMEOUT  # who forgets to log off is idle first
    login, predecessor = start, None
    while True:
        restart = next_restart(world.root, broker, login)
        if login >= restart - RESTART_CLOSING:
            login = restart + RESTART_DOWN + int(draw.random() * MINUTE)
            restart = next_restart(world.root, broker, login)
        if stop - login < SESSION_MIN or tenant.day(login) != tenant.day(start):
            return
        logout, reason = stop, close
        cut = login + SECOND + int(exponential(HOUR / spell.device.cuts_per_hour, draw))
        if cut < logout:
            logout, reason = cut, "error" if draw.random() < ERROR_SHARE else "network"
        if logout > restart - RESTART_CLOSING:
            logout, reason = restart - int(draw.random() * RESTART_CLOSING), "broker_shutdown"
        session = _session(tenant, person, spell, login, logout, reason, predecessor, draw)
        yield session
        if logout >= stop or draw.random() >= RECONNECT_SHARE:
            return
        login, predecessor = logout + 5 * SECOND + int(exponential(25 * SECOND, draw)), session.id


def _session(
    tenant: Tenant,
    person: Person,
    spell: Spell,
    login: int,
    logout: int,
    reason: Reason,
    predecessor: str | None,
    draw: Random,
) -> Session:
    device = spell.device
    roamed = None
    if device.client_ip is None and draw.random() < ROAMING_SHARE:
        roamed = login + int(draw.random() * (logout - login)), public_address(draw)
    details = CUT_DETAILS.get(reason)
    return Session(
        login=login,
        id=str(UUID(int=draw.getrandbits(128), version=4)),
        tenant=tenant.name,
        person=person,
        seat=spell.seat,
        device=device,
        client_ip=device.client_ip or public_address(draw),
        roamed=roamed,
        access_told=device.telling or draw.random() < ACCESS_TOLD_SHARE,
        predecessor=predecessor,
        logout=logout,
        reason=reason,
        detail=pick(details, draw) if details else None,
        end_published=draw.random() >= MISSING_END_SHARE,
    )
