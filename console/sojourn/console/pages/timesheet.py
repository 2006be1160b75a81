"""Work hours: by day, and who worked how long on which day."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from sojourn.console.pages.figures import Figures
from sojourn.console.pages.pictures import Column, Data, Picture, Table, by_day, by_rank, column, data_of, over_time
from sojourn.console.pages.spans import Unit, joined, label, unit_of
from sojourn.console.pages.specs import Bar, Size, Spec, Square, squares
from sojourn.projections.statistics.work_hours import Day, UserHours, WorkHours

_HOURS_PER: Final[Mapping[Unit, str]] = {
    "day": "Hours per day",
    "week": "Hours per week",
    "month": "Hours per month",
}
_SHEET_DAYS_MAX: Final = 31  # a month; more columns are no page
_SHEET_USERS_MAX: Final = 20  # of the picture: the table has the page
_ROW_HEIGHT: Final = 22
_HOUR: Final = 3600


def work_days(answer: WorkHours, figures: Figures, size: Size) -> Picture:
    """Return how long all users together worked by day."""
    say, days = figures.say, answer.days
    bars, rows = [], []
    for span in joined([day.day for day in days], figures):
        least = sum(days[place].seconds_min for place in span.places)
        most = sum(days[place].seconds_max for place in span.places)
        users = figures.count(days[span.places[0]].users) if len(span.places) == 1 else ""
        hours = figures.hours_between(least, most)
        text = hours + (" · " + say("%(count)s users") % {"count": users} if users else "")
        bars.append(column(span, least / _HOUR, most / _HOUR, text))
        rows.append([span.name, hours, *([users] if users else [])])
    total = figures.hours_between(answer.seconds_min, answer.seconds_max)
    says = say("%(users)s users worked %(hours)s.") % {"users": figures.count(answer.users_total), "hours": total}
    table = by_day([Column(say("Hours")), Column(say("Users"))], rows, figures)
    return Picture(
        "work-days",
        say(_HOURS_PER[unit_of([day.day for day in days])]),
        says,
        table,
        data_of(days, Day),
        over_time(bars, size),
        total,
    )


def timesheet(answer: WorkHours, figures: Figures, size: Size) -> Picture:
    """Return how long each user of a page worked, by day where the days of the range find room."""
    say = figures.say
    days = [day.day for day in answer.days] if len(answer.days) <= _SHEET_DAYS_MAX else []
    labels = [
        Column(say("User"), is_number=False),
        Column(say("Hours")),
        Column(say("Sessions")),
        Column(say("Days")),
        *(Column(figures.day_of_week(day)) for day in days),
    ]
    rows = [_row(user, days, figures) for user in answer.users]
    says = say("Those with most hours first; “+” marks who is connected now.")
    spec = _sheet(answer.users, days, figures, size) if len(days) > 1 else _totals(answer.users, figures, size)
    return Picture("timesheet", say("Hours per user"), says, Table(labels, rows), _data(answer), spec if rows else None)


def _row(user: UserHours, days: Sequence[date], figures: Figures) -> list[str]:
    by_day = {day.day: figures.clock_between(day.seconds_min, day.seconds_max) for day in user.days}
    return [
        f"{user.user_name or user.user_id}\n{user.user_id}",
        figures.hours_between(user.seconds_min, user.seconds_max) + ("+" if user.open else ""),
        figures.count(user.sessions),
        figures.count(user.days_worked),
        *(by_day.get(day, "") for day in days),
    ]


def _data(answer: WorkHours) -> Data:
    """Return a row for each user and day."""
    return Data(
        ("user_id", "user_name", "day", "seconds_min", "seconds_max"),
        [
            (user.user_id, user.user_name, day.day, day.seconds_min, day.seconds_max)
            for user in answer.users
            for day in user.days
        ],
    )


def _sheet(users: Sequence[UserHours], days: Sequence[date], figures: Figures, size: Size) -> Spec:
    values = []
    for user in users[:_SHEET_USERS_MAX]:
        by_day = {day.day: day for day in user.days}
        for day in days:
            worked = by_day.get(day)
            hours = (
                figures.hours(0) if worked is None else figures.hours_between(worked.seconds_min, worked.seconds_max)
            )
            text = f"{user.user_name or user.user_id}, {figures.day(day)}\n{hours}"
            row = f"{user.user_name or user.user_id}\n{user.user_id}"
            values.append(Square(row, day.isoformat(), 0 if worked is None else worked.seconds_max / _HOUR, text))
    return squares(values, {day.isoformat(): label(day, len(days), figures) for day in days}, size, _ROW_HEIGHT)


def _totals(users: Sequence[UserHours], figures: Figures, size: Size) -> Spec | None:
    bars = []
    for user in users:
        hours = figures.hours_between(user.seconds_min, user.seconds_max)
        name = user.user_name or user.user_id
        text = f"{name} ({user.user_id})\n{hours}"
        bars.append(Bar(user.user_id, name, user.seconds_min / _HOUR, user.seconds_max / _HOUR, text, hours))
    return by_rank(bars, size)
