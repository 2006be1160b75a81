"""How pages tell times: in the tenant's zone, with the full instant in UTC beside; durations as people say them."""

from datetime import UTC, datetime, tzinfo

from sojourn.console.output import instant
from sojourn.console.pages.words import Words


class Times:
    """Times in one zone and one language, as of one instant."""

    def __init__(self, zone: tzinfo, now: datetime, words: Words) -> None:
        self.zone, self.now, self._words = zone, now, words
        self.today = now.astimezone(zone).date()

    def clock(self, value: datetime) -> str:
        """Return the time of day: 08:00."""
        return f"{self._there(value):%H:%M}"

    def clock_seconds(self, value: datetime) -> str:
        """Return the time of day with seconds: 08:00:07."""
        return f"{self._there(value):%H:%M:%S}"

    def day(self, value: datetime) -> str:
        """Return the day: today, yesterday, or 2026-11-20."""
        then = self._there(value).date()
        match (self.today - then).days:
            case 0:
                return self._words.gettext("today")
            case 1:
                return self._words.gettext("yesterday")
            case _:
                return then.isoformat()

    def moment(self, value: datetime) -> str:
        """Return the time with seconds, and the day unless that is today: 2026-11-20 08:00:07."""
        then = self._there(value)
        return f"{then:%H:%M:%S}" if then.date() == self.today else f"{then:%Y-%m-%d %H:%M:%S}"

    def full(self, value: datetime) -> str:
        """Return the whole instant in UTC, for the title of what is shown shorter."""
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    def machine(self, value: datetime) -> str:
        """Return the instant as a script reads it."""
        return instant(value)

    def since(self, value: datetime) -> float:
        """Return how many seconds ago that was, 0 for what a faster clock told."""
        return max(0.0, (self.now - value).total_seconds())

    def span(self, value: float | None) -> str:
        """Return a duration in seconds in the two largest units: 2 h 42 m. static/site.js counts on in the same way."""
        if value is None:
            return "–"
        _ = self._words.gettext
        minutes, rest = divmod(int(value), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        if days:
            return f"{days} {_('d')} {hours:02} {_('h')}"
        if hours:
            return f"{hours} {_('h')} {minutes:02} {_('m')}"
        return f"{minutes} {_('m')} {rest:02} {_('s')}" if minutes else f"{rest} {_('s')}"

    def rough(self, value: float) -> str:
        """Return a duration in its largest unit, rounded down: 40 s, 3 m."""
        for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
            if value >= size:
                return f"{int(value // size)} {self._words.gettext(unit)}"
        return f"{int(value)} {self._words.gettext('s')}"

    def _there(self, value: datetime) -> datetime:
        """Return the instant by the zone's clock, or by UTC where the calendar of ours ends before it."""
        try:
            return value.astimezone(self.zone)
        except OverflowError:
            return value.astimezone(UTC)
