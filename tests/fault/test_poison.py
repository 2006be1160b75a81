"""Fault 9: bad records among good ones. Each is a dead letter with its reason; all else flows, but its session."""

import json
import random
import signal
from collections import defaultdict
from typing import Any, Final

from sojourn.events.codec import REASONS
from sojourn.events.log import Append, Headers
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, session_key, session_partition
from tests.fault.checker import DEAD_VALUE_BYTES_MAX
from tests.fault.harness import Machine, until
from tests.fault.workload import Workload
from tests.integration.command import EVENTS

NOISE_VALUES = 150
GOOD_BETWEEN = 8  # good events after each bad one

# In the order of the lines of bad.ndjson, as its README names them.
BAD_LINES: Final = (
    "not_json", "truncated_json", "not_utf8", "unknown_type", "bad_time", "missing_field", "bad_value", "bad_ip",
    "conflict", "bad_subject", "bad_tenant", "too_deep",
)  # fmt: skip


def event(**changes: Any) -> bytes:
    """Return a good event of a session of its own, but for the changes; a change to None leaves the field out."""
    document = {
        "specversion": "1.0",
        "id": "poison-1",
        "source": "/brokers/poison",
        "type": "sojourn.session.established.v1",
        "time": "2026-11-24T08:00:00Z",
        "tenant": "acme",
        "subject": "poison",
        "data": {
            "user": {"id": "u-1", "name": "Ada"},
            "desktop": {"id": "d-1", "name": "CAD", "pool": "cad"},
            "terminal": {"type": "mobile", "os": "Android", "version": "1", "name": ""},
            "client_ip": "10.0.0.1",
            "protocol": "rdp",
        },
    }
    return json.dumps({name: value for name, value in {**document, **changes}.items() if value is not None}).encode()


def with_data(**changes: Any) -> bytes:
    return event(data={**json.loads(event())["data"], **changes})


POISON: Final[dict[bytes, str]] = {
    event(padding="x" * (2 << 20)): "too_large",
    b"\xff" * (2 << 20): "too_large",
    event().replace(b"Ada", b"A\xe4a"): "not_utf8",
    b'{"id":"\xed\xa0\x80"}': "not_utf8",  # a lone surrogate, as UTF-8 would write it
    b"[" * 200_000: "too_deep",
    b'{"a":' * 100 + b"1" + b"}" * 100: "too_deep",
    with_data(extra=json.loads("[" * 70 + "]" * 70)): "too_deep",
    event()[:-1]: "truncated_json",
    event()[:200]: "truncated_json",
    b"": "not_json",
    b"\0": "not_json",
    b"\0" * 5000: "not_json",
    b"null": "not_json",
    b'"text"': "not_json",
    event() + b"}": "not_json",
    event().replace(b'"1.0"', b"NaN"): "not_json",
    event(type="sojourn.session.exploded.v1"): "unknown_type",
    event(type="sojourn.session.lost.v1"): "missing_field",
    event(type="x" * 900_000): "unknown_type",
    event(type=None): "missing_field",
    event(data=None): "missing_field",
    event(id=None): "missing_field",
    b"{}": "missing_field",
    event(tenant="UPPER"): "bad_tenant",
    event(tenant="a/b"): "bad_tenant",
    event(tenant="acme\0"): "bad_tenant",
    event(subject="s" * 201): "bad_subject",
    event(subject="a\tb"): "bad_subject",
    event(time="2026-02-30T00:00:00Z"): "bad_time",
    event(time="0001-01-01T00:00:00+14:00"): "bad_time",
    event(time=7): "bad_time",
    with_data(client_ip="10.0.0.256"): "bad_ip",
    with_data(client_ip="fe80::1%eth0"): "bad_ip",
    with_data(user={"id": "u-1", "name": "A\0a"}): "bad_value",
    with_data(user={"id": "u\x1b[2J", "name": ""}): "bad_value",
    with_data(protocol="x" * 1001): "bad_value",
    with_data(protocol=7): "bad_value",
    event(sequence=10**30): "bad_value",
    event(sequence="-"): "bad_value",
    event().replace(b'"poison-1"', b'"poison-1","more":' + b"9" * 5000): "bad_value",
}
# A lone surrogate is no text, so no decoder takes it for one: JSON that no reader can agree on.
SURROGATE: Final = event().replace(b"Ada", b"\\ud800")


# What no bytes alone come to: bindings, decisions about letters, and the database's own objections.
ELSEWHERE: Final = {
    "tenant_mismatch", "wrong_source", "unbound_source", "wrong_letter", "parked", "refused_by_database",
}  # fmt: skip

AVRO: Final[Headers] = (("content-type", b"application/cloudevents+avro"),)


Letters = dict[tuple[bytes, int], set[str]]


async def test_every_bad_record_is_a_dead_letter_with_its_reason_and_all_others_flow(
    machine: Machine, workload: Workload
) -> None:
    process = await machine.running_up()
    examples, bad = ((EVENTS / f"{name}.ndjson").read_bytes().splitlines() for name in ("examples", "bad"))
    expected = {**POISON, **dict(zip(bad, BAD_LINES, strict=True)), SURROGATE: "not_json"}
    draw = random.Random(9)
    noise = [draw.randbytes(draw.randrange(1, 3000)) for _ in range(NOISE_VALUES)]
    await machine.publish(examples)

    for value in draw.sample([*expected, *noise], k=len(expected) + len(noise)):
        await machine.publish([value, *workload.chunk(GOOD_BETWEEN)])
    astray = await append_where_no_publisher_would(machine, examples[0])
    await machine.applied(process)

    letters = await dead_letters(machine)
    wanted = {kept(value): {reason} for value, reason in [*expected.items(), *astray.items()]}
    assert {place: letters.get(place) for place in wanted} == wanted
    assert all(kept(value) in letters for value in noise)
    assert set().union(*letters.values()) == set(REASONS) - ELSEWHERE
    assert await process.stops() == 0, process.output
    assert "partition.retry" not in process.output
    await machine.check()


async def test_dead_letters_of_any_bytes_are_listed_whole(machine: Machine) -> None:
    await machine.publish([*POISON, SURROGATE])
    await append_where_no_publisher_would(machine, event())
    await machine.conclude()

    rows, table = machine.sojourn("dead-letters", "list", "--json"), machine.sojourn("dead-letters", "list")

    assert await rows.ended() == 0, rows.output
    assert await table.ended() == 0, table.output
    letters = len(POISON) + 1 + 5
    assert [json.loads(line)["topic"] for line in rows.output.splitlines()].count(LIFECYCLE) == letters - 2
    assert len(table.output.splitlines()) == letters + 2
    assert table.output.splitlines()[-1] == f"{letters} dead letters"


async def test_a_session_waits_behind_its_bad_record_through_a_kill_and_its_resolution_is_relayed_once(
    machine: Machine,
) -> None:
    partition = session_partition("acme", "poison", await machine.log.partitions(LIFECYCLE))
    key = session_key("acme", "poison")
    end = event(id="poison-2", type="sojourn.session.destroyed.v1", data={"reason": "logoff"})
    process = await machine.running_up()
    await machine.publish([event(subject="another")])  # the tenant is known before its session is held up
    await machine.applied(process)
    await machine.append([Append(LIFECYCLE, partition, key, value) for value in (with_data(client_ip="no"), end)])
    await machine.applied(process)
    process.signal(signal.SIGKILL)
    await process.ended()

    mended = machine.data_dir.with_name("mended.json")
    mended.write_bytes(event())
    place = f"lifecycle@{partition}:0"
    asked = machine.sojourn("dead-letters", "requeue", place, "--reason", "mended", "--value", str(mended))
    assert await asked.ended() == 0, asked.output
    process = machine.up("relay.appended")
    assert await process.ended() == -signal.SIGKILL, process.output
    process = await machine.running_up()
    await until(lambda: counts(machine, applied=4, duplicate=1), "the decision was read twice", process)

    assert await process.stops() == 0, process.output
    assert await newest(machine, "poison") == (2, "ended", "u-1")
    await machine.check_tables()


async def counts(machine: Machine, **expected: int) -> bool:
    async with await machine.database.connect() as connection:
        query = "SELECT disposition, sum(records) FROM sojourn_v1.disposition GROUP BY 1 HAVING sum(records) <> 0"
        return {name: int(count) async for name, count in await connection.execute(query)} == expected


async def newest(machine: Machine, session: str) -> Any:
    query = (
        "SELECT revision, state, user_id FROM sojourn_v1.session_history WHERE session_id = %s ORDER BY revision DESC"
        " NULLS LAST LIMIT 1"
    )
    async with await machine.database.connect() as connection:
        return await (await connection.execute(query, (session,))).fetchone()


async def test_a_lifecycle_event_among_the_heartbeats_is_a_dead_letter(machine: Machine) -> None:
    await machine.log.append([Append(HEARTBEATS, 5, b"", event())])
    process = await machine.running_up()

    await machine.applied(process)

    assert await dead_letters(machine) == {kept(event()): {"unknown_type"}}
    assert await process.stops() == 0, process.output


def kept(value: bytes) -> tuple[bytes, int]:
    """Return what a dead letter keeps of a value: its beginning, and how long it was."""
    return value[:DEAD_VALUE_BYTES_MAX], len(value)


async def dead_letters(machine: Machine) -> Letters:
    letters: Letters = defaultdict(set)
    async with await machine.database.connect() as connection:
        rows = await connection.execute("SELECT value, value_bytes, reason FROM sojourn_v1.dead_letter")
        async for value, value_bytes, reason in rows:
            letters[value, value_bytes].add(reason)
    return letters


async def append_where_no_publisher_would(machine: Machine, established: bytes) -> dict[bytes, str]:
    """Append five records past the publisher, with odd keys and headers; return the reason of each."""
    said = json.loads(established)
    right = session_partition(said["tenant"], said["subject"], await machine.log.partitions(LIFECYCLE))
    misplaced, beat = established + b" ", established.replace(b"established", b"heartbeat")
    odd: Headers = (("na\0me é", b"\0\xff"), ("", b""))
    appends = [
        Append(LIFECYCLE, (right + 1) % 12, session_key(said["tenant"], said["subject"]), misplaced),
        Append(LIFECYCLE, right, b"\0\xff", beat.replace(b'"data"', b'"dota"')),
        Append(LIFECYCLE, 2, None, b"\0avro", AVRO),
        Append(HEARTBEATS, 3, None, b"\xff" * 7000, odd),
        Append(HEARTBEATS, 4, b"\xff" * 3000, b" " * (3 << 20)),
    ]
    await machine.append(appends)
    reasons = ("wrong_partition", "unknown_type", "bad_content_type", "not_utf8", "too_large")
    return {append.value: reason for append, reason in zip(appends, reasons, strict=True)}
