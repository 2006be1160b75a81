"""The checker: after any fault the tables are what the independent model makes of the acknowledged bytes (I1–I5)."""

import operator
import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from typing import Final, LiteralString, NamedTuple

from psycopg.rows import dict_row

from sojourn.events.embedded.database import Database
from sojourn.events.log import Log, Record
from tests.fault.comparing import Row, compare, differ, key_of, place_of, row_place
from tests.model.folding import LIFECYCLE, Outcome, project
from tests.model.folding import Place as SessionPlace
from tests.model.liveness import TOPIC as HEARTBEATS
from tests.model.liveness import Beat, beats, newest, sessions_of
from tests.model.reading import ALIVE, Headers, Reading, Refused, read
from tests.model.reading import HEARTBEATS as MANY
from tests.model.telling import Entry

SHOWN_MAX = 20  # problems: more only repeat the first
DEAD_VALUE_BYTES_MAX = 1 << 20  # what a dead letter keeps of its bytes

TABLES: Final[dict[str, LiteralString]] = {
    "live_session": "SELECT * FROM sojourn_v1.live_session",
    "live_detail": "SELECT * FROM sojourn_v1.live_detail",
    "session_history": "SELECT * FROM sojourn_v1.session_history",
    "ended_session": "SELECT * FROM sojourn.ended_session",
    "superseded": "SELECT * FROM sojourn_v1.superseded",
    "dead_letter": "SELECT * FROM sojourn_v1.dead_letter",
    "disposition": "SELECT * FROM sojourn_v1.disposition",
    "position": "SELECT * FROM sojourn_v1.position",
    "partition_owner": "SELECT * FROM sojourn.partition_owner",
    "tenant_config": "SELECT * FROM sojourn_v1.tenant_config",
    "broker": "SELECT * FROM sojourn_v1.broker",
    "accepted_gap": "SELECT * FROM sojourn_v1.accepted_gap",
    "session_count": "SELECT * FROM sojourn_v1.session_count",
    "tenant_setting": "SELECT * FROM sojourn_v1.tenant_setting",
    "command": "SELECT * FROM sojourn_v1.command",
}
OPEN_SESSIONS: Final = "SELECT * FROM sojourn.current_session"


class Scene(NamedTuple):
    """All there is to compare: the log, the tables, and what the model makes of the log."""

    partitions: int
    records: dict[tuple[str, int, int], Record]
    ends: dict[tuple[str, int], int]
    tables: dict[str, list[Row]]
    expected: Outcome
    beats: dict[SessionPlace, list[Beat]]


async def check(database: Database, log: Log, acknowledged: Iterable[bytes]) -> None:
    """Raise AssertionError with what is wrong. All that stands in the log must be applied and flushed by now.

    `acknowledged` are the values that publishers were told are in the log; it may hold more, from publishers that were
    killed before the answer.
    """
    scene = await look(database, log)
    problems = [f"{check_one.__name__}: {problem}" for check_one in CHECKS for problem in check_one(scene)]
    problems += [f"unacknowledged: {problem}" for problem in missing_values(scene, acknowledged)]
    more = len(problems) - SHOWN_MAX
    assert not problems, "\n".join([*problems[:SHOWN_MAX], *([f"and {more} more"] if more > 0 else [])])


async def look(database: Database, log: Log) -> Scene:
    partitions = await log.partitions(LIFECYCLE)
    records, ends = {}, {}
    for topic in (LIFECYCLE, HEARTBEATS):
        starts, tops = await log.start_offsets(topic), await log.end_offsets(topic)
        for partition in range(partitions):
            ends[topic, partition] = tops[partition]
            async for record in read_all(log, topic, partition, starts[partition], tops[partition]):
                records[topic, partition, record.offset] = record
    async with await database.connect() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        tables = {name: await (await cursor.execute(query)).fetchall() for name, query in TABLES.items()}
        tables["current_session"] = []
        for tenant in sorted({row["tenant"] for row in tables["live_session"]}):  # the view shows one tenant at a time
            await cursor.execute("SELECT set_config('sojourn.tenant', %s, false)", [tenant])
            tables["current_session"] += await (await cursor.execute(OPEN_SESSIONS)).fetchall()
    entries = [Entry(*record) for record in records.values()]
    return Scene(partitions, records, ends, tables, project(entries, partitions), beats(entries))


async def read_all(log: Log, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Record]:
    offset = start
    while offset < end:
        batch = await log.read(topic, partition, offset)
        for record in batch.records:
            yield record
        assert batch.next_offset > offset, f"{topic}, partition {partition} stands still at {offset} before {end}"
        offset = batch.next_offset


# --- I1: every acknowledged event is in the log, every record has exactly one outcome ---------------------------------


def missing_values(scene: Scene, acknowledged: Iterable[bytes]) -> Iterator[str]:
    """Name the acknowledged values that the log does not hold, as often as they were acknowledged."""
    held: Counter[bytes] = Counter()
    alive: Counter[bytes] = Counter()
    proven: set[tuple[str, datetime, str | None, str]] = set()
    for (topic, partition, _), record in scene.records.items():
        held[record.value] += 1
        alive[record.value] += topic == HEARTBEATS and partition == 0
        if topic == HEARTBEATS and (said := reading(record.value, record.headers)) is not None:
            proven.update((said.source, said.time, said.tenant, session) for session, _ in sessions_of(said))
    for value, times in Counter(acknowledged).items():
        said = reading(value)
        if said is not None and said.type == MANY:  # publishers split it by partition
            yield from (
                f"acknowledged, but the log does not hold the heartbeat of {session!r} in {value[:200]!r}"
                for session, _ in sessions_of(said)
                if (said.source, said.time, said.tenant, session) not in proven
            )
        elif (alive if said is not None and said.type == ALIVE else held)[value] < times:
            yield f"acknowledged {times} times, in the log {held[value]} times: {value[:200]!r}"


def reading(value: bytes, headers: Headers = ()) -> Reading | None:
    try:
        return read(value, headers)
    except Refused:
        return None


def check_dispositions(scene: Scene) -> Iterator[str]:
    """Every record of lifecycle has one disposition; the counts add up to the position."""
    found = Counter({(r["topic"], r["partition"], r["disposition"]): r["records"] for r in scene.tables["disposition"]})
    lifecycle = Counter({key: records for key, records in found.items() if key[0] == LIFECYCLE})
    if lifecycle != scene.expected.dispositions:
        yield f"counted {dict(lifecycle)}, expected {dict(scene.expected.dispositions)}"
    for row in scene.tables["position"]:
        counted = sum(n for (topic, number, _), n in lifecycle.items() if (topic, number) == place_of(row))
        if row["topic"] == LIFECYCLE and counted != row["next_offset"]:
            yield f"{counted} dispositions in partition {row['partition']} at position {row['next_offset']}"
    dead = Counter(place[:2] for place in scene.expected.dead_letters if place[0] == HEARTBEATS)
    counted_dead = Counter({key[:2]: n for key, n in found.items() if key[0] == HEARTBEATS and key[2] == "dead_letter"})
    if dead != counted_dead:
        yield f"dead heartbeats counted {dict(counted_dead)}, expected {dict(dead)}"
    known = {key_of(row) for row in scene.expected.history.values() if row["revision"] is not None}
    named: Counter[int] = Counter()
    for key in scene.beats.keys() & known:
        named[key[0]] += len(scene.beats[key])
    for partition in range(scene.partitions):
        applied = found[HEARTBEATS, partition, "applied"]
        alive = sum(
            (said := reading(record.value, record.headers)) is not None and said.type == ALIVE
            for (topic, number, _), record in scene.records.items()
            if (topic, number) == (HEARTBEATS, partition)
        )
        if applied > named[partition] + alive:
            yield f"{applied} heartbeats applied in partition {partition}, which holds {named[partition] + alive}"


def check_dead_letters(scene: Scene) -> Iterator[str]:
    named = {
        (LIFECYCLE, *place): {"tenant": row["tenant"], "session_id": row["session_id"]}
        for place, row in scene.expected.history.items()
    }
    expected = {
        place: {
            **named.get(place, {}),
            "reason": letter.reason,
            "key": letter.entry.key,
            "value": letter.entry.value[:DEAD_VALUE_BYTES_MAX],
            "value_bytes": len(letter.entry.value),
            "resolution": letter.resolution,
            "mended": letter.mended,
            "resolved": letter.resolved or (None, None),
            "is_waiting": letter.waits,
        }
        for place, letter in scene.expected.dead_letters.items()
    }
    found = [
        row | {"resolved": (row["resolved_offset"], row["resolved_appended_at"]), "is_waiting": bool(row["waits"])}
        for row in scene.tables["dead_letter"]
    ]
    yield from compare(expected, found, lambda row: (row["topic"], *row_place(row)))


# --- I1, liveness --------------------------------------------------------------------------------------------------


def check_last_seen(scene: Scene) -> Iterator[str]:
    """Last-seen is no older than the newest heartbeat since the session is known, and no newer than all of them.

    A session that is opened, or reopened, by an event that comes after its `established` counts as seen by that, too.
    """
    for row in scene.tables["current_session"]:
        key = key_of(row)
        live = scene.expected.live.get(key)
        if live is None:
            continue  # check_live says so
        began = live["established_appended_at"]
        told = [beat.appended_at for beat in scene.beats.get(key, [])]
        earliest = max([began, *(at.replace(microsecond=0) for at in told if at >= began)])
        latest = max([began, live["appended_at"], *told])
        if not earliest <= row["last_seen_at"] <= latest:
            yield f"{key} last seen at {row['last_seen_at']}, not within {earliest} to {latest}"


def check_details(scene: Scene) -> Iterator[str]:
    """Of what else heartbeats said of an open session the newest stands there; no closed session has any."""
    details = {key_of(row): row for row in scene.tables["live_detail"]}
    yield from (f"details of a session that is not open: {key}" for key in details.keys() - scene.expected.live.keys())
    for key, live in scene.expected.live.items():
        told = scene.beats.get(key, [])
        since = [beat for beat in told if beat.appended_at >= live["established_appended_at"]]
        for column in ("current_client_ip", "idle_seconds", "round_trip_ms"):
            value = details[key][column] if key in details else None
            # A heartbeat that came before the session was known is held for a while only: it may count, or not.
            allowed = {newest(since, column)} - {None} or {None, newest(told, column)}
            if value not in allowed:
                yield f"{column} of {key} is {value!r}, not {allowed}"


def check_slots(scene: Scene) -> Iterator[str]:
    slots = Counter((row["partition"], row["slot"]) for row in scene.tables["live_session"])
    yield from (f"slot {place} belongs to {times} sessions" for place, times in slots.items() if times > 1)
    yield from (f"slot {place} is negative" for place in slots if place[1] < 0)


# --- what Sojourn decided ---------------------------------------------------------------------------------------------


def check_decisions(scene: Scene) -> Iterator[str]:
    """Every partition holds the bindings, gaps, settings and silences that its own log names."""
    rules = scene.expected.rules.items()
    brokers = [row for row in scene.tables["broker"] if row["partitioner"] is not None]
    bound = {(row["partition"], row["source"]): (row["partitioner"], row["tenants"]) for row in brokers}
    yield from differ(
        "bound are", bound, {(at, source): to for at, one in rules for source, to in one.bindings.items()}
    )
    gaps = {(row["partition"], row["from_offset"], row["to_offset"]) for row in scene.tables["accepted_gap"]}
    yield from differ("accepted gaps are", gaps, {(at, *gap) for at, one in rules for gap in one.gaps})
    silent = {
        (row["partition"], row["source"]): (row["silent_id"], row["silent_since"])
        for row in scene.tables["broker"]
        if row["silent_id"] is not None
    }
    yield from differ(
        "silent are", silent, {(at, source): to for at, one in rules for source, to in one.silent.items()}
    )
    settings = {(row["partition"], row["tenant"]): row["setting"] for row in scene.tables["tenant_setting"]}
    expected = {
        (at, tenant): {name: value for name, value in setting.items() if value not in (None, {})}
        for at, one in rules
        for tenant, setting in one.settings.items()
    }
    yield from differ("settings are", settings, expected)


def check_commands(scene: Scene) -> Iterator[str]:
    """Every command is where the events about it have brought it."""
    place = operator.itemgetter("partition", "tenant", "command_id")
    yield from compare(scene.expected.commands, scene.tables["command"], place)


# --- I2: live and history are the model's ---------------------------------------------------------------------------


def check_live(scene: Scene) -> Iterator[str]:
    yield from compare(scene.expected.live, scene.tables["live_session"], key_of)
    seen = Counter(map(key_of, scene.tables["current_session"]))
    if seen != Counter(scene.expected.live.keys()):
        yield f"the view of open sessions holds {len(seen)} of {len(scene.expected.live)}"


def check_counts(scene: Scene) -> Iterator[str]:
    """Hold the counters above the lists against the numbers of rows."""
    columns = operator.itemgetter("tenant", "partition", "broker", "state")
    counted = {columns(row): row["sessions"] for row in scene.tables["session_count"] if row["sessions"]}
    yield from differ("counted are", counted, dict(Counter(map(columns, scene.tables["live_session"]))))


def check_history(scene: Scene) -> Iterator[str]:
    yield from compare(scene.expected.history, scene.tables["session_history"], row_place)


def check_digests(scene: Scene) -> Iterator[str]:
    """Two rows have the same digest exactly when their events have the same content."""
    contents: dict[bytes, set[str]] = defaultdict(set)
    digests: dict[str, set[bytes]] = defaultdict(set)
    for row in scene.tables["session_history"]:
        record = scene.records.get((LIFECYCLE, row["partition"], row["offset"]))
        said = None if record is None else reading(record.value, record.headers)
        if said is not None:
            contents[row["digest"]].add(said.content)
            digests[said.content].add(row["digest"])
    yield from (f"one digest for {len(same)} contents: {min(same)}" for same in contents.values() if len(same) > 1)
    yield from (f"{len(several)} digests for: {content}" for content, several in digests.items() if len(several) > 1)


def check_superseded(scene: Scene) -> Iterator[str]:
    expected = {
        place: {
            "tenant": scene.expected.history[place]["tenant"],
            "by_offset": by[1],
            "by_appended_at": by[2],
        }
        for place, by in scene.expected.superseded.items()
    }
    yield from compare(expected, scene.tables["superseded"], row_place)
    ended = {
        place
        for place, row in scene.expected.history.items()
        if row["revision"] is not None and row["logout_at"] is not None and place not in expected
    }
    listed = Counter(map(row_place, scene.tables["ended_session"]))
    if listed != Counter(ended):
        yield f"the list of ended sessions holds {len(listed)} of {len(ended)}"


def check_tenants(scene: Scene) -> Iterator[str]:
    found = {row["tenant"]: row for row in scene.tables["tenant_config"]}
    if found.keys() != scene.expected.tenants:
        yield f"tenants {sorted(found)}, expected {sorted(scene.expected.tenants)}"
    for tenant, row in found.items():
        record = scene.records.get((LIFECYCLE, row["partition"], row["offset"]))
        said = None if record is None else reading(record.value, record.headers)
        if record is None or said is None or (said.tenant, record.appended_at) != (tenant, row["appended_at"]):
            yield f"{tenant} is said to begin with a record that is not its own: {place_of(row)} {row['offset']}"


# --- I3, I4, I5: position and data, one writer, no lag ----------------------------------------------------------------


def check_positions(scene: Scene) -> Iterator[str]:
    """All is applied, and each position names the last record that was, by its own fingerprint."""
    found = {place_of(row): row for row in scene.tables["position"]}
    for place, end in scene.ends.items():
        row = found.get(place)
        if row is None:
            yield f"{place} has no position"
            continue
        if row["next_offset"] != end:
            yield f"{place} stands at {row['next_offset']}, the log ends at {end}"
        last = scene.records.get((*place, end - 1))
        if last is not None:
            crc = zlib.crc32(last.value, zlib.crc32(last.key or b""))
            fingerprint = (row["record_offset"], row["record_crc"], row["record_appended_at"])
            if fingerprint != (last.offset, crc, last.appended_at):
                yield f"{place} remembers another last record: {fingerprint}"


def check_owners(scene: Scene) -> Iterator[str]:
    """Both positions of a partition belong to its newest owner's epoch."""
    epochs = {row["partition"]: row["epoch"] for row in scene.tables["partition_owner"]}
    for row in scene.tables["position"]:
        if row["epoch"] != epochs.get(row["partition"]):
            yield f"{place_of(row)} is in epoch {row['epoch']}, its owner in {epochs.get(row['partition'])}"


CHECKS: Final[tuple[Callable[[Scene], Iterator[str]], ...]] = (
    check_positions,
    check_owners,
    check_dispositions,
    check_dead_letters,
    check_live,
    check_counts,
    check_history,
    check_digests,
    check_superseded,
    check_tenants,
    check_last_seen,
    check_details,
    check_slots,
    check_decisions,
    check_commands,
)
