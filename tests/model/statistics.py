"""The independent statistics: every number by looking at each moment at which anything changes; docs/statistics.md.

Slow and obvious on purpose: a list of sessions, and for each span between two changes which of them cover it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

QUARTER: Final = timedelta(minutes=15)  # hours and dates of every zone of our days change at such times only
BANDS: Final = (0, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)
BUCKETS_MAX: Final = 400  # docs/statistics.md


class Lived(NamedTuple):
    """A session in its newest revision; `logout` is None while it is open, `login` where it is unknown."""

    user: str
    user_name: str
    desktop: str
    desktop_name: str
    terminal: str
    system: str
    access: str
    login: datetime | None
    logout: datetime | None
    ended_after: datetime | None
    ended_before: datetime | None
    online_seconds: float | None
    outcome: str | None
    reason: str | None


class Counted(NamedTuple):
    """A session that counts, with the instants until which it lasted at least and at most."""

    session: Lived
    login: datetime
    least: datetime
    most: datetime


class Segment(NamedTuple):
    """A span in which nothing changes, and what covers it at least and at most."""

    start: datetime
    end: datetime
    least: list[Lived]
    most: list[Lived]

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


class World:
    """All sessions as of an instant, seen through a filter, a range and a zone."""

    def __init__(
        self, sessions: Iterable[Lived], start: datetime | None, end: datetime | None, as_of: datetime, zone: str
    ) -> None:
        self.zone, self.as_of = ZoneInfo(zone), as_of
        known = [counted(session, as_of) for session in sessions if session.login is not None]
        self.end = min(as_of, end or as_of)
        self.start = start or min([one.login for one in known] + [self.end])
        self.end = max(self.start, self.end)
        self.counted = [one for one in known if one.login < self.end and one.most >= self.start]
        self.unknown = sum(
            session.login is None and session.logout is not None and self.start <= session.logout < self.end
            for session in sessions
        )

    def facts(self, counted: list[Counted] | None = None, **left_out: int) -> dict[str, Any]:
        """Return what every answer says, but for its rule and instant."""
        rows = self.counted if counted is None else counted
        return {
            "range": {"from": self.start, "to": self.end},
            "time_zone": self.zone.key,
            "sessions": len(rows),
            "open": sum(one.session.logout is None for one in rows),
            "uncertain": sum(one.least != one.most for one in rows),
            "left_out": {"unknown_login": self.unknown, **left_out},
        }

    def local(self, at: datetime) -> datetime:
        return at.astimezone(self.zone)

    def segments(self, more: Iterable[datetime] = ()) -> list[Segment]:
        """Cut the range wherever a session begins or ends, at every quarter of an hour, and where asked to."""
        points = {self.start, self.end, *more}
        for one in self.counted:
            points |= {one.login, one.least, one.most}
        at = self.start.replace(minute=0, second=0, microsecond=0)
        while at < self.end:
            points.add(at)
            at += QUARTER
        edges = sorted(point for point in points if self.start <= point <= self.end)
        return [
            Segment(
                low,
                high,
                [one.session for one in self.counted if one.login <= low < one.least],
                [one.session for one in self.counted if one.login <= low < one.most],
            )
            for low, high in pairwise(edges)
        ]

    def work_hours(self) -> dict[str, Any]:
        by_user: dict[str, list[float]] = defaultdict(lambda: [0, 0])
        by_day: dict[str, list[float]] = defaultdict(lambda: [0, 0])
        by_both: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0])
        days = []
        for segment in self.segments():
            day = str(self.local(segment.start).date())
            days.append(day)
            for column, covering in enumerate((segment.least, segment.most)):
                for user in {session.user for session in covering}:
                    for sums, key in ((by_user, user), (by_day, day), (by_both, (user, day))):
                        sums[key][column] += segment.seconds  # type: ignore[index]
        users = sorted({one.session.user for one in self.counted}, key=lambda user: (-round(by_user[user][0], 6), user))
        return {
            "seconds_min": sum(pair[0] for pair in by_user.values()),
            "seconds_max": sum(pair[1] for pair in by_user.values()),
            "users_total": len(users),
            "days": [
                {
                    "day": day,
                    "seconds_min": by_day[day][0],
                    "seconds_max": by_day[day][1],
                    "users": sum(key[1] == day and pair[1] > 0 for key, pair in by_both.items()),
                }
                for day in sorted(set(days))
            ],
            "users": [
                {
                    "user_id": user,
                    "user_name": last_name(self.counted, "user", user),
                    "seconds_min": by_user[user][0],
                    "seconds_max": by_user[user][1],
                    "sessions": sum(one.session.user == user for one in self.counted),
                    "open": any(one.session.user == user and one.session.logout is None for one in self.counted),
                    "days_worked": sum(key[0] == user for key in by_both),
                    "days": [
                        {"day": day, "seconds_min": pair[0], "seconds_max": pair[1]}
                        for (who, day), pair in sorted(by_both.items())
                        if who == user
                    ],
                }
                for user in users
            ],
            **self.facts(),
        }

    def frequency(self) -> dict[str, Any]:
        began = [one for one in self.counted if one.login >= self.start]
        dates = {str(self.local(segment.start).date()) for segment in self.segments()}
        of_day = {day: [one for one in began if str(self.local(one.login).date()) == day] for day in dates}
        users, desktops = (self._frequent(began, what) for what in ("user", "desktop"))
        return {
            "users_total": len(users),
            "desktops_total": len(desktops),
            "users": users,
            "desktops": desktops,
            "days": [
                {"day": day, "sessions": len(rows), "users": len({one.session.user for one in rows})}
                for day, rows in sorted(of_day.items())
            ],
            **self.facts(began, began_before=len(self.counted) - len(began)),
        }

    def _frequent(self, began: list[Counted], what: str) -> list[dict[str, Any]]:
        ids = {getattr(one.session, what) for one in began}
        rows = {key: [one for one in began if getattr(one.session, what) == key] for key in ids}
        return [
            {
                "id": key,
                "name": last_name(rows[key], what, key),
                "sessions": len(rows[key]),
                "days": len({self.local(one.login).date() for one in rows[key]}),
                "last_login_at": max(one.login for one in rows[key]),
            }
            for key in sorted(ids, key=lambda key: (-len(rows[key]), key))
        ]

    def terminals(self) -> dict[str, Any]:
        return {
            "users_total": len({one.session.user for one in self.counted}),
            "types": self._shares(lambda session: {"terminal_type": session.terminal}),
            "systems": self._shares(lambda session: {"terminal_type": session.terminal, "terminal_os": session.system}),
            **self.facts(),
        }

    def access(self) -> dict[str, Any]:
        return {
            "users_total": len({one.session.user for one in self.counted}),
            "accesses": self._shares(lambda session: {"access": session.access}),
            **self.facts(),
        }

    def _shares(self, key_of: Callable[[Lived], dict[str, str]]) -> list[dict[str, Any]]:
        groups: dict[tuple[str, ...], list[Counted]] = defaultdict(list)
        for one in self.counted:
            groups[tuple(key_of(one.session).values())].append(one)
        return [
            {
                **key_of(rows[0].session),
                "sessions": len(rows),
                "share": len(rows) / len(self.counted),
                "users": len({one.session.user for one in rows}),
                "seconds_min": sum(self._clipped(one.login, one.least) for one in rows),
                "seconds_max": sum(self._clipped(one.login, one.most) for one in rows),
            }
            for _, rows in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        ]

    def _clipped(self, login: datetime, end: datetime) -> float:
        return max(0.0, (min(end, self.end) - max(login, self.start)).total_seconds())

    def concurrency(self) -> dict[str, Any]:
        name, edges = self._buckets()
        segments = self.segments(edges)
        within: dict[datetime, list[Segment]] = {edge: [] for edge in edges}
        for segment in segments:
            within[max(edge for edge in edges if edge <= segment.start)].append(segment)
        return {
            "peak_min": peak((len(segment.least), segment.start) for segment in segments),
            "peak_max": peak((len(segment.most), segment.start) for segment in segments),
            "bucket": name,
            "buckets": [
                {
                    "at": edge,
                    "peak_min": max(len(segment.least) for segment in inside),
                    "peak_max": max(len(segment.most) for segment in inside),
                }
                for edge, inside in within.items()
            ],
            **self.facts(),
        }

    def _buckets(self) -> tuple[str, list[datetime]]:
        """Return the first unit of which there are few enough, and where each begins by the zone's clock."""
        if self.start == self.end:
            return "1 min", []
        minutes = [timedelta(minutes=size) for size in (1, 5, 15, 30)]
        hours = [timedelta(hours=size) for size in (1, 3, 6)]
        for step in [*minutes, *hours]:
            if self.end - self.start > 2 * BUCKETS_MAX * step:
                continue  # that many cannot do, and looking at every minute takes long
            edges = self._changes(min(step, QUARTER), [slot, step])
            if len(edges) <= BUCKETS_MAX:
                size = step // timedelta(minutes=1)
                return (f"{size} min" if size < 60 else f"{size // 60} h"), edges
        for days in (1, 7, 28, 364):
            edges = self._changes(QUARTER, [block, self.local(self.start).date(), days])
            if len(edges) <= BUCKETS_MAX:
                return f"{days} d", edges
        raise AssertionError("no bucket is long enough")

    def _changes(self, grid: timedelta, rule: list[Any]) -> list[datetime]:
        """Return the start, and every instant of a grid at which the local time is in another slot by some rule."""

        def mark(at: datetime) -> Any:
            return rule[0](self.local(at), *rule[1:])

        edges, before = [self.start], mark(self.start)
        at = self.start.replace(minute=0, second=0, microsecond=0)
        while at < self.end:
            if at > self.start and mark(at) != before:
                edges.append(at)
                before = mark(at)
            at += grid
        return edges

    def hours(self) -> dict[str, Any]:
        held: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0, 0, 0])
        for segment in self.segments():
            local = self.local(segment.start)
            sums = held[local.isoweekday(), local.hour]
            for column, many in enumerate((1, len(segment.least), len(segment.most))):
                sums[column] += segment.seconds * many
        return {
            "hours": [
                {
                    "weekday": weekday,
                    "hour": hour,
                    "seconds": held[weekday, hour][0],
                    "sessions_min": average(held[weekday, hour], 1),
                    "sessions_max": average(held[weekday, hour], 2),
                }
                for weekday in range(1, 8)
                for hour in range(24)
            ],
            **self.facts(),
        }

    def durations(self) -> dict[str, Any]:
        ended = [one for one in self.counted if one.session.logout is not None and self.start <= one.least < self.end]
        still_open = sum(one.session.logout is None for one in self.counted)
        seconds = sorted(one.session.online_seconds or 0.0 for one in ended)
        endings: dict[tuple[str, str], int] = defaultdict(int)
        for one in ended:
            endings[one.session.outcome or "", one.session.reason or ""] += 1
        return {
            "median_seconds": percentile(seconds, 50),
            "p90_seconds": percentile(seconds, 90),
            "p95_seconds": percentile(seconds, 95),
            "p99_seconds": percentile(seconds, 99),
            "seconds_max": seconds[-1] if seconds else None,
            "seconds_mean": sum(seconds) / len(seconds) if seconds else None,
            "histogram": [
                {
                    "from_seconds": low,
                    "to_seconds": high,
                    "sessions": sum(low <= value and (high is None or value < high) for value in seconds),
                }
                for low, high in zip(BANDS, (*BANDS[1:], None), strict=True)
            ],
            "endings": [
                {"outcome": outcome, "reason": reason, "sessions": many}
                for (outcome, reason), many in sorted(endings.items(), key=lambda item: (-item[1], item[0]))
            ],
            **self.facts(ended, still_open=still_open, ended_outside=len(self.counted) - len(ended) - still_open),
        }


def counted(session: Lived, as_of: datetime) -> Counted:
    """Say until when a session lasted at least and at most; clocks that differ make none end before it began."""
    login = session.login or as_of
    if session.logout is None:
        least, most = (min(as_of, end or as_of) for end in (session.ended_after, session.ended_before))
    else:
        least, most = session.logout, session.ended_before or session.logout
    least = max(login, least)
    return Counted(session, login, least, max(least, most))


def last_name(rows: Iterable[Counted], what: str, key: str) -> str:
    names = [(one.login, getattr(one.session, f"{what}_name")) for one in rows if getattr(one.session, what) == key]
    return str(max(names)[1])


def slot(local: datetime, step: timedelta) -> tuple[Any, ...]:
    """Return which slot of its day a local time lies in; an hour that the clock shows twice has slots of its own."""
    if step < timedelta(hours=1):
        minutes = step // timedelta(minutes=1)
        return local.date(), local.hour, local.fold, local.minute // minutes
    return local.date(), local.hour // (step // timedelta(hours=1))


def block(local: datetime, first: date, days: int) -> int:
    """Return which block of so many days a local time lies in."""
    return (local.date() - first).days // days


def peak(counts: Iterable[tuple[int, datetime]]) -> dict[str, Any]:
    highest, at = max(counts, key=lambda pair: (pair[0], -pair[1].timestamp()), default=(0, datetime.now(UTC)))
    return {"sessions": highest, "at": at if highest else None}


def average(sums: list[float], column: int) -> float | None:
    return sums[column] / sums[0] if sums[0] else None


def percentile(values: list[float], percent: int) -> float | None:
    """Return the first value that as many percent of all do not exceed."""
    for value in values:
        if sum(other <= value for other in values) * 100 >= percent * len(values):
            return value
    return None
