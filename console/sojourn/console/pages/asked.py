"""What a query asks of the history: a range, filters, and what its form shows of them."""

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from sojourn.console.pages.ranges import BETWEEN, CHOICES, DEFAULT, BadChoice, Range, chosen
from sojourn.console.pages.terms import ACCESSES, OUTCOMES, REASONS, TERMINALS
from sojourn.projections.read import HistoryFilter

TEXT_CHARACTERS_MAX: Final = 200  # of what is searched for; names are shorter

_DEFAULT_DAYS: Final = timedelta(days=6)  # before today: as many as `DEFAULT` has
_TEXTS: Final = ("user", "desktop", "broker", "search")
_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "terminal": TERMINALS,
    "access": ACCESSES,
    "outcome": OUTCOMES,
    "reason": REASONS,
}
_RANGE: Final = ("range", "from", "from_time", "to", "to_time")
RANGES: Final[Mapping[str, str]] = dict(
    zip(CHOICES, ("Today", "7 days", "30 days", "This month", "Last month", "From – to", "Any time"), strict=True)
)


class Asked(NamedTuple):
    """What is asked; `query` are its names and values as the URL has them, without what stands for a page of a list."""

    range: Range
    filters: HistoryFilter
    query: Mapping[str, str]
    problem: BadChoice | None

    @property
    def is_between(self) -> bool:
        """Tell whether the range is one from an instant to another."""
        return self.range.choice == BETWEEN

    @property
    def filters_set(self) -> int:
        """How many filters are set beside the range and the search."""
        return sum(name in self.query for name in (*_WORDS, "user", "desktop", "broker"))

    @property
    def cleared(self) -> Mapping[str, str]:
        """The same range without filters."""
        return {name: value for name, value in self.query.items() if name in _RANGE}

    def exported(self, instant: Any) -> dict[str, str]:
        """Return the names and values of the filter for an export; `instant` writes an instant."""
        ends = {"from": self.range.from_at, "to": self.range.to_at}
        named = {name: value for name, value in self.query.items() if name in _TEXTS or name in _WORDS}
        return {**named, **{name: instant(value) for name, value in ends.items() if value is not None}}


def asked(query: Mapping[str, str], zone: tzinfo, now: datetime) -> Asked:
    """Return what a query asks; where it says what cannot be, `problem` tells so, and nothing is to be shown."""
    names = {*_TEXTS, *_WORDS, *_RANGE}
    said = {name: value.strip() for name, value in query.items() if name in names and value.strip()}
    if said.get("range") == BETWEEN and not said.keys() & _RANGE[1:]:
        said |= _last_days(zone, now)
    try:
        span = chosen(said, zone, now)
        filters = _filters(said, span)
    except BadChoice as problem:
        return Asked(Range(said.get("range", BETWEEN), None, None), HistoryFilter(), said, problem)
    if span.choice != BETWEEN:
        said = {name: value for name, value in said.items() if name not in _RANGE[1:]}
    if span.choice == DEFAULT:
        said.pop("range", None)
    return Asked(span, filters, said, None)


def _last_days(zone: tzinfo, now: datetime) -> dict[str, str]:
    """Return what fields say at first that ask for two instants: the range that was shown before."""
    today = now.astimezone(zone).date()
    return {"from": (today - _DEFAULT_DAYS).isoformat(), "to": today.isoformat()}


def _filters(said: Mapping[str, str], span: Range) -> HistoryFilter:
    for name, words in _WORDS.items():
        if name in said and said[name] not in words:
            raise BadChoice(name, "There is no such choice.")
    for name in _TEXTS:
        if len(said.get(name, "")) > TEXT_CHARACTERS_MAX:
            raise BadChoice(name, "That is too long to search for.")
    named: dict[str, Any] = {name: said.get(name) for name in (*_TEXTS, *_WORDS)}
    return HistoryFilter(**named, from_at=span.from_at, to_at=span.to_at)
