"""Which sessions a statistic is made of: those of a filter that overlap its range, clipped to it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from sojourn.events.errors import UsageError
from sojourn.projections.read import HistoryFilter
from sojourn.projections.statements import statement
from sojourn.projections.statistics.cache import Snapshot, StatisticsCache
from sojourn.projections.statistics.columns import Columns, Kind, Named, Names, joined
from sojourn.projections.statistics.instants import UNKNOWN, Ints, instant_of, micros, zone_of
from sojourn.projections.statistics.rules import Range, rule

Mask = NDArray[np.bool_]
Result = TypeVar("Result")


class Counted(NamedTuple):
    """The sessions that overlap [start, end) and whose login is known; the open ones stand at the end.

    `ends_first` and `ends_last` are never before the login, and those of open sessions never after `as_of`.
    """

    columns: Columns
    open_rows: int
    unknown_login: int
    start: int
    end: int
    as_of: int
    zone: ZoneInfo
    names: Names

    @property
    def is_open(self) -> Mask:
        """Which sessions are open."""
        is_open = np.zeros(self.columns.rows, dtype=bool)
        is_open[self.columns.rows - self.open_rows :] = True
        return is_open

    @property
    def is_uncertain(self) -> Mask:
        """Which sessions ended, if they did, between two instants."""
        uncertain: Mask = self.columns.ends_first != self.columns.ends_last
        return uncertain

    def clipped(self, times: Ints) -> Ints:
        """Return logins or ends clipped to the range."""
        return np.clip(times, self.start, self.end)

    def spans(self, ends: Ints) -> tuple[Ints, Ints]:
        """Return login and end of each session, clipped to the range."""
        return self.clipped(self.columns.login), self.clipped(ends)

    def facts(self, key: str, rows: Mask | None = None, **left_out: int) -> dict[str, Any]:
        """Return what every answer says; `rows` are those of the sessions that are counted, unless all."""
        is_open, is_uncertain = self.is_open, self.is_uncertain
        if rows is not None:
            is_open, is_uncertain = is_open[rows], is_uncertain[rows]
        return {
            "rule": rule(key),
            "range": Range(instant_of(self.start), instant_of(self.end)),
            "time_zone": self.zone.key,
            "as_of": instant_of(self.as_of),
            "sessions": len(is_open),
            "open": int(is_open.sum()),
            "uncertain": int(is_uncertain.sum()),
            "left_out": {"unknown_login": self.unknown_login, **left_out},
        }


class _Wanted(NamedTuple):
    """Which numbers of users, desktops and kinds a filter names; None for any.

    `found` are those of users, desktops and addresses of which it looks for one.
    """

    users: Mask | None
    desktops: Mask | None
    kinds: Mask | None
    found: tuple[Mask, Mask, Mask] | None


async def answer(
    connection: AsyncConnection[Any],
    cache: StatisticsCache,
    filters: HistoryFilter,
    time_zone: str | None,
    made: Callable[[Counted], Result],
) -> Result:
    """Return what is `made` of the sessions of a filter; inside `as_reader`."""
    zone = zone_of(time_zone)
    asked = _micros(filters.from_at), _micros(filters.to_at)
    snapshot = await cache.read(connection, asked[0] or 0)
    wanted = await _wanted(connection, filters, snapshot.names)
    # Beside the event loop: millions of sessions take tenths of a second.
    return await asyncio.to_thread(lambda: made(_count(snapshot, wanted, asked, zone)))


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else max(0, micros(instant))


async def _wanted(connection: AsyncConnection[Any], filters: HistoryFilter, names: Names) -> _Wanted:
    users, desktops, kinds = names.users, names.desktops, names.kinds
    asked = (filters.terminal, filters.access, filters.outcome, filters.reason, filters.broker)
    return _Wanted(
        None if filters.user is None else await _matching(connection, users, filters.user),
        None if filters.desktop is None else await _matching(connection, desktops, filters.desktop),
        None if asked == (None,) * len(asked) else np.array([_is_of(kind, asked) for kind in kinds], dtype=bool),
        None if filters.search is None else await _found(connection, names, filters.search),
    )


def _is_of(kind: Kind, asked: Sequence[str | None]) -> bool:
    return all(text is None or text == value for text, value in zip(asked, kind, strict=False))


async def _found(connection: AsyncConnection[Any], names: Names, text: str) -> tuple[Mask, Mask, Mask]:
    return (
        await _matching(connection, names.users, text, id_in_part=True),
        await _matching(connection, names.desktops, text, id_in_part=True),
        np.array([bool(address) and address.startswith(text) for address in names.addresses], dtype=bool),
    )


async def _matching(
    connection: AsyncConnection[Any], named: Sequence[Named], text: str, *, id_in_part: bool = False
) -> Mask:
    """Tell which names match; PostgreSQL judges, whose idea of upper and lower case the lists have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"this is no UTF-8: {text!r}") from None
    found = np.zeros(len(named), dtype=bool)
    values = {"ids": [one.id for one in named], "names": [one.name for one in named], "text": text}
    cursor = await connection.execute(statement("statistics_matching"), {**values, "id_in_part": id_in_part})
    found[[place async for (place,) in cursor]] = True
    return found


def _count(snapshot: Snapshot, wanted: _Wanted, asked: tuple[int | None, int | None], zone: ZoneInfo) -> Counted:
    """Clip the range to what can be known, and keep what overlaps it."""
    as_of = snapshot.as_of
    end = min(as_of, as_of if asked[1] is None else asked[1])
    ended, still_open = (_kept(part, wanted) for part in (snapshot.ended, snapshot.open))
    still_open = still_open._replace(
        ends_first=np.minimum(still_open.ends_first, as_of), ends_last=np.minimum(still_open.ends_last, as_of)
    )
    is_known = ended.login != UNKNOWN
    start = asked[0]
    if start is None:
        logins = np.concatenate((ended.login[is_known], still_open.login, [end]))
        start = int(logins.min())
    end = max(start, end)
    unknown = ended.ends_first[~is_known]
    parts = [_overlapping(_ordered(part), start, end) for part in (ended, still_open)]
    return Counted(
        columns=joined(parts),
        open_rows=parts[1].rows,
        unknown_login=int(((unknown >= start) & (unknown < end)).sum()),
        start=start,
        end=end,
        as_of=as_of,
        zone=zone,
        names=snapshot.names,
    )


def _kept(part: Columns, wanted: _Wanted) -> Columns:
    columns = (part.user, part.desktop, part.kind)
    masks = [mask[column] for mask, column in zip(wanted[:3], columns, strict=True) if mask is not None]
    if wanted.found is not None:
        columns = (part.user, part.desktop, part.address)
        looked = [mask[column] for mask, column in zip(wanted.found, columns, strict=True)]
        masks.append(np.logical_or.reduce(looked))
    return part.where(np.logical_and.reduce(masks)) if masks else part


def _ordered(part: Columns) -> Columns:
    """Let no session end before it began: clocks differ."""
    ends_first = np.maximum(part.ends_first, part.login)
    return part._replace(ends_first=ends_first, ends_last=np.maximum(part.ends_last, ends_first))


def _overlapping(part: Columns, start: int, end: int) -> Columns:
    overlaps = (part.login < end) & (part.ends_last >= start) & (part.login != UNKNOWN)
    return part if overlaps.all() else part.where(overlaps)
