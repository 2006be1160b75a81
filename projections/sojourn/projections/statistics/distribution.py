"""What users connected with, and from where."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from msgspec import Struct
from psycopg import AsyncConnection

from sojourn.projections.read import HistoryFilter
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.columns import Kind
from sojourn.projections.statistics.counted import Counted, answer
from sojourn.projections.statistics.instants import SECOND, sums
from sojourn.projections.statistics.people import identities
from sojourn.projections.statistics.rules import Answer
from sojourn.projections.statistics.spans import distinct


class Share(Struct, frozen=True):
    """A part of the sessions, `share` of 1: how many users had them, and how long they were online in all."""

    sessions: int
    share: float
    users: int
    seconds_min: float
    seconds_max: float


class TerminalShare(Share, frozen=True):
    """The sessions of one type of terminal."""

    terminal_type: str


class SystemShare(Share, frozen=True):
    """The sessions of one type of terminal with one operating system."""

    terminal_type: str
    terminal_os: str


class AccessShare(Share, frozen=True):
    """The sessions from inside, or from the public internet."""

    access: str


class Terminals(Answer, frozen=True, kw_only=True):
    """By type, and by type and operating system; most sessions first, then by name."""

    users_total: int
    types: list[TerminalShare]
    systems: list[SystemShare]


class Accesses(Answer, frozen=True, kw_only=True):
    """By access; most sessions first, then by name."""

    users_total: int
    accesses: list[AccessShare]


async def terminals(
    connection: AsyncConnection[Any], cache: StatisticsCache, filters: HistoryFilter, time_zone: str | None
) -> Terminals:
    """Return the distribution of terminals; inside `as_reader`."""
    return await answer(connection, cache, filters, time_zone, _terminals)


async def access(
    connection: AsyncConnection[Any], cache: StatisticsCache, filters: HistoryFilter, time_zone: str | None
) -> Accesses:
    """Return the distribution of access; inside `as_reader`."""
    return await answer(connection, cache, filters, time_zone, _accesses)


Key = TypeVar("Key", str, tuple[str, str])


class _Shares:
    """Sessions, users and microseconds by kind, which can be joined to coarser ones."""

    def __init__(self, counted: Counted) -> None:
        columns, self._kinds = counted.columns, counted.names.kinds
        size = max(1, len(self._kinds))
        lengths = [np.subtract(*reversed(counted.spans(ends))) for ends in (columns.ends_first, columns.ends_last)]
        self._sessions = np.bincount(columns.kind, minlength=size)
        self._seconds = [sums(columns.kind, length, size) for length in lengths]
        places = identities(counted.names.users).places
        pairs = distinct(columns.user.astype(np.int64) * size + columns.kind)
        self._users, self._kind_of_user = (places[pairs // size] if len(pairs) else pairs), pairs % size
        self.users_total = len(distinct(self._users))

    def by(self, key_of: Callable[[Kind], Key]) -> list[tuple[Key, tuple[int, float, int, float, float]]]:
        """Return the values of a `Share` for each key."""
        numbers: dict[Key, int] = {}
        places = [numbers.setdefault(key_of(kind), len(numbers)) for kind in self._kinds]
        number = np.array(places, dtype=np.int64)
        count = len(numbers)
        if not count:
            return []
        sessions = sums(number, self._sessions, count)
        least, most = (sums(number, seconds, count) for seconds in self._seconds)
        users = np.bincount(distinct(self._users * count + number[self._kind_of_user]) % count, minlength=count)
        total = max(1, int(sessions.sum()))
        shares = [
            (
                key,
                (
                    int(sessions[place]),
                    int(sessions[place]) / total,
                    int(users[place]),
                    int(least[place]) / SECOND,
                    int(most[place]) / SECOND,
                ),
            )
            for key, place in numbers.items()
            if sessions[place]
        ]
        return sorted(shares, key=lambda share: (-share[1][0], share[0]))


def _terminals(counted: Counted) -> Terminals:
    shares = _Shares(counted)
    return Terminals(
        **counted.facts("terminals"),
        users_total=shares.users_total,
        types=[TerminalShare(*share, terminal_type=key) for key, share in shares.by(lambda kind: kind.terminal_type)],
        systems=[
            SystemShare(*share, terminal_type=key[0], terminal_os=key[1])
            for key, share in shares.by(lambda kind: (kind.terminal_type, kind.terminal_os))
        ],
    )


def _accesses(counted: Counted) -> Accesses:
    shares = _Shares(counted)
    return Accesses(
        **counted.facts("access"),
        users_total=shares.users_total,
        accesses=[AccessShare(*share, access=key) for key, share in shares.by(lambda kind: kind.access)],
    )
