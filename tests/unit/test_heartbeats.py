"""What becomes of heartbeat records: applied, held, misrouted, dead letters."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sojourn.consumers.heartbeats import apply_heartbeats
from sojourn.consumers.liveness import Liveness
from sojourn.events.log import Record
from sojourn.events.topics import HEARTBEATS, session_partition

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


def knowing(*sessions: str) -> Liveness:
    return Liveness({("acme", session): slot for slot, session in enumerate(sessions)}, {})


def test_one_record_counts_once_for_each_session_that_it_names() -> None:
    liveness = knowing("s-1001", "s-1002")
    data = {"sessions": ["s-1001", "s-1002"], "details": {"s-1001": {"idle_seconds": 3}}}

    counts, dead = apply_heartbeats([record(beat("sojourn.session.heartbeats.v1", data=data))], liveness, PARTITIONS)

    assert (+counts, dead) == ({"applied": 2}, [])
    assert list(liveness.flush().details) == [("acme", "s-1001")]


def test_a_heartbeat_of_an_unknown_session_waits_if_it_stands_in_the_right_partition() -> None:
    liveness = knowing()
    single = beat("sojourn.session.heartbeat.v1", subject="s-1001")

    here, _ = apply_heartbeats([record(single)], liveness, PARTITIONS)
    elsewhere, _ = apply_heartbeats([record(single, (HOME + 1) % PARTITIONS)], liveness, PARTITIONS)

    assert +here == {}
    assert +elsewhere == {"misrouted": 1}
    assert liveness.expire(None) == 1


def test_a_broker_that_is_alive_is_counted_and_changes_no_session() -> None:
    alive = beat("sojourn.broker.alive.v1", data={"sessions": 2, "interval_seconds": 10})

    counts, dead = apply_heartbeats([record(alive)], knowing("s-1001"), PARTITIONS)

    assert (+counts, dead) == ({"applied": 1}, [])


def test_what_is_no_heartbeat_becomes_a_dead_letter_and_stops_nothing() -> None:
    lines = (EVENTS / "examples.ndjson").read_bytes().splitlines()
    established, heartbeat = lines[0], lines[2]

    records = [record(value) for value in (b"\xff", established, heartbeat)]
    counts, dead = apply_heartbeats(records, knowing("s-1001"), PARTITIONS)

    assert +counts == {"applied": 1, "dead_letter": 2}
    assert [letter.reason for letter in dead] == ["not_utf8", "unknown_type"]
    assert "sojourn.lifecycle" in dead[1].detail
