"""What a statistic looks like: its pictures, what each says in a sentence, and the table that stands beside it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from sojourn.console.pages.figures import Figures
from sojourn.console.pages.spans import Span, Unit, joined, ticks, unit_of
from sojourn.console.pages.specs import LARGE, Bar, Mark, Size, Spec, Square, Step, columns, ranked, squares, steps
from sojourn.console.pages.terms import ACCESSES, OUTCOMES, REASONS, TERMINALS
from sojourn.projections.statistics.concurrency import Bucket, Concurrency
from sojourn.projections.statistics.distribution import (
    Accesses,
    AccessShare,
    Share,
    SystemShare,
    Terminals,
    TerminalShare,
)
from sojourn.projections.statistics.durations import Band, Durations
from sojourn.projections.statistics.durations import Ending as EndingCount
from sojourn.projections.statistics.frequency import DaySessions, Frequency, Frequent
from sojourn.projections.statistics.hours import Hours, WeekHour
from sojourn.projections.statistics.rules import Answer

_SESSIONS_PER: Final[Mapping[Unit, str]] = {
    "day": "Sessions per day",
    "week": "Sessions per week",
    "month": "Sessions per month",
}
_HOUR: Final = 3600
_LONG_BUCKET: Final = timedelta(hours=12)  # of shorter ones the time of day tells where they end
_WEEK_DAYS: Final = 7  # joined, so that week-ends make no fringe
_ROW_HEIGHT: Final = 28
_LOW_ROW_HEIGHT: Final = 20


class Column(NamedTuple):
    """A column of a table: its label, and whether it holds numbers."""

    label: str
    is_number: bool = True


class Table(NamedTuple):
    """The numbers of a picture as people read them; a row's name may have a second line."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


class Data(NamedTuple):
    """The numbers of a picture as programs read them, by the names that the statistic has for them."""

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Picture(NamedTuple):
    """A picture, its table and its data; what would show one number only has no `spec`, and that in `figure`."""

    name: str
    title: str
    says: str
    table: Table
    data: Data
    spec: Spec | None
    figure: str = "0"


def sessions(answer: Frequency, figures: Figures, size: Size) -> Picture:
    """Return how many sessions began by day."""
    say, days = figures.say, answer.days
    bars, rows = [], []
    for span in joined([day.day for day in days], figures):
        count = sum(days[place].sessions for place in span.places)
        users = figures.count(days[span.places[0]].users) if len(span.places) == 1 else ""
        text = _sessions(count, figures)
        if users:
            text += " · " + say("%(count)s users") % {"count": users}
        bars.append(column(span, count, count, text))
        rows.append([span.name, figures.count(count), *([users] if users else [])])
    says = say("%(sessions)s sessions of %(users)s users on %(desktops)s desktops began.") % {
        "sessions": figures.count(answer.sessions),
        "users": figures.count(answer.users_total),
        "desktops": figures.count(answer.desktops_total),
    }
    table = by_day([Column(say("Sessions")), Column(say("Users"))], rows, figures)
    title = say(_SESSIONS_PER[unit_of([day.day for day in days])])
    spec, data = over_time(bars, size), data_of(days, DaySessions)
    return Picture("sessions", title, says, table, data, spec, figures.count(answer.sessions))


def users(answer: Frequency, figures: Figures, size: Size) -> Picture:
    """Return who logged in most often."""
    say = figures.say
    says = _top(len(answer.users), answer.users_total, say("users"), figures)
    return _frequent("users", say("Most frequent users"), says, answer.users, figures, size)


def desktops(answer: Frequency, figures: Figures, size: Size) -> Picture:
    """Return what was used most often."""
    say = figures.say
    says = _top(len(answer.desktops), answer.desktops_total, say("desktops"), figures)
    return _frequent("desktops", say("Most used desktops"), says, answer.desktops, figures, size)


def terminals(answer: Terminals, figures: Figures, size: Size) -> Picture:
    """Return what users connected with."""
    shares = [(word(figures, TERMINALS, share.terminal_type), share) for share in answer.types]
    return _shared("terminals", figures.say("Terminals"), shares, data_of(answer.types, TerminalShare), figures, size)


def systems(answer: Terminals, figures: Figures, size: Size) -> Picture:
    """Return what users connected with, by operating system."""
    shares = [
        (f"{word(figures, TERMINALS, share.terminal_type)} · {share.terminal_os or figures.say('unknown')}", share)
        for share in answer.systems
    ]
    title = figures.say("Operating systems of terminals")
    return _shared("systems", title, shares, data_of(answer.systems, SystemShare), figures, size)


def access(answer: Accesses, figures: Figures, size: Size) -> Picture:
    """Return from where users came."""
    shares = [(word(figures, ACCESSES, share.access), share) for share in answer.accesses]
    return _shared("access", figures.say("Access"), shares, data_of(answer.accesses, AccessShare), figures, size)


def concurrency(answer: Concurrency, figures: Figures, size: Size) -> Picture:
    """Return how many sessions were connected at the same time."""
    say, times = figures.say, figures.view.times
    course, rows = [], []
    ends = [bucket.at for bucket in answer.buckets[1:]] + [answer.range.to_at]
    for bucket, end in zip(answer.buckets, ends, strict=True):
        count, name = figures.counts(bucket.peak_min, bucket.peak_max), figures.moment(bucket.at)
        until = times.clock(end) if end - bucket.at < _LONG_BUCKET else figures.moment(end)
        text = f"{name} – {until}\n" + say("at most %(count)s at the same time") % {"count": count}
        course.append(Step(bucket.at.timestamp(), end.timestamp(), bucket.peak_min, bucket.peak_max, text))
        if bucket.peak_max:
            rows.append([name, until, count])
    peak, says, mark = answer.peak_max, say("Nobody was connected."), None
    if peak.at is not None:
        count = figures.counts(answer.peak_min.sessions, peak.sessions)
        says = say("The peak was %(count)s sessions, first at %(moment)s.") % {
            "count": count,
            "moment": figures.moment(peak.at),
        }
        mark = Mark(peak.at.timestamp(), peak.sessions, count)
    table = Table(
        [
            Column(say("From"), is_number=False),
            Column(say("To"), is_number=False),
            Column(say("Most at the same time")),
        ],
        rows,
    )
    named = ticks(answer.range.from_at, answer.range.to_at, times.zone, figures)
    spec = steps(_coarse(course, size), named, mark, size) if course else None
    return Picture("concurrency", say("Sessions at the same time"), says, table, data_of(answer.buckets, Bucket), spec)


def durations(answer: Durations, figures: Figures, size: Size) -> Picture:
    """Return how long sessions lasted."""
    say, span = figures.say, figures.view.times.span
    bars, rows = [], []
    for band in answer.histogram:
        label, share = _band(band.from_seconds, band.to_seconds, figures), _part(band.sessions, answer, figures)
        text = f"{label}\n{_sessions(band.sessions, figures)} · {share}"
        bars.append(Bar(str(band.from_seconds), label, band.sessions, band.sessions, text))
        rows.append([label, figures.count(band.sessions), share])
    rows += [
        [say("the shortest that %(share)s do not exceed") % {"share": f"{percent} %"}, span(seconds), ""]
        for percent, seconds in (
            (50, answer.median_seconds),
            (90, answer.p90_seconds),
            (95, answer.p95_seconds),
            (99, answer.p99_seconds),
        )
    ]
    rows += [[say("average"), span(answer.seconds_mean), ""], [say("longest"), span(answer.seconds_max), ""]]
    says = say("No session ended.")
    if answer.median_seconds is not None:
        says = say("Half of the sessions lasted at most %(median)s, nine of ten at most %(most)s.") % {
            "median": span(answer.median_seconds),
            "most": span(answer.p90_seconds),
        }
    table = Table([Column(say("Duration"), is_number=False), Column(say("Sessions")), Column(say("Share"))], rows)
    spec, data = columns(bars, size) if answer.sessions else None, data_of(answer.histogram, Band)
    return Picture("durations", say("Durations"), says, table, data, spec)


def endings(answer: Durations, figures: Figures, size: Size) -> Picture:
    """Return how sessions ended."""
    say = figures.say
    bars, rows = [], []
    for ending in answer.endings:
        label, share = word(figures, REASONS, ending.reason), _part(ending.sessions, answer, figures)
        count, key = figures.count(ending.sessions), f"{ending.outcome}/{ending.reason}"
        text = f"{label}\n{_sessions(ending.sessions, figures)} · {share}"
        bars.append(Bar(key, label, ending.sessions, ending.sessions, text, f"{count} · {share}"))
        rows.append([label, word(figures, OUTCOMES, ending.outcome), count, share])
    normal = sum(ending.sessions for ending in answer.endings if ending.outcome == "normal")
    says = say("%(share)s of the sessions ended normally.") % {"share": _part(normal, answer, figures)}
    table = Table(
        [
            Column(say("How it ended"), is_number=False),
            Column(say("Outcome"), is_number=False),
            Column(say("Sessions")),
            Column(say("Share")),
        ],
        rows,
    )
    data = data_of(answer.endings, EndingCount)
    return Picture("endings", say("How sessions ended"), says, table, data, by_rank(bars, size))


def hours(answer: Hours, figures: Figures, size: Size) -> Picture:
    """Return how many sessions were connected in each hour of the week."""
    say, weekdays = figures.say, figures.weekdays()
    values = []
    rows = [[name] for name in weekdays]
    for hour in answer.hours:
        name, count = weekdays[hour.weekday - 1], "–"
        if hour.sessions_min is not None and hour.sessions_max is not None:
            count = figures.averages(hour.sessions_min, hour.sessions_max)
            text = f"{name} {hour.hour:02}:00\n" + say("%(count)s sessions on average") % {"count": count}
            values.append(Square(name, f"{hour.hour:02}", hour.sessions_max, text))
        rows[hour.weekday - 1].append(count)
    busiest = max((hour for hour in answer.hours if hour.sessions_max), key=_average, default=None)
    says, spec = say("Nobody was connected."), None
    clock = [f"{hour:02}" for hour in range(24)]
    if busiest is not None:
        says = say("Busiest is %(weekday)s from %(hour)s, with %(count)s sessions on average.") % {
            "weekday": weekdays[busiest.weekday - 1],
            "hour": f"{busiest.hour:02}:00",
            "count": figures.averages(busiest.sessions_min or 0, _average(busiest)),
        }
        spec = squares(values, {hour: hour for hour in clock}, size, _ROW_HEIGHT if size is LARGE else _LOW_ROW_HEIGHT)
    table = Table([Column(say("Weekday"), is_number=False), *map(Column, clock)], rows)
    return Picture("hours", say("Hours of the week"), says, table, data_of(answer.hours, WeekHour), spec)


def word(figures: Figures, words: Mapping[str, str], value: str) -> str:
    """Return a value of the contract as people say it; one that is not known as it is."""
    return figures.say(words.get(value, value)) if value else figures.say("unknown")


def data_of(items: Iterable[Any], kind: type[Struct]) -> Data:
    """Return the fields of some rows of a statistic."""
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    return Data(names, [msgspec.structs.astuple(item) for item in items])


def by_day(values: Sequence[Column], rows: Sequence[Sequence[str]], figures: Figures) -> Table:
    """Return the table of some days; where those are joined, users are not counted, since each came on many."""
    width = max((len(row) for row in rows), default=1)
    return Table([Column(figures.say("Time"), is_number=False), *values][:width], rows)


def over_time(bars: Sequence[Bar], size: Size) -> Spec | None:
    """Return columns by day; one day alone has one number to tell, and no picture."""
    return columns(bars, size) if len(bars) > 1 else None


def column(span: Span, least: float, most: float, text: str) -> Bar:
    """Return the bar of some days."""
    return Bar(span.first.isoformat(), span.label, least, most, f"{span.name}\n{text}")


def by_rank(bars: Sequence[Bar], size: Size) -> Spec | None:
    """Return the first of the bars below each other."""
    shown = bars[: size.bars_max]
    return ranked(shown, size) if shown else None


def _sessions(count: int, figures: Figures) -> str:
    return figures.say("%(count)s sessions") % {"count": figures.count(count)}


def _part(sessions: int, answer: Answer, figures: Figures) -> str:
    return figures.share(sessions / max(1, answer.sessions))


def _top(shown: int, total: int, things: str, figures: Figures) -> str:
    if shown < total:
        numbers = {"shown": figures.count(shown), "total": figures.count(total), "things": things}
        return figures.say("The first %(shown)s of %(total)s %(things)s.") % numbers
    return figures.say("All %(total)s %(things)s.") % {"total": figures.count(total), "things": things}


def _frequent(name: str, title: str, says: str, ranking: Sequence[Frequent], figures: Figures, size: Size) -> Picture:
    say, times = figures.say, figures.view.times
    bars, rows = [], []
    for one in ranking:
        count, days, label = figures.count(one.sessions), figures.count(one.days), one.name or one.id
        text = f"{label} ({one.id})\n{_sessions(one.sessions, figures)} · " + say("on %(count)s days") % {"count": days}
        bars.append(Bar(one.id, label, one.sessions, one.sessions, text, count))
        last = one.last_login_at
        rows.append([f"{label}\n{one.id}", count, days, f"{times.day(last)} {times.clock(last)}"])
    labels = [
        Column(say("Name"), is_number=False),
        Column(say("Sessions")),
        Column(say("Days")),
        Column(say("Last login")),
    ]
    return Picture(name, title, says, Table(labels, rows), data_of(ranking, Frequent), by_rank(bars, size))


def _shared(
    name: str, title: str, shares: Sequence[tuple[str, Share]], data: Data, figures: Figures, size: Size
) -> Picture:
    say = figures.say
    bars, rows = [], []
    for label, share in shares:
        count, part, people = figures.count(share.sessions), figures.share(share.share), figures.count(share.users)
        text = f"{label}\n{_sessions(share.sessions, figures)} · " + say("%(count)s users") % {"count": people}
        bars.append(Bar(label, label, share.sessions, share.sessions, text, f"{count} · {part}"))
        rows.append([label, count, part, people, figures.hours_between(share.seconds_min, share.seconds_max)])
    says = say("No session.")
    if shares:
        label, first = shares[0]
        says = say("%(share)s of the sessions: %(what)s.") % {"share": figures.share(first.share), "what": label}
    labels = [
        Column(title, is_number=False),
        Column(say("Sessions")),
        Column(say("Share")),
        Column(say("Users")),
        Column(say("Online time")),
    ]
    return Picture(name, title, says, Table(labels, rows), data, by_rank(bars, size))


def _coarse(course: Sequence[Step], size: Size) -> Sequence[Step]:
    """Join steps where there are more than a picture can show: its peaks stay."""
    count = -(-len(course) // size.steps_max)
    if count > 1 and course[-1].since - course[-2].since > _LONG_BUCKET.total_seconds():
        count = max(count, _WEEK_DAYS)
    groups = [course[place : place + count] for place in range(0, len(course), count)]
    return [
        Step(
            group[0].since,
            group[-1].until,
            max(step.least for step in group),
            max(step.most for step in group),
            max(group, key=lambda step: step.most).text,
        )
        for group in groups
    ]


def _band(low: float, high: float | None, figures: Figures) -> str:
    if high is None:
        return f"> {_brief(low)} {figures.say(_unit(low))}"
    last = f"{_brief(high)} {figures.say(_unit(high))}"
    if not low:
        return f"< {last}"
    return f"{_brief(low)}–{last}" if _unit(low) == _unit(high) else f"{_brief(low)} {figures.say(_unit(low))} – {last}"


def _brief(seconds: float) -> str:
    return f"{seconds / (_HOUR if _unit(seconds) == 'h' else 60):.0f}"


def _unit(seconds: float) -> str:
    return "h" if seconds >= _HOUR else "m"


def _average(hour: WeekHour) -> float:
    return hour.sessions_max or 0
