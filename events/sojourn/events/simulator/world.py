"""Who and what there is: tenants, their people with desktops and devices, and brokers that restart now and then."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import log
from random import Random
from typing import Final, TypeVar

from msgspec import Struct

from sojourn.events.errors import UsageError
from sojourn.events.fields import Access
from sojourn.events.simulator.names import (
    BROWSER,
    COMPANIES,
    EAST_ASIAN_NAMES,
    FIRST_NAMES,
    LAST_NAMES,
    MOBILE,
    OTHER,
    POOL_LABELS,
    POOL_SHARES,
    POOLS,
    REGIONS,
    SOFT,
    THIN,
    Company,
    Kind,
)
from sojourn.events.types import Desktop, Terminal, User

TENANTS_MAX: Final = 1000  # each has its own stream of days, all merged
BROKERS_MAX: Final = 1000  # each publishes for every tenant every 30 s
PEOPLE_MAX: Final = 100_000  # the world is kept in memory, about 2 KB a person

SECOND: Final = 1000  # all times in the simulator are whole milliseconds since 1970
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY

DAY_BEGINS: Final = 5 * HOUR  # local; when hardly anybody works, so that one person's evening and night are one day
RESTART_CLOSING: Final = 8 * SECOND  # in which a restarting broker ends its sessions
RESTART_DOWN: Final = 45 * SECOND  # in which it is not there at all
SHIFTS: Final = ((0.78, None), (0.83, "early"), (0.91, "late"), (1.0, "night"))  # a service desk around the clock
SECOND_SHARE: Final = 0.08  # of people who have a second desktop beside their own
BRANCH_SHARE: Final = 0.07  # of desks that reach the broker through a public address
IPV6_SHARE: Final = 0.1  # of desks
PUBLIC_IPV6_SHARE: Final = 0.15
DESK_KINDS: Final = ((0.72, THIN), (0.92, SOFT), (1.0, OTHER))  # cumulative
AWAY_KINDS: Final = ((0.62, SOFT), (0.94, BROWSER), (1.0, OTHER))

Option = TypeVar("Option")


class Seat(Struct, frozen=True, gc=False):
    """A desktop, and the broker of its pool."""

    desktop: Desktop
    broker: str


class Device(Struct, frozen=True, gc=False):
    """What somebody connects with; without a client_ip each connection comes from another public address.

    `telling` is set where `access` cannot be derived from the address and so is always told.
    """

    terminal: Terminal
    protocol: str
    cuts_per_hour: float
    client_ip: str | None
    access: Access
    telling: bool = False


class Person(Struct, frozen=True, gc=False):
    """Somebody's habits; who works in no shift comes at `arrival`, in minutes after local midnight."""

    user: User
    seat: Seat
    second: Seat | None
    desk: Device
    away: Device
    pocket: Device
    shift: str | None
    arrival: float
    home_share: float


class Tenant(Struct, frozen=True, gc=False):
    """One company; its people are in one time zone."""

    name: str
    offset: int
    people: tuple[Person, ...]

    def day(self, instant: int) -> int:
        """Return the number of the company's day, from 5 to 5 o'clock local time, that the instant lies in."""
        return (instant + self.offset - DAY_BEGINS) // DAY


class World(Struct, frozen=True, gc=False):
    """Everything that does not change from day to day; `root` begins the seed of all that is drawn from it."""

    root: str
    tenants: tuple[Tenant, ...]
    brokers: tuple[str, ...]


def build_world(seed: int, people: int, tenants: int, brokers: int) -> World:
    """Return the world of a seed; other numbers of people, tenants or brokers make another one, with other ids."""
    for what, count, most in (
        ("tenants", tenants, TENANTS_MAX),
        ("brokers", brokers, BROKERS_MAX),
        ("people", people, PEOPLE_MAX),
    ):
        if not 1 <= count <= most:
            raise UsageError(f"the number of {what} is 1 to {most}, not: {count}")
    root = f"{seed}/{people}/{tenants}/{brokers}"
    names = tuple(f"/brokers/{REGIONS[i % len(REGIONS)]}-{i // len(REGIONS) + 1}" for i in range(brokers))
    shares = [1 / (rank + 1.5) for rank in range(tenants)]
    return World(
        root,
        tuple(
            _tenant(root, rank, names, max(1, round(people * share / sum(shares)))) for rank, share in enumerate(shares)
        ),
        names,
    )


def drawing(root: str, *key: object) -> Random:
    """Return the generator for one thing in a world.

    Only `random()` and `getrandbits()` of it are used: Python promises that these stay as they are.
    """
    seed = blake2b("/".join((root, *map(str, key))).encode(), digest_size=8).digest()
    return Random(int.from_bytes(seed, "big"))


def pick(options: Sequence[Option], draw: Random) -> Option:
    """Return one of the options, each as likely as the others."""
    return options[int(draw.random() * len(options))]


def weighted(options: Sequence[tuple[float, Option]], draw: Random) -> Option:
    """Return one of the options, each with the share at which its own ends and the one before it begins."""
    share = draw.random()
    return next(option for end, option in options if share < end)


def exponential(mean: float, draw: Random) -> float:
    """Return how long one waits for what happens once in `mean` on average."""
    return -log(1.0 - draw.random()) * mean


def public_address(draw: Random) -> str:
    """Return an address that is public and nobody's: of the ranges for benchmarks and for documentation."""
    low = 1 + int(draw.random() * 254)
    if draw.random() < PUBLIC_IPV6_SHARE:
        return f"2001:db8:{1 + draw.getrandbits(15):x}::{low:x}"
    return f"198.{18 + draw.getrandbits(1)}.{draw.getrandbits(8)}.{low}"


@lru_cache(maxsize=16384)
def _restart_in(root: str, broker: str, week: int) -> int:
    return week * WEEK + MINUTE + int(drawing(root, "restart", broker, week).random() * (WEEK - HOUR))


def next_restart(root: str, broker: str, instant: int) -> int:
    """Return when the broker next goes down: once a week, at any hour; its last restart while it is still down."""
    week = instant // WEEK
    restart = _restart_in(root, broker, week)
    return restart if restart + RESTART_DOWN > instant else _restart_in(root, broker, week + 1)


def _tenant(root: str, rank: int, brokers: Sequence[str], people: int) -> Tenant:
    company = COMPANIES[rank % len(COMPANIES)]
    if rank >= len(COMPANIES):
        company = Company(f"tenant-{rank + 1}", company.offset_minutes, company.east_asian_share)
    pools = max(len(POOLS), len(brokers))  # so that every broker has one

    def seat(pool: int, number: int) -> Seat:
        turn, which = divmod(pool, len(POOLS))
        name = f"{POOLS[which]}-{turn + 1}" if turn else POOLS[which]
        desktop = Desktop(f"d-{name}-{number:04d}", f"{POOL_LABELS[which]}-{number}", name)
        return Seat(desktop, brokers[(pool + rank) % len(brokers)])

    def person(index: int) -> Person:
        draw = drawing(root, company.name, index)
        pool = weighted(POOL_SHARES, draw) if pools == len(POOLS) else int(draw.random() * pools)
        shared = seat((pool + 1) % pools, people + index + 1) if draw.random() < SECOND_SHARE else None
        return Person(
            user=User(f"u-{index + 1:05d}", _name(company, draw)),
            seat=seat(pool, index + 1),
            second=shared,
            desk=_desk(rank, index, draw),
            away=_device(weighted(AWAY_KINDS, draw), index, draw, public_address(draw), "public"),
            pocket=_device(MOBILE, index, draw, None, "public"),
            shift=weighted(SHIFTS, draw),
            arrival=440 + 75 * (draw.random() + draw.random()),  # 7:20 to 9:50, mostly around 8:35
            home_share=pick((0.0, 0.0, 0.2, 0.4, 0.6), draw),
        )

    return Tenant(company.name, company.offset_minutes * MINUTE, tuple(map(person, range(people))))


def _name(company: Company, draw: Random) -> str:
    if draw.random() < company.east_asian_share:
        return pick(EAST_ASIAN_NAMES, draw)
    return f"{pick(FIRST_NAMES, draw)} {pick(LAST_NAMES, draw)}"


def _desk(rank: int, index: int, draw: Random) -> Device:
    """Return what stands in the office: on the company's network, or behind the public address of a branch."""
    kind, where = weighted(DESK_KINDS, draw), draw.random()
    if where < BRANCH_SHARE:
        return _device(kind, index, draw, f"203.0.113.{1 + rank % 254}", "internal", telling=True)
    if where < BRANCH_SHARE + IPV6_SHARE:
        return _device(kind, index, draw, f"fd00:{rank + 1:x}:{1 + index // 200:x}::{20 + index % 200:x}", "internal")
    return _device(kind, index, draw, f"10.{1 + rank % 254}.{index // 200 % 256}.{20 + index % 200}", "internal")


def _device(
    kind: Kind, index: int, draw: Random, client_ip: str | None, access: Access, *, telling: bool = False
) -> Device:
    name = f"{kind.prefix}-{index + 1:05d}" if kind.prefix else ""
    terminal = Terminal(kind.type, pick(kind.systems, draw), pick(kind.versions, draw), name)
    return Device(terminal, pick(kind.protocols, draw), kind.cuts_per_hour, client_ip, access, telling)
