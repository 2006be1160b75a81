"""How the pages write numbers, shares, hours and days in the reader's language."""

from datetime import date, datetime
from typing import Final

from babel.dates import format_date, format_skeleton, get_day_names

from sojourn.console.pages.render import View
from sojourn.console.pages.words import ENGLISH

_TEN: Final = 10
_HOUR: Final = 3600
_LONG_HOURS_MIN: Final = 100  # minutes of more than a long week tell nobody anything


class Figures:
    """Writes for the reader of one view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.say = view.words.gettext
        self._locale = view.words.locale

    def count(self, value: float) -> str:
        """Return a number with at most one digit behind the point: 12,408 or 3.5."""
        return self.view.number(round(value)) if value == round(value) or value >= 100 else f"{value:.1f}"  # noqa: PLR2004

    def counts(self, least: float, most: float) -> str:
        """Return a number that lies between two: 12 or 12–14."""
        first, last = self.count(least), self.count(most)
        return first if first == last else f"{first}–{last}"

    def averages(self, least: float, most: float) -> str:
        """Return an average that lies between two, with a digit behind the point while it is small: 3.5 or 24."""
        return self.counts(*(round(value, 0 if value >= _TEN else 1) for value in (least, most)))

    def share(self, value: float) -> str:
        """Return a part of 1: 62 %."""
        return f"{value:.0%}".replace("%", " %") if value >= 0.01 or value == 0 else "< 1 %"  # noqa: PLR2004

    def hours(self, seconds: float) -> str:
        """Return working time, in hours however many: 51 h 12 m."""
        hours, rest = divmod(round(seconds), _HOUR)
        if hours >= _LONG_HOURS_MIN:
            return f"{self.view.number(round(seconds / _HOUR))} {self.say('h')}"
        if hours:
            return f"{hours} {self.say('h')} {rest // 60:02} {self.say('m')}"
        return f"{rest // 60} {self.say('m')}" if rest >= 60 or not rest else f"{rest} {self.say('s')}"  # noqa: PLR2004

    def hours_between(self, least: float, most: float) -> str:
        """Return working time that lies between two: 7 h 12 m – 7 h 31 m."""
        first, last = self.hours(least), self.hours(most)
        if first == last:
            return first
        if least >= _LONG_HOURS_MIN * _HOUR:
            return f"{first.removesuffix(self.say('h')).rstrip()}–{last}"
        return f"{first} – {last}"

    def clock_between(self, least: float, most: float) -> str:
        """Return working time of a day as narrow as it gets: 7:12 or 7:12–7:31."""
        first, last = (f"{round(value) // _HOUR}:{round(value) % _HOUR // 60:02}" for value in (least, most))
        return first if first == last else f"{first}–{last}"

    def day(self, value: date) -> str:
        """Return a day with its weekday: Tue, Nov 24, 2026."""
        return self._dated("yMMMEd", value)

    def moment(self, value: datetime) -> str:
        """Return an instant by the tenant's clock: Tue, Nov 24, 2026 10:42."""
        local = value.astimezone(self.view.zone)
        return f"{self.day(local.date())} {local:%H:%M}"

    def short_day(self, value: date) -> str:
        """Return a day of a year that is known: Nov 24."""
        return self._dated("MMMd", value)

    def day_of_week(self, value: date) -> str:
        """Return a day of this or the last week: Tue 24."""
        return format_date(value, "E d", locale=self._locale) if self._locale == ENGLISH else self._dated("Ed", value)

    def month(self, value: date) -> str:
        """Return a month: Nov 2026."""
        return self._dated("yMMM", value)

    def short_month(self, value: date) -> str:
        """Return a month; January with its year: Nov, Jan 2026."""
        return self._dated("yMMM" if value.month == 1 else "MMM", value)

    def weekdays(self) -> list[str]:
        """Return the days of the week, Monday first: Mon."""
        names = get_day_names("abbreviated", locale=self._locale)
        return [names[number] for number in range(7)]

    def _dated(self, skeleton: str, value: date) -> str:
        return format_skeleton(skeleton, value, locale=self._locale)
