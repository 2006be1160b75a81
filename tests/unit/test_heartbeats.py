"""What becomes of heartbeat records: applied, held, misrouted, dead letters."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from sojourn.consumers.heartbeats import apply_heartbeats
from sojourn.consumers.liveness import Liveness
from sojourn.consumers.signs import Signs
from sojourn.events.log import Record
from sojourn.events.topics import HEARTBEATS, session_partition
from sojourn.projections.decided import NOTHING_DECIDED, Decided
from tests.unit.events import gap_accepted, source_bound

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
PARTITIONS = 12
EVENTS = Path(__file__).parents[1] / "integration" / "events"
HOME = session_partition("acme", "s-1001", PARTITIONS)


def record(document: dict[str, object] | bytes, partition: int = HOME) -> Record:
    value = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return Record(HEARTBEATS, partition, 0, NOW, None, value, ())


def beat(kind: str, **fields: object) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": "b-1",
        "source": "/brokers/eu-1",
        "type": kind,
        "time": "2026-11-24T08:00:00Z",
        "tenant": "acme",
        **fields,
    }


NOBODY = Signs(())


def knowing(*sessions: str) -> Liveness:
    return Liveness({("acme", session): slot for slot, session in enumerate(sessions)}, {})


def test_one_record_counts_once_for_each_session_that_it_names() -> None:
    liveness = knowing("s-1001", "s-1002")
    data = {"sessions": ["s-1001", "s-1002"], "details": {"s-1001": {"idle_seconds": 3}}}

    counts, dead = apply_heartbeats(
        [record(beat("sojourn.session.heartbeats.v1", data=data))], liveness, NOBODY, PARTITIONS, NOTHING_DECIDED
    )

    assert (+counts, dead) == ({"applied": 2}, [])
    assert list(liveness.flush().details) == [("acme", "s-1001")]


def test_a_record_that_only_names_sessions_marks_each_that_is_open_and_holds_the_others() -> None:
    liveness = knowing("s-1001", "s-1002")
    data = {"sessions": ["s-1002", "s-1001", "s-none"]}

    counts, dead = apply_heartbeats(
        [record(beat("sojourn.session.heartbeats.v1", data=data), partition=_home("s-none"))],
        liveness,
        NOBODY,
        PARTITIONS,
        NOTHING_DECIDED,
    )

    (page, seen), *others = liveness.flush().pages
    seconds = int(NOW.timestamp()).to_bytes(4, "big")
    assert (+counts, dead) == ({"applied": 2}, [])
    assert (page, seen[:12], others) == (0, seconds * 2 + bytes(4), [])
    assert liveness.expire(None) == 1


def _home(session: str) -> int:
    return session_partition("acme", session, PARTITIONS)


def test_a_heartbeat_of_an_unknown_session_waits_if_it_stands_in_the_right_partition() -> None:
    liveness = knowing()
    single = beat("sojourn.session.heartbeat.v1", subject="s-1001")

    here, _ = apply_heartbeats([record(single)], liveness, NOBODY, PARTITIONS, NOTHING_DECIDED)
    elsewhere, _ = apply_heartbeats(
        [record(single, (HOME + 1) % PARTITIONS)], liveness, NOBODY, PARTITIONS, NOTHING_DECIDED
    )

    assert +here == {}
    assert +elsewhere == {"misrouted": 1}
    assert liveness.expire(None) == 1


def test_a_heartbeat_belongs_where_its_sources_own_partitioner_puts_its_session() -> None:
    by_crc32 = session_partition("acme", "s-1001", PARTITIONS, "crc32")
    single = beat("sojourn.session.heartbeat.v1", subject="s-1001")
    many = beat("sojourn.session.heartbeats.v1", data={"sessions": ["s-1001"]})
    other = {**single, "source": "/brokers/eu-2"}
    bound = Decided({"/brokers/eu-1": "crc32"}, frozenset())
    assert by_crc32 != HOME

    here, _ = apply_heartbeats(
        [record(event, by_crc32) for event in (single, many)], knowing(), NOBODY, PARTITIONS, bound
    )
    elsewhere, _ = apply_heartbeats(
        [record(event) for event in (single, many, other)], knowing(), NOBODY, PARTITIONS, bound
    )

    assert +here == {}
    assert +elsewhere == {"misrouted": 2}


@pytest.mark.parametrize("event", [source_bound(), gap_accepted()])
def test_a_decision_among_the_heartbeats_is_a_dead_letter(event: dict[str, object]) -> None:
    counts, dead = apply_heartbeats([record(event)], knowing(), NOBODY, PARTITIONS, NOTHING_DECIDED)

    assert +counts == {"dead_letter": 1}
    assert [(letter.reason, letter.tenant) for letter in dead] == [("unknown_type", None)]


def test_a_heartbeat_in_binary_mode_is_one() -> None:
    event = beat("sojourn.session.heartbeat.v1", subject="s-1001")
    headers = tuple((f"ce_{name}", str(text).encode()) for name, text in event.items())

    counts, dead = apply_heartbeats(
        [Record(HEARTBEATS, HOME, 0, NOW, None, b"", headers)],
        knowing("s-1001"),
        NOBODY,
        PARTITIONS,
        NOTHING_DECIDED,
    )

    assert (+counts, dead) == ({"applied": 1}, [])


def test_a_broker_that_is_alive_is_counted_and_changes_no_session() -> None:
    alive = beat("sojourn.broker.alive.v1", data={"sessions": 2, "interval_seconds": 10})

    counts, dead = apply_heartbeats([record(alive)], knowing("s-1001"), NOBODY, PARTITIONS, NOTHING_DECIDED)

    assert (+counts, dead) == ({"applied": 1}, [])


def test_what_is_no_heartbeat_becomes_a_dead_letter_and_stops_nothing() -> None:
    lines = (EVENTS / "examples.ndjson").read_bytes().splitlines()
    established, heartbeat = lines[0], lines[2]

    records = [record(value) for value in (b"\xff", established, heartbeat)]
    counts, dead = apply_heartbeats(records, knowing("s-1001"), NOBODY, PARTITIONS, NOTHING_DECIDED)

    assert +counts == {"applied": 1, "dead_letter": 2}
    assert [letter.reason for letter in dead] == ["not_utf8", "unknown_type"]
    assert "sojourn.lifecycle" in dead[1].detail
