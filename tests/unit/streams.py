"""Short streams of events, folded, for tests that follow them by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE
from tests.property.projector import Projected, project
from tests.unit.events import destroyed, established, to_bytes, with_data

APPENDED = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def records(values: list[bytes], *, start: datetime = APPENDED, step: timedelta = timedelta(0)) -> list[Record]:
    return [Record(LIFECYCLE, 0, offset, start + step * offset, None, value, ()) for offset, value in enumerate(values)]


def folded(*events: dict[str, Any] | bytes) -> Projected:
    """Fold events that were appended at the same instant."""
    return project(records([event if isinstance(event, bytes) else to_bytes(event) for event in events]))


def appended(*events: tuple[timedelta, dict[str, Any]]) -> Projected:
    """Fold events, each appended so long after `APPENDED`."""
    return project(
        [
            Record(LIFECYCLE, 0, offset, APPENDED + after, None, to_bytes(event), ())
            for offset, (after, event) in enumerate(events)
        ]
    )


def told(projected: Projected, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in projected.history]


def last(projected: Projected) -> dict[str, Any]:
    return next(row for row in reversed(projected.history) if row["revision"] is not None)


def begins(sequence: int, **fields: Any) -> dict[str, Any]:
    return with_data(established(id=f"e{sequence}", sequence=sequence, **fields), user__name=f"name {sequence}")


def ends(sequence: int, **fields: Any) -> dict[str, Any]:
    return with_data(destroyed(id=f"d{sequence}", sequence=sequence, **fields), detail=f"end {sequence}")
