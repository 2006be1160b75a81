"""Brokers that are bound to a partitioner, or publish in binary mode: the command, and the tables that come of it."""

import json
import urllib.request
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from sojourn.consumers import keeper as keeper_module
from sojourn.consumers import replay as replay_module
from sojourn.consumers.replay import replay
from sojourn.events.codec import encode
from sojourn.events.decision_data import TenantConfiguredData
from sojourn.events.decisions import source_bound, tenant_configured
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.log import Append
from sojourn.events.publisher import Publisher, route
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT, session_key, session_partition
from sojourn.events.types import SourceBound, TenantConfigured
from sojourn.projections.facts import Key
from sojourn.projections.session import Session, pack
from tests.fault.checker import check
from tests.integration.command import Command
from tests.integration.command_line import Run, run_here, up_with_examples
from tests.integration.test_host import applied, log, rows, run_until
from tests.unit.events import destroyed, established, heartbeat, lines, to_bytes

__all__ = ["log"]  # a fixture

SOURCE = "/brokers/crc"
SESSION = ("acme", "s-1")
BY_CRC32 = session_partition(*SESSION, PARTITIONS_DEFAULT, "crc32")
BY_MURMUR2 = session_partition(*SESSION, PARTITIONS_DEFAULT)
OPEN = "SELECT partition, session_id FROM sojourn_v1.live_session"


@pytest.fixture(scope="module")
def up() -> Iterator[Command]:
    with up_with_examples() as command:
        yield command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], up: Command) -> Iterator[Run]:
    with run_here(monkeypatch, capfd, up.data_dir) as run:
        yield run


def at(partition: int, event: dict[str, Any], topic: str = LIFECYCLE, source: str = SOURCE) -> Append:
    """Return a broker's event as it is appended by partition number."""
    return Append(topic, partition, session_key(*SESSION), to_bytes({**event, "source": source}))


async def folded_again(log: EmbeddedLog) -> dict[tuple[str, str], bytes]:
    """Return what a replay of the whole log makes of each session."""
    sessions: dict[tuple[str, str], bytes] = {}

    def take(some: Iterable[tuple[Key, Session]]) -> None:
        sessions.update({key: pack(session) for key, session in some})

    await replay(log, await log.end_offsets(LIFECYCLE), take, lambda _: None)
    return sessions


async def newest_states(database: Database) -> dict[tuple[str, str], bytes]:
    """Return what history says of each session."""
    query = "SELECT tenant, session_id, memory FROM sojourn_v1.session_history WHERE memory IS NOT NULL"
    found = await rows(database, f'{query} ORDER BY partition, "offset"')
    return {(tenant, session_id): memory for tenant, session_id, memory in found}


async def bind(log: EmbeddedLog) -> list[bytes]:
    value = encode(source_bound(SOURCE, "crc32", datetime.now(UTC)))
    await Publisher(log).publish([value])
    return [value]


def test_the_command_binds_a_broker_in_every_partition_and_repeating_it_changes_nothing(up: Command, run: Run) -> None:
    assert run("brokers", "list").out.startswith("no broker is bound and none has a token")
    assert run("brokers", "list", "--json").out == ""

    said = run("brokers", "set", SOURCE, "--partitioner", "crc32")
    up.wait_applied()
    before = next(row for row in up.rows("status") if "dispositions" in row)["dispositions"]
    again = json.loads(run("brokers", "set", SOURCE, "--partitioner", "crc32", "--json").out)
    up.wait_applied()

    assert said.out.splitlines()[0] == "bound /brokers/crc to crc32 and any tenant in 12 partitions"
    assert again == {"source": SOURCE, "partitioner": "crc32", "tenants": None, "partitions": 12}
    after = next(row for row in up.rows("status") if "dispositions" in row)["dispositions"]
    assert after == before | {"duplicate": before.get("duplicate", 0) + 12}
    (row,) = up.rows("brokers", "list")
    assert row.pop("bound_at").endswith("Z")
    bound = {"source": SOURCE, "partitioner": "crc32", "tenants": None, "applied": 12, "partitions": 12}
    assert row == bound | dict.fromkeys(("token", "token_tenants", "expires_at", "revoked_at", "last_used_at"))
    lines = run("brokers", "list").out.splitlines()
    assert lines[0].split()[:5] == ["SOURCE", "PARTITIONER", "TENANTS", "APPLIED", "TOKEN"]
    assert "in 12 of 12 partitions" in lines[1]
    assert len(lines) == 2


def test_what_is_posted_to_up_with_a_token_is_applied_like_any_other_event(up: Command, run: Run) -> None:
    port = (up.data_dir / "up.lock").read_text().rpartition(" ")[2]
    token = json.loads(run("brokers", "add", "http", "--source", "/brokers/http", "--json").out)["token"]
    sent = to_bytes(established(source="/brokers/http", tenant="posted"))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents+json"}

    url = f"http://127.0.0.1:{port}/v1/events"
    with urllib.request.urlopen(urllib.request.Request(url, sent, headers)) as answer:
        told = json.load(answer)
    up.wait_applied()

    assert told["accepted"] == 1
    (row,) = up.rows("sessions", "--tenant", "posted")
    assert (row["session_id"], row["broker"]) == ("s-1", "/brokers/http")
    (listed,) = [row for row in up.rows("brokers", "list") if row["source"] == "/brokers/http"]
    assert listed["last_used_at"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((SOURCE, "--partitioner", "fnv1a"), "fnv1a"),
        ((SOURCE, "--tenant", "A"), "a tenant is 1 to 63 of a-z, 0-9 and -, not: 'A'"),
        (("a\nb", "--partitioner", "crc32"), "a source is 1 to 1,000 characters, no control characters, not: 'a\\nb'"),
        (("x" * 1001, "--partitioner", "crc32"), "a source is 1 to 1,000 characters"),
    ],
)
def test_what_no_broker_can_be_bound_to_is_wrong_usage(run: Run, words: tuple[str, ...], message: str) -> None:
    assert message in run("brokers", "set", *words).line(2)


def test_the_list_tells_how_many_partitions_have_the_newest_binding(
    migrated_database: Database, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    with psycopg.connect(migrated_database.dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO sojourn_v1.broker (source, partition, partitioner, bound_at)"
            " SELECT '/b', p, CASE WHEN p < 5 THEN 'murmur2' ELSE 'crc32' END,"
            " CASE WHEN p < 5 THEN '2026-11-24 09:00Z'::timestamptz ELSE '2026-11-24 08:00Z' END"
            " FROM generate_series(0, 11) AS p"
        )
    monkeypatch.setenv("SOJOURN_DATABASE_DSN", migrated_database.dsn)

    lines = run("brokers", "list").out.splitlines()

    assert lines[1].split()[:8] == ["/b", "murmur2", "any", "tenant", "in", "5", "of", "12"]
    assert lines[2] == "a partition applies a binding once it has read it: see `sojourn status`"


def test_a_broker_that_is_bound_to_tenants_is_so_in_the_log_and_the_newest_binding_counts_whole(
    up: Command, run: Run
) -> None:
    said = run("brokers", "set", "/brokers/t", "--tenant", "globex", "--tenant", "acme", "--tenant", "acme")
    up.wait_applied()
    (bound,) = [row for row in up.rows("brokers", "list") if row["source"] == "/brokers/t"]

    run("brokers", "set", "/brokers/t", "--partitioner", "crc32")
    up.wait_applied()

    assert said.out.splitlines()[0] == "bound /brokers/t to murmur2 and acme, globex in 12 partitions"
    assert (bound["partitioner"], bound["tenants"], bound["applied"]) == ("murmur2", ["acme", "globex"], 12)
    (bound,) = [row for row in up.rows("brokers", "list") if row["source"] == "/brokers/t"]
    assert (bound["partitioner"], bound["tenants"], bound["applied"]) == ("crc32", None, 12)


async def test_each_partition_has_the_bindings_that_it_has_read(migrated_database: Database, log: EmbeddedLog) -> None:
    value = (await bind(log))[0]
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))
    back = encode(source_bound(SOURCE, "murmur2", datetime.now(UTC)))
    await log.append([Append(LIFECYCLE, partition, None, back) for partition in range(5)])
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    bound = await rows(migrated_database, "SELECT partitioner, count(*) FROM sojourn_v1.broker GROUP BY 1 ORDER BY 1")

    assert bound == [("crc32", 7), ("murmur2", 5)]
    await check(migrated_database, log, [value] * 12 + [back] * 5)


async def test_who_binds_a_broker_or_sets_a_tenant_is_told_once_for_each_tenant_whatever_the_partitions(
    migrated_database: Database, log: EmbeddedLog
) -> None:
    now = datetime.now(UTC)
    events: list[SourceBound | TenantConfigured] = [
        source_bound(SOURCE, "crc32", now, ["globex", "acme"], "ada"),
        source_bound("/brokers/any", "crc32", now, who="ada"),
        source_bound("/brokers/untold", "crc32", now),
        tenant_configured("acme", TenantConfiguredData(heartbeat_timeout_seconds=60, who="mary"), now),
        tenant_configured("acme", TenantConfiguredData(heartbeat_timeout_seconds=60, who="ada"), now),  # as it was
    ]
    values = [encode(event) for event in events]
    for value in values:
        await Publisher(log).publish([value])
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    query = (
        "SELECT tenant, actor, action, subject, result, origin, at FROM sojourn.admin_action ORDER BY action, tenant"
    )
    binding = ("ada", "broker.set", SOURCE, "done: crc32, for acme, globex", "the log", now)
    assert await rows(migrated_database, query) == [
        ("acme", *binding),
        ("globex", *binding),
        ("~platform", "ada", "broker.set", "/brokers/any", "done: crc32, for any tenant", "the log", now),
        ("acme", "mary", "tenant.set", "acme", 'done: {"heartbeat_timeout_seconds":60}', "the log", now),
    ]
    await check(migrated_database, log, [value for value in values for _ in range(PARTITIONS_DEFAULT)])


@pytest.mark.parametrize("after", ["a restart", "a batch"])
async def test_a_binding_holds_after(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    monkeypatch.setattr(replay_module, "BATCH_RECORDS_MAX", 1)
    published = await bind(log)
    if after == "a restart":
        await run_until(migrated_database, log, lambda: applied(log, migrated_database))
    else:
        monkeypatch.setattr(keeper_module, "BATCH_RECORDS_MAX", 1)
    appends = [at(BY_CRC32, established()), at(BY_MURMUR2, destroyed()), at(BY_CRC32, heartbeat(), HEARTBEATS)]

    await log.append([*appends, at(BY_MURMUR2, heartbeat(), HEARTBEATS)])
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    assert await rows(migrated_database, OPEN) == [(BY_CRC32, "s-1")]
    letters = await rows(migrated_database, "SELECT partition, reason, detail FROM sojourn_v1.dead_letter")
    assert [letter[:2] for letter in letters] == [(BY_MURMUR2, "wrong_partition")]
    assert f"sojourn brokers set {SOURCE} --partitioner murmur2" in letters[0][2]
    counted = await rows(
        migrated_database,
        "SELECT partition FROM sojourn_v1.disposition WHERE topic = 'sojourn.heartbeats' AND disposition = 'misrouted'",
    )
    assert counted == [(BY_MURMUR2,)]
    assert await folded_again(log) == await newest_states(migrated_database)
    await check(migrated_database, log, [*published, *(append.value for append in appends)])


async def test_events_in_binary_mode_are_applied_and_the_same_in_structured_mode_are_duplicates(
    migrated_database: Database, log: EmbeddedLog
) -> None:
    lifecycle = [line for line in lines("examples") if b"established" in line or b"destroyed" in line]
    in_binary_mode = []
    for append in (append for line in lifecycle for append in route(line, PARTITIONS_DEFAULT)):
        document = json.loads(append.value)
        value = json.dumps(document.pop("data")).encode()
        headers = [(f"ce_{name}", text.encode()) for name, text in document.items() if name != "datacontenttype"]
        in_binary_mode.append(append._replace(value=value, headers=(("content-type", b"application/json"), *headers)))

    await log.append(in_binary_mode)
    await Publisher(log).publish(lifecycle)
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    counts = "SELECT disposition, sum(records)::integer FROM sojourn_v1.disposition GROUP BY 1 ORDER BY 1"
    assert await rows(migrated_database, counts) == [("applied", 9), ("duplicate", 9)]
    assert await folded_again(log) == await newest_states(migrated_database)
    await check(migrated_database, log, [*(append.value for append in in_binary_mode), *lifecycle])


@pytest.mark.parametrize("first", ["established", "destroyed"])
async def test_a_session_in_two_partitions_is_two_whichever_is_applied_first(
    migrated_database: Database, log: EmbeddedLog, first: str
) -> None:
    parts = {
        "established": at(BY_MURMUR2, established(), source="/brokers/other"),
        "destroyed": at(BY_CRC32, destroyed()),
    }
    published = await bind(log)
    for name in sorted(parts, key=lambda name: name != first):
        await log.append([parts[name]])
        await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    assert await rows(migrated_database, OPEN) == [(BY_MURMUR2, "s-1")]
    told = await rows(
        migrated_database,
        "SELECT partition, disposition, revision FROM sojourn_v1.session_history ORDER BY revision, 2",
    )
    assert told == [(BY_MURMUR2, "applied", 1), (BY_CRC32, "orphan", 1)]
    await check(migrated_database, log, [*published, *(append.value for append in parts.values())])
