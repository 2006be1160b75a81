"""The signs of life of brokers in one partition of heartbeats: who says that it lives, and whose clock is off."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sojourn.events.fields import CommandKind
from sojourn.events.types import Alive
from sojourn.projections.broker_store import BrokerRow

ALIVE_SECONDS: Final = 30  # between two `broker.alive`, where these do not say
SKEW_WINDOW: Final = timedelta(minutes=5)  # the least delayed event of so long tells the clock apart from delays


class Broker:
    """What one partition knows of a broker; instants are append times but for `last_event_at`."""

    def __init__(self, number: int, row: BrokerRow) -> None:
        self.number, self.source = number, row.source
        self.last_event_at, self.last_appended_at = row.last_event_at, row.last_appended_at
        self.last_alive_at, self.misrouted_at = row.last_alive_at, row.misrouted_at
        self.interval_seconds, self.commands = row.alive_interval_seconds, row.commands
        self.skew_seconds = row.skew_seconds
        self._window_at: datetime | None = None

    @property
    def can_be_silent(self) -> bool:
        """Only a broker that used to say that it is alive can be silent."""
        return self.last_alive_at is not None

    @property
    def alive_seconds(self) -> int:
        """How often it says that it is alive."""
        return self.interval_seconds or ALIVE_SECONDS

    def hear(self, event_at: datetime, appended_at: datetime) -> None:
        """Note an event of the broker."""
        self.last_event_at, self.last_appended_at = event_at, appended_at
        ahead = (event_at - appended_at).total_seconds()
        if self._window_at is None or appended_at - self._window_at > SKEW_WINDOW:
            self._window_at, self.skew_seconds = appended_at, ahead
        elif self.skew_seconds is None or ahead > self.skew_seconds:
            self.skew_seconds = ahead

    def live(self, interval_seconds: int | None, commands: list[CommandKind] | None, appended_at: datetime) -> None:
        """Note that the broker says that it is alive."""
        self.last_alive_at = appended_at
        self.interval_seconds, self.commands = interval_seconds, commands


class Signs:
    """All brokers that one partition knows, by source; each has a number, for arrays."""

    def __init__(self, rows: Iterable[BrokerRow]) -> None:
        self.brokers: dict[str, Broker] = {}
        self._changed: set[str] = set()
        for row in rows:
            self.brokers[row.source] = Broker(len(self.brokers), row)

    def of(self, source: str) -> Broker:
        """Return the broker of a source."""
        broker = self.brokers.get(source)
        if broker is None:
            broker = self.brokers[source] = Broker(len(self.brokers), BrokerRow(source))
        return broker

    def hear(self, source: str, event_at: datetime, appended_at: datetime) -> None:
        """Note an event of heartbeats, which brokers send as soon as they know."""
        self.of(source).hear(event_at, appended_at)
        self._changed.add(source)

    def live(self, event: Alive, appended_at: datetime) -> None:
        """Note that a broker says that it is alive."""
        data = event.data
        interval = None if data is None else data.interval_seconds
        self.of(event.source).live(interval, None if data is None else data.commands, appended_at)

    def misroute(self, source: str, appended_at: datetime) -> None:
        """Note that a broker's heartbeats come to another partition than their sessions."""
        self.of(source).misrouted_at = appended_at
        self._changed.add(source)

    def changed(self) -> list[BrokerRow]:
        """Return what has to be written now; `written` says that it was committed."""
        rows = []
        for source in sorted(self._changed):
            one = self.brokers[source]
            rows.append(
                BrokerRow(
                    source,
                    one.last_event_at,
                    one.last_appended_at,
                    one.last_alive_at,
                    one.skew_seconds,
                    one.interval_seconds,
                    one.commands,
                    one.misrouted_at,
                )
            )
        return rows

    def written(self, rows: Iterable[BrokerRow]) -> None:
        """Forget changes that are committed."""
        self._changed.difference_update(row.source for row in rows)
