"""Which rows an export has: the filters of the lists, as a body names them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from sojourn.console.api.parameters import DAY_OR_INSTANT, TEXT_CHARACTERS_MAX, range_of
from sojourn.events.fields import Access, Reason, TerminalType
from sojourn.projections.read import CurrentFilter, HistoryFilter

Outcome = Literal["normal", "abnormal"]
EndReason = Reason | Literal["lost"]
State = Literal["active", "lost", "unconfirmed"]

Text = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX, pattern=r"^[^\x00]*$")]

Time = Annotated[str, Meta(extra_json_schema=DAY_OR_INSTANT)]

Destination = Annotated[str, Meta(extra_json_schema={"description": "A name that the console is configured with."})]


class Listed(Struct, frozen=True, forbid_unknown_fields=True):
    """What both lists are filtered by; `user` and `desktop` are an id, or a part of the name in any case."""

    user: Text | None = None
    desktop: Text | None = None
    terminal: TerminalType | None = None
    access: Access | None = None
    broker: Text | None = None
    search: Text | None = None


class OpenFilter(Listed, frozen=True, rename={"from_": "from"}):
    """Which open sessions; `from` and `to` keep those that overlap [from, to), a day begins at midnight UTC."""

    state: State | None = None
    from_: Time | None = None
    to: Time | None = None

    def made(self) -> CurrentFilter:
        """Return the filter of the list; raises the problem that its range is none."""
        span = range_of(self.from_, self.to, "filter.")
        return CurrentFilter(
            self.user, self.desktop, self.terminal, self.access, self.broker, *span, self.state, self.search
        )


class ScheduledFilter(Listed, frozen=True):
    """Which ended sessions of a period."""

    outcome: Outcome | None = None
    reason: EndReason | None = None

    def made(self) -> HistoryFilter:
        """Return the filter of the list."""
        return HistoryFilter(
            user=self.user,
            desktop=self.desktop,
            outcome=self.outcome,
            terminal=self.terminal,
            access=self.access,
            reason=self.reason,
            broker=self.broker,
            search=self.search,
        )


class EndedFilter(ScheduledFilter, frozen=True, rename={"from_": "from"}):
    """Which ended sessions; `from` and `to` keep those that overlap [from, to), a day begins at midnight UTC."""

    from_: Time | None = None
    to: Time | None = None

    def made(self) -> HistoryFilter:
        """Return the filter of the list; raises the problem that its range is none."""
        from_at, to_at = range_of(self.from_, self.to, "filter.")
        return structs.replace(super().made(), from_at=from_at, to_at=to_at)
