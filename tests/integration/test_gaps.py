"""Gaps in the lifecycle log: found with their exact offsets, accepted by an event, and read on behind."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import psycopg
import pytest

from sojourn.consumers import gaps
from sojourn.consumers.gaps import Gap, accept_gap, check_partitions, find_gap
from sojourn.consumers.owning import own
from sojourn.consumers.writers import Writer
from sojourn.events.codec import decode
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.log import Append, Log, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, session_partition
from sojourn.events.types import GapAccepted
from sojourn.projections.places import PositionMoved, lifecycle_position
from sojourn.projections.store import Fenced, Position
from tests.unit.events import destroyed, established

PARTITION: Final = 3
PARTITIONS: Final = 12
NOW: Final = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
SESSIONS: Final = [
    f"s-{number}" for number in range(9000) if session_partition("acme", f"s-{number}", PARTITIONS) == PARTITION
]

Connection = psycopg.AsyncConnection[Any]


@pytest.fixture
async def log(migrated_database: Database) -> AsyncIterator[EmbeddedLog]:
    async with await migrated_database.connect() as connection:
        await install(connection)
    log = EmbeddedLog(migrated_database)
    yield log
    await log.close()


async def append(log: Log, values: Iterable[bytes]) -> list[int]:
    return await log.append([Append(LIFECYCLE, PARTITION, None, value) for value in values])


def begun(session: str) -> bytes:
    return msgspec.json.encode(established(id=f"{session}-1", subject=session, tenant="acme"))


def binary(session: str) -> Append:
    event = established(id=f"{session}-1", subject=session, tenant="acme")
    value = msgspec.json.encode(event.pop("data"))
    return Append(LIFECYCLE, PARTITION, None, value, tuple((f"ce_{name}", event[name].encode()) for name in event))


def ended(session: str, number: int = 2, *, at: str = "2026-11-24T08:30:00Z") -> bytes:
    return msgspec.json.encode(destroyed(id=f"{session}-{number}", subject=session, tenant="acme", time=at))


async def apply(database: Database, log: Log, *, records_max: int = 2000) -> None:
    """Own the partition and apply the lifecycle log to its end, as a host does."""
    writer = Writer(database)
    try:
        partition = await own(writer, log, PARTITION, "test", PARTITIONS, NOW)
        end = (await log.end_offsets(LIFECYCLE))[PARTITION]
        while (offset := partition.next_offsets[LIFECYCLE]) < end:
            await partition.apply_lifecycle(await log.read(LIFECYCLE, PARTITION, offset, records_max=records_max))
    finally:
        await writer.close()


async def position_of(connection: Connection) -> Position:
    position = await lifecycle_position(connection, PARTITION)
    assert position is not None
    return position


async def found(log: Log, connection: Connection) -> Gap | None:
    return await find_gap(log, connection, PARTITION, await position_of(connection))


async def accept(log: Log, connection: Connection) -> gaps.Accepted:
    gap = await found(log, connection)
    assert gap is not None
    position = await position_of(connection)
    return await accept_gap(log, connection, gap, position, reason="disk lost", who="ada", at=NOW)


async def records(log: Log) -> list[Record]:
    start, end = (await log.start_offsets(LIFECYCLE))[PARTITION], (await log.end_offsets(LIFECYCLE))[PARTITION]
    everything: list[Record] = []
    while start < end:
        batch = await log.read(LIFECYCLE, PARTITION, start)
        everything += batch.records
        start = batch.next_offset
    return everything


async def accepted_events(log: Log) -> list[GapAccepted]:
    events = [decode(record.value) for record in await records(log)]
    return [event for event in events if isinstance(event, GapAccepted)]


async def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode())).fetchall()


async def live(connection: Connection) -> set[str]:
    return {row[0] for row in await rows(connection, "SELECT session_id FROM sojourn_v1.live_session")}


async def drop_before(connection: Connection, offset: int) -> None:
    """Let the log drop what it has before an offset, as retention does."""
    await connection.execute(
        'DELETE FROM sojourn_log.lifecycle WHERE partition = %s AND "offset" < %s', (PARTITION, offset)
    )
    await connection.execute(
        "UPDATE sojourn_log.log_head SET start_offset = %s WHERE topic = %s AND partition = %s",
        (offset, LIFECYCLE, PARTITION),
    )


async def truncate(connection: Connection, offset: int) -> None:
    """Let the log lose what it has from an offset on; from 0, it is as made anew."""
    await connection.execute(
        'DELETE FROM sojourn_log.lifecycle WHERE partition = %s AND "offset" >= %s', (PARTITION, offset)
    )
    await connection.execute(
        "UPDATE sojourn_log.log_head SET next_offset = %s WHERE topic = %s AND partition = %s",
        (offset, LIFECYCLE, PARTITION),
    )


async def test_a_log_that_only_grew_or_dropped_what_was_applied_has_no_gap(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await append(log, map(begun, SESSIONS[:30]))
    await apply(migrated_database, log)
    at_the_end = await found(log, migrated)
    await append(log, map(begun, SESSIONS[30:40]))
    grown = await found(log, migrated)
    await drop_before(migrated, 30)

    dropped = await found(log, migrated)

    assert (at_the_end, grown, dropped) == (None, None, None)


async def test_records_dropped_before_they_were_applied_are_a_gap_with_their_exact_offsets(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await append(log, map(begun, SESSIONS[:30]))
    await apply(migrated_database, log)
    await append(log, map(begun, SESSIONS[30:60]))
    await drop_before(migrated, 50)

    gap = await found(log, migrated)

    detail = "the log dropped records before they were applied: sojourn.lifecycle, partition 3, offsets 30 to 49 (20)"
    assert gap == Gap(LIFECYCLE, PARTITION, 30, 50, "lost", detail)


async def test_behind_an_accepted_loss_all_that_is_left_is_applied_and_the_log_says_who_decided(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await append(log, map(begun, SESSIONS[:30]))
    await apply(migrated_database, log)
    await append(log, map(begun, SESSIONS[30:60]))
    await drop_before(migrated, 50)

    accepted = await accept(log, migrated)
    await apply(migrated_database, log)

    assert accepted == (60, False)
    assert await live(migrated) == {*SESSIONS[:30], *SESSIONS[50:60]}
    ((data, time),) = [(event.data, event.time) for event in await accepted_events(log)]
    assert (data.from_offset, data.to_offset, data.reason, data.who, time) == (30, 50, "disk lost", "ada", NOW)
    assert await rows(migrated, "SELECT actor, reason FROM sojourn.admin_action") == [("ada", "disk lost")]
    assert await found(log, migrated) is None


@pytest.mark.parametrize("kept", [0, 1, 7, 299, 599])
async def test_a_log_that_lost_its_end_is_read_again_from_the_first_record_that_is_new(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog, kept: int
) -> None:
    await append(log, [*map(begun, SESSIONS[:300]), b"no event", *map(ended, SESSIONS[:299])])
    await apply(migrated_database, log, records_max=250)
    await truncate(migrated, kept)
    await append(log, map(begun, SESSIONS[300 : 300 + 5 + (700 if kept == 7 else 0)]))

    gap = await found(log, migrated)

    assert gap is not None
    assert gap[:5] == (LIFECYCLE, PARTITION, 600, kept, "changed")
    assert f"holds nothing of what was applied from offsets {kept} to 599 (records: {600 - kept})" in gap.detail


async def test_records_in_binary_mode_are_known_again(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await log.append([binary(session) for session in SESSIONS[:9]])
    await apply(migrated_database, log)
    await truncate(migrated, 5)

    gap = await found(log, migrated)

    assert gap is not None
    assert (gap.from_offset, gap.to_offset) == (9, 5)


async def test_a_log_made_anew_is_read_from_its_start_and_old_facts_stay(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await append(log, [*map(begun, SESSIONS[:5]), b"no event", *map(begun, SESSIONS[5:20]), *map(ended, SESSIONS[:10])])
    await apply(migrated_database, log)
    await truncate(migrated, 0)
    await append(log, [*map(ended, SESSIONS[10:15]), b"no event either", *map(begun, SESSIONS[20:50])])

    await accept(log, migrated)
    await apply(migrated_database, log)

    assert await live(migrated) == {*SESSIONS[15:20], *SESSIONS[20:50]}
    ends = await rows(migrated, "SELECT session_id FROM sojourn.ended_session WHERE reason IS NOT NULL")
    assert sorted(ends) == sorted((session,) for session in SESSIONS[:15])
    letters = await rows(migrated, "SELECT value FROM sojourn_v1.dead_letter ORDER BY appended_at")
    assert letters == [(b"no event",), (b"no event either",)]
    assert await found(log, migrated) is None


async def test_corrections_at_offsets_used_before_neither_hide_new_rows_nor_fail(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    first, second = SESSIONS[:2]
    early, late = "2026-11-24T08:10:00Z", "2026-11-24T08:50:00Z"
    await append(log, [begun(first), ended(first, 3, at=late), ended(first, 2, at=early)])
    await apply(migrated_database, log)
    await truncate(migrated, 0)
    await append(log, [begun(second), ended(second, 3, at=late)])
    await accept(log, migrated)
    await apply(migrated_database, log)

    shown = await rows(migrated, "SELECT session_id, logout_at FROM sojourn.ended_session ORDER BY logout_at")
    await truncate(migrated, 2)
    await accept(log, migrated)
    await append(log, [ended(second, 2, at=early)])
    await apply(migrated_database, log)
    corrected = await rows(migrated, "SELECT session_id, logout_at FROM sojourn.ended_session ORDER BY session_id")

    assert shown == [(first, datetime.fromisoformat(early)), (second, datetime.fromisoformat(late))]
    assert {row[0]: row[1] for row in corrected} == dict.fromkeys((first, second), datetime.fromisoformat(early))
    assert await rows(migrated, 'SELECT "offset" FROM sojourn_v1.superseded') == [(1,), (1,)]


async def test_what_is_remembered_of_a_session_is_the_newest_by_append_time_not_by_offset(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    session = SESSIONS[0]
    await append(log, [*map(begun, SESSIONS[1:20]), begun(session), ended(session, 3, at="2026-11-24T08:50:00Z")])
    await apply(migrated_database, log)
    await truncate(migrated, 0)
    await append(log, [ended(session, 2, at="2026-11-24T08:10:00Z")])
    await accept(log, migrated)
    await apply(migrated_database, log)

    await append(log, [ended(session, 4, at="2026-11-24T08:30:00Z")])
    await apply(migrated_database, log)

    revisions = await rows(
        migrated, "SELECT revision, disposition FROM sojourn_v1.session_history WHERE reason IS NOT NULL ORDER BY 1"
    )
    assert revisions[:2] == [(2, "applied"), (3, "applied")]
    shown = await rows(migrated, "SELECT logout_at FROM sojourn.ended_session")
    assert shown == [(datetime(2026, 11, 24, 8, 10, tzinfo=UTC),)]


async def test_a_record_changed_in_its_place_is_told_and_nothing_is_read_again(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await append(log, map(begun, SESSIONS[:20]))
    await apply(migrated_database, log)
    await migrated.execute("UPDATE sojourn_log.lifecycle SET value = 'other' WHERE \"offset\" = 19")

    gap = await found(log, migrated)
    await accept(log, migrated)

    detail = "the log holds another record than was applied: sojourn.lifecycle, partition 3, offset 19"
    assert gap == Gap(LIFECYCLE, PARTITION, 20, 20, "changed", detail)
    assert (await position_of(migrated)).next_offset == 20
    assert await found(log, migrated) is None


async def test_a_crash_between_the_event_and_the_position_is_finished_by_running_again(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(log, map(begun, SESSIONS[:10]))
    await append(log, map(begun, SESSIONS[10:30]))
    await apply(migrated_database, log)
    await truncate(migrated, 10)

    async def crash(*_: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(gaps, "move_position", crash)
    with pytest.raises(ConnectionResetError):
        await accept(log, migrated)
    monkeypatch.undo()
    between = (await position_of(migrated)).next_offset
    await append(log, map(begun, SESSIONS[30:33]))
    accepted = await accept(log, migrated)
    await apply(migrated_database, log)

    assert between == 30
    assert accepted == (10, True)
    assert (await position_of(migrated)).next_offset == 14, "ten kept, one event, three new"
    assert await live(migrated) == set(SESSIONS[:33])


async def test_the_same_loss_a_second_time_is_accepted_a_second_time(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await append(log, map(begun, SESSIONS[:30]))
    await apply(migrated_database, log)
    await truncate(migrated, 25)
    await accept(log, migrated)
    await append(log, map(begun, SESSIONS[30:34]))
    await apply(migrated_database, log)
    await truncate(migrated, 25)

    accepted = await accept(log, migrated)
    await apply(migrated_database, log)

    assert accepted == (25, False)
    assert await found(log, migrated) is None


async def test_a_gap_is_accepted_only_where_the_position_still_is(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await append(log, map(begun, SESSIONS[:30]))
    await apply(migrated_database, log)
    await truncate(migrated, 10)
    gap, position = await found(log, migrated), await position_of(migrated)
    assert gap is not None
    await accept(log, migrated)
    epoch = await rows(migrated, "SELECT epoch FROM sojourn.partition_owner WHERE partition = 3")

    with pytest.raises(PositionMoved, match="moved meanwhile"):
        await accept_gap(log, migrated, gap, position, reason="again", who="bob", at=NOW)

    assert (await position_of(migrated)).next_offset == 10
    assert await rows(migrated, "SELECT epoch FROM sojourn.partition_owner WHERE partition = 3") == epoch


async def test_accepting_a_gap_fences_whoever_still_believes_to_own_the_partition(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog
) -> None:
    await append(log, map(begun, SESSIONS[:30]))
    await apply(migrated_database, log)
    writer = Writer(migrated_database)
    zombie = await own(writer, log, PARTITION, "zombie", PARTITIONS, NOW)
    await truncate(migrated, 10)

    await accept(log, migrated)

    batch = await log.read(LIFECYCLE, PARTITION, 10)
    with pytest.raises(Fenced):
        await zombie.apply_lifecycle(batch)
    zombie.skip_heartbeats(5, NOW)
    with pytest.raises(Fenced):
        await zombie.flush()
    await writer.close()


async def test_the_number_of_partitions_is_fixed_by_the_first_start(migrated: Connection, log: EmbeddedLog) -> None:
    counts = [await check_partitions(log, migrated) for _ in range(2)]
    for topic in (LIFECYCLE, HEARTBEATS):
        await migrated.execute("INSERT INTO sojourn_log.log_head (topic, partition) VALUES (%s, 12)", (topic,))

    with pytest.raises(gaps.PartitionsChanged) as refused:
        await check_partitions(log, migrated)

    assert counts == [PARTITIONS, PARTITIONS]
    assert str(refused.value) == (
        "sojourn.lifecycle has another number of partitions than what was applied came from, so sessions would change "
        "their partition; make it anew with 12 (docs/operations.md), not with: 13"
    )
    assert len(await rows(migrated, "SELECT FROM sojourn_v1.position")) == 2 * PARTITIONS


async def test_topics_with_different_numbers_of_partitions_are_refused_before_anything_is_written(
    migrated: Connection, log: EmbeddedLog
) -> None:
    await migrated.execute("INSERT INTO sojourn_log.log_head (topic, partition) VALUES (%s, 12)", (HEARTBEATS,))

    with pytest.raises(gaps.PartitionsChanged, match=r"needs as many .* make it anew with 12, not with: 13$"):
        await check_partitions(log, migrated)

    assert await rows(migrated, "SELECT FROM sojourn_v1.position") == []
