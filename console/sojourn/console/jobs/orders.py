"""What may be asked of an export: the list, the format, which rows and where to; all else is refused by its name."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import msgspec
from msgspec import Struct

from sojourn.console.http.problems import Problem, contradiction
from sojourn.exporters.columns import Dataset
from sojourn.exporters.dataset import FileFormat
from sojourn.projections.read import CurrentFilter, HistoryFilter

TEXT_CHARACTERS_MAX: Final = 1000  # a name has at most 256; a list of them stays below this

Filter = CurrentFilter | HistoryFilter

FILTERS: Final[Mapping[Dataset, type[CurrentFilter] | type[HistoryFilter]]] = {
    "current": CurrentFilter,
    "history": HistoryFilter,
}
_INSTANTS: Final = ("from", "to")


class Order(Struct, frozen=True):
    """An export that can be made."""

    dataset: Dataset
    format: FileFormat
    neutralised: bool
    filter: Filter
    destination: str | None = None


def order_of(
    dataset: Dataset,
    file_format: FileFormat,
    filters: Filter,
    destination: str | None,
    destinations: Collection[str],
    *,
    neutralised: bool | None = None,
) -> Order:
    """Return what is asked for; raises the problem that it is nonsense."""
    if file_format != "csv" and neutralised is not None:
        raise contradiction(f"neutralised: only CSV is neutralised, not {file_format}; leave it out")
    if destination is not None and destination not in destinations:
        known = ", ".join(sorted(destinations)) or "none"
        detail = f"destination: destinations are configured by name; there are: {known}; not: {destination!r}"
        raise Problem(404, "no-such-destination", "no such destination", detail)
    is_neutralised = file_format == "csv" and neutralised is not False
    return Order(dataset, file_format, is_neutralised, filters, destination)


def filter_of(dataset: Dataset, given: Mapping[str, Any], zone: tzinfo = UTC) -> Filter:
    """Return the filter that these names and values make; raises the problem that they make none."""
    kind = FILTERS[dataset]
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in names:
            raise refused(f"filter.{name}", f"{dataset} has the filters {', '.join(sorted(names))} only")
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and ("\0" in text or len(text) > TEXT_CHARACTERS_MAX):
                raise refused(f"filter.{name}", f"a text has at most {TEXT_CHARACTERS_MAX} characters and no NUL")
        values[name] = _instant(name, value, zone) if name in _INSTANTS else value
    if values.get("from") and values.get("to") and values["to"] <= values["from"]:
        raise refused("filter.to", "the end must be later than the beginning, `from`")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        raise refused(f"filter.{place.rstrip('`') or '*'}", what[:1].lower() + what[1:]) from None


def refused(name: str, detail: str) -> Problem:
    """Return the problem that a parameter is no good; its detail begins with the parameter's name."""
    return Problem(400, "bad-parameter", "a parameter is not good", f"{name}: {detail}")


def _instant(name: str, value: Any, zone: tzinfo) -> datetime | None:
    if value is None:
        return None
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return (instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        detail = f"a time is written like 2026-11-24T08:00:00Z or 2026-11-24, not: {value!r}"
        raise refused(f"filter.{name}", detail) from None
