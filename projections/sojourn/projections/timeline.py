"""One session: what is known of it, and everything that happened to it in the order of the log."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from sojourn.projections.commands import State
from sojourn.projections.rows import HISTORY_COLUMNS
from sojourn.projections.statements import statement

ENTRIES_MAX: Final = 1000  # a session has a handful; of more the repeats are left out first, then the oldest

_TOLD: Final = (*HISTORY_COLUMNS[HISTORY_COLUMNS.index("state") : HISTORY_COLUMNS.index("cause")], "command")


class Change(Struct, frozen=True):
    """What a revision says otherwise than the one before: a text, a number, an instant, or nothing."""

    field: str
    before: Any
    after: Any


class Asked(Struct, frozen=True):
    """The command that an entry is about: who asked for it, why, and how it stands by now."""

    command_id: str
    kind: str
    reason: str
    message: str | None
    requested_by: str
    state: State


class Entry(Struct, frozen=True):
    """One event, its place in the log and what became of it.

    `supersedes` is the revision that it corrected, `superseded_by` the one by which it was corrected itself. Nothing
    was heard of the session from `silent_from` to `silent_to`.
    """

    event_type: str
    event_id: str
    source: str
    event_time: datetime
    appended_at: datetime
    partition: int
    offset: int
    disposition: str
    detail: str | None
    revision: int | None
    cause: str | None
    changes: list[Change]
    supersedes: int | None
    superseded_by: int | None
    silent_from: datetime | None
    silent_to: datetime | None
    command: Asked | None


async def session_detail(connection: AsyncConnection[Any], session_id: str) -> dict[str, Any] | None:
    """Return the row of a session that is open, or else its newest revision, as the tenant's reader; None for none."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement("session_detail"), {"session_id": session_id})
        return await cursor.fetchone()


async def timeline(connection: AsyncConnection[Any], session_id: str) -> list[Entry]:
    """Return what happened to a session, in the order of the log, as the tenant's reader; of an unknown one nothing.

    There are more events than are returned only where these are `ENTRIES_MAX`.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement("session_events"), {"session_id": session_id, "rows_max": ENTRIES_MAX})
        rows = sorted(await cursor.fetchall(), key=itemgetter("appended_at", "offset"))
        await cursor.execute(statement("session_commands"), {"session_id": session_id})
        commands = {
            (row["partition"], row["offset"]): Asked(**{name: row[name] for name in Asked.__struct_fields__})
            for row in await cursor.fetchall()
        }
    entries = []
    newest: dict[int, Mapping[str, Any]] = {}  # by partition: a session in two is two to the log
    corrected = _corrections(rows)
    for row in rows:
        before = newest.get(row["partition"]) if row["revision"] is not None else None
        entries.append(_entry(row, before, corrected, commands.get((row["partition"], row["offset"]))))
        if row["revision"] is not None:
            newest[row["partition"]] = row
    return entries


def _corrections(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], int]:
    """Return which revision corrected which: an ended one has been as soon as another follows."""
    corrected = {}
    ended: dict[int, int] = {}
    for row in rows:
        partition, revision = row["partition"], row["revision"]
        if revision is None:
            continue
        if partition in ended:
            corrected[partition, ended.pop(partition)] = revision
        if row["logout_at"] is not None:
            ended[partition] = revision
    return corrected


def _entry(
    row: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    corrected: Mapping[tuple[int, int], int],
    command: Asked | None,
) -> Entry:
    partition, revision = row["partition"], row["revision"]
    silent_from, silent_to = row["ended_after"], row["ended_before"]
    if before is not None and before["state"] == "lost" and row["event_type"] == "recovered":
        silent_from, silent_to = before["ended_after"], row["event_time"]
    is_correction = before is not None and corrected.get((partition, before["revision"])) == revision
    return Entry(
        event_type=row["event_type"],
        event_id=row["event_id"],
        source=row["source"],
        event_time=row["event_time"],
        appended_at=row["appended_at"],
        partition=partition,
        offset=row["offset"],
        disposition=row["disposition"],
        detail=row["disposition_detail"],
        revision=revision,
        cause=row["cause"],
        changes=[] if before is None else _changes(before, row),
        supersedes=before["revision"] if before is not None and is_correction else None,
        superseded_by=corrected.get((partition, revision)) if revision is not None else None,
        silent_from=silent_from,
        silent_to=silent_to,
        command=command,
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    return [Change(name, before[name], after[name]) for name in _TOLD if before[name] != after[name]]
