"""Rows beside what is expected of them: what is missing, invented, doubled or different."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from tests.model.folding import LIFECYCLE
from tests.model.folding import Place as SessionPlace
from tests.model.telling import differences

Row = dict[str, Any]
Place = TypeVar("Place")


def place_of(row: Row) -> tuple[str, int]:
    return row.get("topic", LIFECYCLE), row["partition"]


def row_place(row: Row) -> tuple[int, int, datetime]:
    return row["partition"], row["offset"], row["appended_at"]


def key_of(row: Row) -> SessionPlace:
    return row["partition"], row["tenant"], row["session_id"]


def differ(what: str, found: object, expected: object) -> Iterator[str]:
    if found != expected:
        yield f"{what} {found}, expected {expected}"


def compare(
    expected: Mapping[Place, Mapping[str, Any]], rows: Iterable[Row], place: Callable[[Row], Place]
) -> Iterator[str]:
    """Name the rows that are missing, invented, doubled or different from what is expected."""
    found: dict[Place, Row] = {}
    for row in rows:
        if place(row) in found:
            yield f"{place(row)} stands there twice"
        found[place(row)] = row
    yield from (f"{missing} is missing: {expected[missing]}" for missing in expected.keys() - found.keys())
    yield from (f"{invented} is invented: {found[invented]}" for invented in found.keys() - expected.keys())
    for where in expected.keys() & found.keys():
        if wrong := differences(expected[where], found[where]):
            yield f"{where} differs (expected, found): {wrong}"
