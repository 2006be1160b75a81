"""Times as people write them on a command line."""

from datetime import UTC, datetime

from sojourn.events.errors import UsageError


def parse_instant(text: str, option: str) -> datetime:
    """Return an instant written as RFC 3339 or as a day; without a zone it is UTC. Raises `UsageError`."""
    try:
        instant = datetime.fromisoformat(text)
        return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"a time is written like 2026-11-24T08:00:00Z or 2026-11-24, which {option} is not: {text!r}"
        ) from None


def parse_range(start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    """Return the instants of --from and --to; raises `UsageError` when the range is empty."""
    from_at = None if start is None else parse_instant(start, "--from")
    to_at = None if end is None else parse_instant(end, "--to")
    if from_at is not None and to_at is not None and to_at <= from_at:
        raise UsageError(f"--to must be later than --from {start}: {end!r}")
    return from_at, to_at
