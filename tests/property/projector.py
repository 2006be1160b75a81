"""Folds records batch by batch as the host does, with the states kept in memory or read back from rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from sojourn.events.log import Record
from sojourn.projections.commands import Command, CommandKey
from sojourn.projections.decided import NOTHING_DECIDED, Decided
from sojourn.projections.facts import Key, judge_lifecycle
from sojourn.projections.fold import Changes, Entry, fold
from sojourn.projections.rows import HISTORY_COLUMNS, history_row, session_of
from sojourn.projections.session import MEMORY_DAYS, Session

LOADED = (  # the columns of sql/load_sessions.sql
    "tenant", "session_id", "memory", "appended_at", "user_id", "user_name", "desktop_id", "desktop_name",
    "desktop_pool", "terminal_type", "terminal_os", "terminal_version", "terminal_name", "client_ip", "access",
    "protocol", "predecessor", "login_at", "clock_flags", "logout_at", "reason", "reason_detail", "command",
    "ended_before",
)  # fmt: skip


class Projected(NamedTuple):
    """What folding came to, row by row."""

    history: list[dict[str, Any]]
    superseded: list[tuple[int, int]]
    dead_letters: list[tuple[int, str]]
    dispositions: Counter[str]
    sessions: dict[Key, Session]
    commands: dict[CommandKey, Command]
    decided: Decided = NOTHING_DECIDED


def project(
    records: Sequence[Record], cuts: Iterable[int] = (), *, through_rows: bool = False, partitions: int = 1
) -> Projected:
    """Fold records of one partition, in batches that begin at `cuts` too."""
    projected = Projected([], [], [], Counter(), {}, {})
    decided = NOTHING_DECIDED
    edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for start, end in pairwise(edges):
        batch = records[start:end]
        states = known(projected.sessions, batch[0]) if through_rows else projected.sessions
        changes = fold(states, judge_lifecycle(batch, partitions, decided), projected.commands)
        note(changes, projected, through_rows=through_rows)
        decided = decided.after(changes.decisions)
    return projected._replace(decided=decided)


def known(sessions: dict[Key, Session], first: Record) -> dict[Key, Session]:
    """Return what the tables would still give when a batch begins: open sessions, and the young ones."""
    since = first.appended_at - timedelta(days=MEMORY_DAYS)
    return {key: session for key, session in sessions.items() if session.logout is None or session.touched_at > since}


def note(changes: Changes, projected: Projected, *, through_rows: bool) -> None:
    for entry in changes.entries:
        projected.history.append(row_of(entry))
        if entry.supersedes is not None:
            projected.superseded.append((entry.supersedes.offset, entry.fact.record.offset))
        if entry.session is not None:
            projected.sessions[entry.fact.key] = read_back(entry) if through_rows else entry.session
    projected.dead_letters.extend((letter.record.offset, letter.reason) for letter in changes.dead_letters)
    projected.dispositions.update(changes.dispositions)
    projected.commands.update(changes.commands)


def row_of(entry: Entry) -> dict[str, Any]:
    return dict(zip(HISTORY_COLUMNS, history_row(entry), strict=True))


def read_back(entry: Entry) -> Session:
    """Return the session as the next batch would load it: from its live row, or from its newest row of history."""
    assert entry.session is not None
    row = row_of(entry)
    if entry.session.logout is None:
        row["appended_at"] = entry.session.appended_at
    return session_of(tuple(row[column] for column in LOADED))
