"""Queues of dead letters in the tables against the same log folded in memory, and what the database itself refuses."""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import psycopg
import pytest

from sojourn.consumers import partition as partition_module
from sojourn.consumers.owning import own
from sojourn.consumers.replay import Folding
from sojourn.consumers.writers import Writer
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.log import Append, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.facts import Key
from sojourn.projections.fold import Changes
from sojourn.projections.pages import Detail, stage_liveness
from sojourn.projections.store import apply_changes
from tests.integration.test_gaps import NOW, PARTITION, PARTITIONS, SESSIONS, append, begun, ended, log, records
from tests.unit.events import destroyed, established, heartbeat, to_bytes
from tests.unit.letters import resolve, spoilt

__all__ = ["log"]  # a fixture

STEPS: Final = 70
HISTORY: Final = (
    'SELECT session_id, "offset", appended_at, disposition, revision, cause FROM sojourn_v1.session_history'
    ' ORDER BY "offset", appended_at'
)
LETTERS: Final = (
    'SELECT "offset", appended_at, reason, resolution, waits IS TRUE, mended, resolved_offset, resolved_appended_at,'
    ' coalesce(came_at, appended_at) FROM sojourn_v1.dead_letter ORDER BY "offset", appended_at'
)
COUNTS: Final = "SELECT disposition, records FROM sojourn_v1.disposition WHERE topic = 'sojourn.lifecycle'"


async def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with await database.connect() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def apply_all(database: Database, log: EmbeddedLog, draw: random.Random | None = None) -> None:
    """Own the partition and apply lifecycle to its end; with `draw` in batches of any size."""
    writer = Writer(database)
    try:
        partition = await own(writer, log, PARTITION, "test", PARTITIONS, NOW)
        end = (await log.end_offsets(LIFECYCLE))[PARTITION]
        while (offset := partition.next_offsets[LIFECYCLE]) < end:
            count = 2000 if draw is None else draw.randint(1, 9)
            await partition.apply_lifecycle(await log.read(LIFECYCLE, PARTITION, offset, records_max=count))
    finally:
        await writer.close()


async def write_log(log: EmbeddedLog, draw: random.Random) -> list[Record]:
    """Append events of three sessions, good and bad, and decisions about any of them, sensible or not."""
    written: list[Record] = []
    right: dict[int, bytes] = {}
    for step in range(STEPS):
        session = draw.choice(SESSIONS[:3])
        kind = draw.choice([established, destroyed])
        event = to_bytes(kind(subject=session, id=f"{step}", sequence=draw.randint(0, 9)))
        choice = draw.random()
        if choice < 0.4 and written:
            named = draw.choice(
                [record for record in written if draw.random() < 0.5 or record.offset in right] or written
            )
            other = draw.choice([None, event, *(to_bytes(kind(subject=one, id=f"{step}")) for one in SESSIONS[:3])])
            how = draw.choice(["requeued", "requeued", "discarded"])
            value = resolve(named, how, right.get(named.offset, other), partition=PARTITION)
        elif choice < 0.6:
            value, right[step] = spoilt(event), event
        else:
            value = b"not json" if choice > 0.97 else event
        await append(log, [value])
        written = await records(log)
    return written


@pytest.mark.parametrize("seed", range(3))
async def test_the_tables_hold_what_the_log_folded_in_memory_comes_to(
    migrated_database: Database, log: EmbeddedLog, seed: int
) -> None:
    draw = random.Random(seed)
    written = await write_log(log, draw)
    await apply_all(migrated_database, log, draw)

    folding = Folding(PARTITIONS)
    history: list[Any] = []
    counted: Counter[str] = Counter()
    for parked, changes in folding.take(written):
        history += [
            (e.fact.event.subject, e.fact.record.offset, e.fact.record.appended_at, e.disposition, e.revision, e.cause)
            for e in changes.entries
        ]
        counted.update(parked.counted(changes))

    letters = [
        (*one.place, one.reason, one.resolution, one.waits, one.mended, *(one.resolved or (None, None)), one.came_at)
        for one in folding.letters.values()
    ]
    assert await rows(migrated_database, HISTORY) == sorted(history, key=lambda row: row[1:3])
    assert await rows(migrated_database, LETTERS) == sorted(letters, key=lambda row: row[:2])
    assert {d: n for d, n in await rows(migrated_database, COUNTS) if n} == dict(counted)
    assert sum(n for _, n in await rows(migrated_database, COUNTS)) == len(written)
    assert {"parked", "wrong_letter"} <= {letter[2] for letter in letters}
    assert {"requeued", "discarded", "released"} <= {letter[3] for letter in letters}


def refusing(*sessions: str) -> Any:
    """Return `apply_changes` of a database that refuses these sessions, and tells of others' rows."""

    async def apply(connection: psycopg.AsyncConnection[Any], changes: Changes) -> None:
        for entry in changes.entries:
            if entry.fact.event.subject in sessions and entry.session is not None:
                query = (
                    "DO $$ BEGIN RAISE EXCEPTION 'no such thing' USING ERRCODE = '23514', DETAIL = 'of globex'; END $$"
                )
                await connection.execute(query)
        await apply_changes(connection, changes)

    return apply


async def test_a_record_that_the_database_refuses_is_a_dead_letter_and_all_others_are_applied(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(log, [value for session in SESSIONS[:20] for value in (begun(session), ended(session))])
    refused = SESSIONS[7], SESSIONS[12]
    monkeypatch.setattr(partition_module, "apply_changes", refusing(*refused))

    await apply_all(migrated_database, log)

    query = 'SELECT session_id, "offset", reason, detail FROM sojourn_v1.dead_letter ORDER BY "offset"'
    behind = "it waits behind a dead letter of its session"
    assert await rows(migrated_database, query) == [
        (refused[0], 14, "refused_by_database", "no such thing"),
        (refused[0], 15, "parked", behind),
        (refused[1], 24, "refused_by_database", "no such thing"),
        (refused[1], 25, "parked", behind),
    ]
    assert dict(await rows(migrated_database, COUNTS)) == {"applied": 36, "dead_letter": 2, "parked": 2}


async def test_what_the_database_refused_is_applied_when_it_is_requeued(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SESSIONS[0]
    await append(log, [begun(session), ended(session)])
    with monkeypatch.context() as patch:
        patch.setattr(partition_module, "apply_changes", refusing(session))
        await apply_all(migrated_database, log)
        (first, _) = await records(log)
        await append(log, [resolve(first, partition=PARTITION)])
        await apply_all(migrated_database, log)
    early = await rows(migrated_database, LETTERS)

    await append(log, [resolve(first, partition=PARTITION)])
    await apply_all(migrated_database, log)

    assert [(row[0], row[2], row[3]) for row in early] == [
        (0, "refused_by_database", None),
        (1, "parked", None),
        (2, "refused_by_database", None),
    ]
    resolved = [(row[0], row[3]) for row in await rows(migrated_database, LETTERS)]
    assert resolved == [(0, "requeued"), (1, "released"), (2, None)]
    applied = (
        "SELECT revision, state, user_id, logout_at IS NOT NULL FROM sojourn_v1.session_history WHERE revision = 2"
    )
    assert await rows(migrated_database, applied) == [(2, "ended", "u-1", True)]


@pytest.mark.parametrize("error", [psycopg.errors.InternalError_, psycopg.errors.InsufficientPrivilege])
async def test_an_error_that_no_record_causes_is_not_looked_for_in_the_records(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch, error: type[psycopg.Error]
) -> None:
    await append(log, [begun(session) for session in SESSIONS[:8]])
    attempts = 0

    async def fail(*_: Any) -> None:
        nonlocal attempts
        attempts += 1
        raise error("injected")

    monkeypatch.setattr(partition_module, "apply_changes", fail)

    with pytest.raises(error, match="injected"):
        await apply_all(migrated_database, log)

    assert attempts == 1
    assert await rows(migrated_database, LETTERS) == []


async def test_a_detail_that_the_database_refuses_costs_nothing_but_itself(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = [to_bytes(heartbeat(subject=session, data={"idle_seconds": 5})) for session in SESSIONS[:9]]
    await append(log, [begun(session) for session in SESSIONS[:9]])
    await log.append([Append(HEARTBEATS, PARTITION, None, beat) for beat in beats])

    async def refuse(connection: Any, pages: Any, details: Mapping[Key, Detail], partition: int) -> None:
        if ("acme", SESSIONS[4]) in details:
            raise psycopg.errors.NumericValueOutOfRange("injected")
        await stage_liveness(connection, pages, details, partition)

    monkeypatch.setattr(partition_module, "stage_liveness", refuse)
    writer = Writer(migrated_database)
    partition = await own(writer, log, PARTITION, "test", PARTITIONS, NOW)
    await partition.apply_lifecycle(await log.read(LIFECYCLE, PARTITION, 0))
    await partition.apply_heartbeats(await log.read(HEARTBEATS, PARTITION, 0))

    await partition.flush()
    await writer.close()

    kept = await rows(migrated_database, "SELECT session_id FROM sojourn_v1.live_detail ORDER BY session_id")
    assert kept == sorted((session,) for session in SESSIONS[:9] if session != SESSIONS[4])
    assert partition.committed[HEARTBEATS] == 9
