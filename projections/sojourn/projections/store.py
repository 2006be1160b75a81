"""The projector's side of the tables: reading the states that a batch touches, writing what it changes."""

import zlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

from msgspec import convert, structs, to_builtins
from psycopg import AsyncConnection, sql
from psycopg.types.json import Jsonb

from sojourn.events.decision_data import TenantConfiguredData
from sojourn.events.errors import SojournError
from sojourn.events.log import Record
from sojourn.events.topics import HEARTBEATS
from sojourn.events.types import (
    BrokerReturned,
    BrokerSilent,
    DeadLetterResolved,
    GapAccepted,
    SourceBound,
    TenantConfigured,
)
from sojourn.projections.acts import write_told_act
from sojourn.projections.decided import Decided, Decision, Silence
from sojourn.projections.facts import DeadLetter, Key
from sojourn.projections.fold import Changes
from sojourn.projections.rows import HISTORY_COLUMNS, history_row, session_of
from sojourn.projections.session import MEMORY_DAYS, Session
from sojourn.projections.statements import statement

_SEPARATOR: Final = "\x1f"  # ids hold no control characters
TRANSACTION_SECONDS_MAX: Final = 30  # one takes a tenth of a second; a stopped projector must not keep rows for longer
DEAD_VALUE_BYTES_MAX: Final = 1024 * 1024  # what a table row keeps of a bad record; the log has the rest
_STAGE_COLUMNS: Final = (
    *HISTORY_COLUMNS,
    "slot",
    "ends",
    "live_revision",
    "live_offset",
    "live_appended_at",
    "established_appended_at",
    "supersedes_offset",
    "supersedes_appended_at",
)
_COPY_STAGE: Final = sql.SQL("COPY stage ({}) FROM STDIN").format(
    sql.SQL(", ").join(sql.Identifier(column) for column in _STAGE_COLUMNS)
)
_COPY_DEAD_LETTER: Final = (
    'COPY stage_dead_letter (topic, partition, "offset", appended_at, reason, detail, tenant, session_id, key, '
    "headers, value, value_bytes) FROM STDIN"
)
_ON_STAGE: Final = (None, False, None, None, None, None)


class Fenced(SojournError):
    """another process took the partition over; nothing of this batch was written"""


class Position(NamedTuple):
    """The next offset to apply, and the last applied record by which a re-created topic is found out."""

    next_offset: int
    record_offset: int | None
    record_crc: int | None
    record_appended_at: datetime | None


class Owned(NamedTuple):
    """A partition that this process may write, under `epoch`, with the position of each topic."""

    partition: int
    epoch: int
    positions: dict[str, Position]


def record_crc(record: Record) -> int:
    """Return the CRC-32 of a record's key and value."""
    return zlib.crc32(record.value, zlib.crc32(record.key or b""))


@asynccontextmanager
async def as_projector(connection: AsyncConnection[Any]) -> AsyncIterator[AsyncConnection[Any]]:
    """Run one transaction as the projector.

    It touches rows by key alone, so plans are held to nested loops over indexes, and made anew for each batch:
    docs/why.md, "The projector's plans".
    """
    async with connection.transaction():
        await connection.execute(
            "SET LOCAL ROLE sojourn_projector; SET LOCAL search_path = sojourn_v1, sojourn, pg_temp;"
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
            "SET LOCAL plan_cache_mode = force_custom_plan"
        )
        yield connection


async def prepare(connection: AsyncConnection[Any]) -> None:
    """Set a connection up, once: how long its transactions may take, and the temporary tables that rows are staged in.

    The time-out for idle transactions would not do: PostgreSQL drops it when a pipeline has asked for a flush.
    """
    await connection.execute("SELECT set_config('transaction_timeout', %s, false)", (f"{TRANSACTION_SECONDS_MAX}s",))
    async with as_projector(connection):
        for name in ("stage", "stage_page", "stage_detail", "stage_dead_letter", "stage_outbox"):
            await connection.execute(statement(name))


async def ensure_months(connection: AsyncConnection[Any], months: Iterable[date]) -> None:
    """Make the partitions of history for these months, named by any day of them."""
    for month in months:
        async with as_projector(connection):
            await connection.execute("SELECT ensure_history_month(%s)", (month,))


async def acquire(connection: AsyncConnection[Any], partition: int, owner: str, starts: Mapping[str, int]) -> Owned:
    """Raise the partition's epoch and read its positions; `starts` gives those of topics never read before."""
    async with as_projector(connection):
        cursor = await connection.execute(statement("acquire_owner"), {"partition": partition, "owner": owner})
        row = await cursor.fetchone()
        assert row is not None
        positions = {}
        for topic, start in starts.items():
            cursor = await connection.execute(
                statement("acquire_position"),
                {"topic": topic, "partition": partition, "epoch": row[0], "start": start},
            )
            found = await cursor.fetchone()
            assert found is not None
            positions[topic] = Position(*found)
    return Owned(partition, row[0], positions)


async def load_decided(connection: AsyncConnection[Any], partition: int) -> Decided:
    """Return what the log of a partition decided up to its position."""
    async with as_projector(connection):
        place = {"partition": partition}
        rows = await (await connection.execute(statement("load_bindings"), place)).fetchall()
        gaps = await (await connection.execute(statement("load_gaps"), place)).fetchall()
        settings = await (await connection.execute(statement("load_settings"), place)).fetchall()
    return Decided(
        partitioners={source: partitioner for source, partitioner, *_ in rows if partitioner is not None},
        gaps=frozenset((first, end) for first, end in gaps),
        tenants={
            source: None if tenants is None else frozenset(tenants)
            for source, partitioner, tenants, *_ in rows
            if partitioner is not None
        },
        settings={tenant: convert(setting, TenantConfiguredData) for tenant, setting in settings},
        silent={source: Silence(silent_id, since) for source, _, _, silent_id, since in rows if silent_id is not None},
    )


async def load_sessions(
    connection: AsyncConnection[Any], partition: int, keys: Collection[Key], since: datetime
) -> dict[Key, Session]:
    """Return the states of those `keys` that the partition knows; `since` is the append time of the first record."""
    if not keys:
        return {}
    async with as_projector(connection):
        cursor = await connection.execute(
            statement("load_sessions"),
            {
                "tenants": _SEPARATOR.join(key[0] for key in keys),
                "session_ids": _SEPARATOR.join(key[1] for key in keys),
                "partition": partition,
                "since": since - timedelta(days=MEMORY_DAYS),
            },
        )
        return {(row[0], row[1]): session_of(row) async for row in cursor}


async def advance(
    connection: AsyncConnection[Any], owned: Owned, topic: str, offsets: tuple[int, int], last: Record | None
) -> None:
    """Move a position from the first to the second of `offsets`; `last` is the last record before the second.

    This is the fence: raises `Fenced` when the position is no longer where this owner left it, in its epoch.
    """
    cursor = await connection.execute(
        statement("advance"),
        {
            "topic": topic,
            "partition": owned.partition,
            "epoch": owned.epoch,
            "from_offset": offsets[0],
            "next_offset": offsets[1],
            "record_offset": None if last is None else last.offset,
            "record_crc": None if last is None else record_crc(last),
            "record_appended_at": None if last is None else last.appended_at,
        },
    )
    if cursor.rowcount != 1:
        raise Fenced(f"another process took over {topic}, partition {owned.partition}, from epoch {owned.epoch}")


async def tell_complete(connection: AsyncConnection[Any], owned: Owned, complete_to: datetime | None) -> None:
    """Tell up to which instant all that was appended is applied, if it is known anew."""
    if complete_to is not None:
        # With the heartbeats, whose position the same transaction has locked: no second order of locks.
        place = {"topic": HEARTBEATS, "partition": owned.partition, "epoch": owned.epoch, "complete_to": complete_to}
        await connection.execute(statement("complete_position"), place)


async def stage_changes(
    connection: AsyncConnection[Any], changes: Changes, live: Mapping[Key, int], opening: Mapping[Key, int]
) -> None:
    """Copy what a batch changed into temporary tables, within the caller's transaction and before its fence.

    `live` gives the slots of the sessions that have a live row, `opening` those of the ones that get one.
    """
    if changes.entries:
        async with connection.cursor() as cursor, cursor.copy(_COPY_STAGE) as copy:
            for row in _stage_rows(changes, live, opening):
                await copy.write_row(row)
    await stage_dead_letters(connection, changes.dead_letters)


async def apply_changes(connection: AsyncConnection[Any], changes: Changes) -> None:
    """Write what was staged of a batch, in the same transaction."""
    if changes.entries:
        await connection.execute(statement("apply_stage"))
    await apply_dead_letters(connection, changes.dead_letters)
    await _write_decisions(connection, changes.decisions)


def _stage_rows(changes: Changes, live: Mapping[Key, int], opening: Mapping[Key, int]) -> Iterable[tuple[Any, ...]]:
    reopened = {entry.fact.key for entry in changes.entries if entry.revision == 1 and entry.fact.key in live}
    for entry in changes.entries:
        key, session = entry.fact.key, entry.session
        on_stage: tuple[Any, ...] = _ON_STAGE
        if session is not None and session is changes.sessions[key]:
            if session.logout is not None:
                on_stage = (None, key in live, None, None, None, None)
            else:
                assert session.login is not None
                on_stage = (
                    live[key] if key in live else opening[key],
                    key in reopened,
                    session.revision,
                    session.offset,
                    session.appended_at,
                    session.login.appended_at,
                )
        yield history_row(entry) + on_stage + (entry.supersedes or (None, None))


async def stage_dead_letters(connection: AsyncConnection[Any], letters: Sequence[DeadLetter]) -> None:
    """Copy records that could not be applied into a temporary table; see `stage_changes`."""
    if letters:
        async with connection.cursor() as cursor, cursor.copy(_COPY_DEAD_LETTER) as copy:
            for letter in letters:
                await copy.write_row(_dead_row(letter))


async def apply_dead_letters(connection: AsyncConnection[Any], letters: Sequence[DeadLetter]) -> None:
    """Keep the records that were staged, in the same transaction."""
    if letters:
        await connection.execute(statement("apply_dead_letters"))


def _dead_row(letter: DeadLetter) -> tuple[Any, ...]:
    record = letter.record
    headers = Jsonb([[name.replace("\0", "\\0"), value.hex()] for name, value in record.headers])
    return (
        record.topic,
        record.partition,
        record.offset,
        record.appended_at,
        letter.reason,
        letter.detail,
        letter.tenant,
        letter.session_id,
        record.key,
        headers,
        record.value[:DEAD_VALUE_BYTES_MAX],
        len(record.value),
    )


async def _write_decisions(connection: AsyncConnection[Any], decisions: Iterable[Decision]) -> None:
    for decision in decisions:
        record, event = decision.record, decision.event
        place = {"partition": record.partition, "offset": record.offset, "appended_at": record.appended_at}
        match event:
            case SourceBound(data=data):
                await connection.execute(statement("bind_source"), structs.asdict(data) | place)
                await write_told_act(connection, event)
            case GapAccepted(data=data):
                await connection.execute(statement("accept_gap"), structs.asdict(data) | place)
                await write_told_act(connection, event)
            case TenantConfigured(tenant=tenant, data=data):
                place |= {"tenant": tenant}
                setting = Jsonb(to_builtins(structs.replace(data, who=None)))
                await connection.execute(statement("configure_tenant"), place | {"setting": setting})
                await connection.execute(statement("show_tenant"), structs.asdict(data) | place)
                await write_told_act(connection, event)
            case BrokerSilent(id=silent_id, data=data):
                silence = {"source": data.source, "silent_since": data.last_heard_at, "silent_id": silent_id}
                await connection.execute(statement("silence_broker"), silence | place)
            case BrokerReturned(data=data):
                silence = {"source": data.source, "silent_since": None, "silent_id": None}
                await connection.execute(statement("silence_broker"), silence | place)
            case DeadLetterResolved():
                pass


async def count_dispositions(
    connection: AsyncConnection[Any], topic: str, partition: int, dispositions: Counter[str]
) -> None:
    """Add to the counts of what became of the records of a partition."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            statement("count_dispositions"),
            [
                {"topic": topic, "partition": partition, "disposition": disposition, "records": records}
                for disposition, records in sorted(dispositions.items())
            ],
        )


async def insert_tenants(connection: AsyncConnection[Any], first: Mapping[str, Record]) -> None:
    """Make tenants known, each with the first record that names it."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            statement("insert_tenant"),
            [
                {
                    "tenant": tenant,
                    "appended_at": record.appended_at,
                    "partition": record.partition,
                    "offset": record.offset,
                }
                for tenant, record in sorted(first.items())
            ],
        )
