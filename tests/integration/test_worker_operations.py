"""What operators see of `sojourn worker` on real Kafka: metrics, health, logs, and how it starts and stops."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from sojourn.events.embedded.database import Database
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.kafka.topics import TOPICS, create_topics
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections import migrate
from tests.conftest import open_folder
from tests.integration.worker_process import IMPATIENT, PASSWORD, STUCK, Machine, Server, wait_until
from tests.kafka_server import KafkaServer, demand_kafka
from tests.unit.events import destroyed, established, heartbeat

PARTITIONS: Final = 2
STOP_SECONDS_MAX: Final = 10  # what operators are promised
PAYLOAD: Final = "private words"

pytestmark = pytest.mark.xdist_group("kafka-operations")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Run one broker for all tests of the module."""
    demand_kafka()
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder / "records")


@contextlib.contextmanager
def machine_on(kafka: KafkaServer, dsn: str, folder: Path) -> Iterator[Machine]:
    asyncio.run(create_topics(KafkaSettings(kafka.bootstrap_servers), PARTITIONS))
    machine = Machine(folder, kafka, dsn)
    yield machine
    machine.end()


@pytest.fixture
def machine(kafka: KafkaServer, migrated_database: Database, tmp_path: Path) -> Iterator[Machine]:
    with machine_on(kafka, migrated_database.dsn, tmp_path) as machine:
        yield machine


@pytest.fixture
def postgres(new_database: Path) -> Iterator[Server]:
    with open_folder() as folder:
        subprocess.run(["cp", "--archive", str(new_database), str(folder / "data")], check=True)
        server = Server(folder / "data")
        migrate.upgrade(server.dsn)
        yield server
        server.stop()


@pytest.fixture
def machine_alone(kafka: KafkaServer, postgres: Server, tmp_path: Path) -> Iterator[Machine]:
    with machine_on(kafka, postgres.dsn, tmp_path) as machine:
        yield machine


def known_workload(run: str) -> list[dict[str, Any] | bytes]:
    """Return events of eight dispositions; ids are of this run, since tests share the log."""
    sessions = [f"{run}-{number}" for number in range(50)]
    begun = [established(id=f"{session}-1", subject=session) for session in sessions]
    ended = [destroyed(id=f"{session}-2", subject=session, time="2026-11-24T08:30:00Z") for session in sessions[:20]]
    beats = [heartbeat(id=f"{session}-3", subject=session) for session in [*sessions[20:], f"{run}-nobody"]]
    conflict = established(id=f"{run}-0-1", subject=f"{run}-0", time="2026-11-24T08:10:00Z")
    orphan = destroyed(id=f"{run}-o-2", subject=f"{run}-orphan")
    unnamed = {**established(id=f"{run}-bad", subject=f"{run}-bad"), "data": {"private": PAYLOAD}}
    return [*begun, *ended, *begun[:7], conflict, orphan, unnamed, PAYLOAD.encode(), *beats]


def dispositions_in_tables(machine: Machine) -> dict[tuple[str, ...], float]:
    rows = machine.query("SELECT disposition, topic, sum(records) FROM sojourn.disposition GROUP BY 1, 2")
    return {(disposition, topic): float(records) for disposition, topic, records in rows}


def test_the_metrics_of_a_worker_say_what_the_tables_say(machine: Machine) -> None:
    worker = machine.ready_worker()
    before = dispositions_in_tables(machine)
    machine.publish(*known_workload("known"))

    wait_until(
        lambda: sum(dispositions_in_tables(machine).values()) - sum(before.values()) >= 50 + 20 + 7 + 4 + 30,
        "all that was published is counted",
        lambda: (dispositions_in_tables(machine), worker.output),
    )
    wait_until(
        lambda: worker.samples("sojourn_dispositions_total") == dispositions_in_tables(machine),
        "the metrics equal the tables",
        lambda: (worker.samples("sojourn_dispositions_total"), dispositions_in_tables(machine)),
    )

    counted = worker.samples("sojourn_dispositions_total")
    assert counted["duplicate", LIFECYCLE] >= 7
    assert counted["conflict", LIFECYCLE] >= 1
    assert counted["dead_letter", LIFECYCLE] >= 2
    places = {(number, topic) for number in ("0", "1") for topic in (LIFECYCLE, HEARTBEATS)}
    assert worker.samples("sojourn_lag_records") == dict.fromkeys(places, 0.0)
    assert worker.samples("sojourn_lag_seconds") == dict.fromkeys(places, 0.0)
    assert worker.samples("sojourn_partitions_owned") == {(): 2.0}
    assert worker.samples("sojourn_batch_records_sum")[LIFECYCLE,] == sum(
        count for (_, topic), count in counted.items() if topic == LIFECYCLE
    )
    assert (
        worker.samples("sojourn_commits_total")[LIFECYCLE,] == worker.samples("sojourn_batch_seconds_count")[LIFECYCLE,]
    )
    assert worker.get("/health/live")[0] == 200


def test_every_line_of_a_worker_is_json_and_none_holds_a_secret_or_what_a_record_says(machine: Machine) -> None:
    worker = machine.ready_worker()

    machine.publish(*known_workload("logged"))
    awaited = ("record.dead_letter", "partition.caught_up", '"conflict"')  # each partition logs its own when it comes
    wait_until(lambda: all(event in worker.output for event in awaited), f"{awaited} are logged", lambda: worker.output)
    ended = worker.stop()

    assert ended[0] == 0
    lines = worker.lines()
    assert (lines[0]["event"], lines[-1]["event"]) == ("worker.starting", "worker.stopped")
    assert lines[0]["kafka"] == machine.kafka.bootstrap_servers
    assert {line["event"] for line in lines} >= {"worker.assigned", "partition.owned", "partition.caught_up"}
    assert all({"timestamp", "level", "event", "worker"} <= set(line) for line in lines)
    assert not [line for line in lines if line["level"] == "error"]
    letters = [line for line in lines if line["event"] == "record.dead_letter"]
    assert all({"topic", "partition", "offset", "reason"} <= set(line) for line in letters)
    assert {"acme"} == {line["tenant"] for line in letters if "tenant" in line}
    assert "conflict" in {line["reason"] for line in letters}
    assert PAYLOAD not in worker.output
    assert PASSWORD not in worker.output


def test_a_worker_without_a_partition_is_ready_and_partitions_have_series_where_they_are(machine: Machine) -> None:
    workers = [machine.ready_worker()]
    assert len(workers[0].samples("sojourn_lag_records")) == 4

    workers += [machine.worker(), machine.worker()]

    everywhere = sorted((number, topic) for number in ("0", "1") for topic in (LIFECYCLE, HEARTBEATS))

    def shared() -> bool:  # rebalances go on meanwhile, so all is looked at again each time
        counts = [worker.samples("sojourn_partitions_owned").get((), -1) for worker in workers]
        places = [place for worker in workers for place in worker.samples("sojourn_lag_seconds")]
        well = sorted(counts) == [0, 1, 1] and all(worker.is_ready() for worker in workers)
        return well and sorted(places) == everywhere

    wait_until(shared, "each partition has one, and all are ready", lambda: [worker.output for worker in workers])
    assert workers[0].samples("sojourn_rebalances_total")[()] >= 2


def test_a_worker_is_not_ready_while_postgresql_is_away_and_is_again_by_itself(
    machine_alone: Machine, postgres: Server
) -> None:
    worker = machine_alone.ready_worker()

    postgres.stop()
    wait_until(lambda: worker.health()[0] == 503, "it is not ready though there is nothing to do", worker.health)
    machine_alone.publish(established(subject="away", id="away-1"))
    wait_until(lambda: sum(worker.samples("sojourn_lag_records").values()) > 0, "it is behind", worker.health)
    wait_until(lambda: "not owned" in str(worker.health()), "a partition is not owned", worker.health)
    wait_until(lambda: "PostgreSQL does not answer" in str(worker.health()), "it names who is away", worker.health)
    live = worker.get("/health/live")[0]
    behind = max(worker.samples("sojourn_lag_seconds").values())
    postgres.start()
    worker.wait_ready()

    assert live == 200
    assert behind > 0
    assert [line["server"] for line in worker.lines() if line["event"] == "server.away"] == ["PostgreSQL"]
    wait_until(lambda: sum(worker.samples("sojourn_lag_records").values()) == 0, "it caught up", worker.health)
    assert sum(worker.samples("sojourn_retries_total").values()) > 0
    assert worker.stop()[0] == 0


def test_a_partition_at_a_gap_is_named_with_its_reason_until_it_goes_on(machine: Machine) -> None:
    worker = machine.ready_worker()
    machine.publish(*[established(subject=f"gap-{number}", id=f"gap-{number}-1") for number in range(20)])
    applied = "SELECT partition FROM sojourn_v1.position WHERE topic = 'sojourn.lifecycle' AND record_crc IS NOT NULL"
    wait_until(lambda: len(machine.query(applied)) == PARTITIONS, "both partitions have records", worker.health)
    other_record = "UPDATE sojourn_v1.position SET record_crc = record_crc # 1 WHERE partition = 1"
    end_sessions = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    machine.command(f"{other_record}; {end_sessions}")
    machine.publish(*[established(subject=f"gap-{number}", id=f"gap-{number}-4") for number in range(20)])
    wait_until(lambda: worker.samples("sojourn_partitions_stopped") == {(): 1.0}, "it is stopped", worker.health)
    status, details = worker.health()
    machine.command(other_record)
    worker.wait_ready()

    assert status == 503
    assert details["partitions"]["1"]["state"] == "stopped"
    assert "another record than was applied" in details["partitions"]["1"]["reason"]
    assert worker.samples("sojourn_partitions_stopped") == {(): 0.0}


def test_a_partition_that_another_worker_took_is_counted_and_taken_back_by_the_one_that_the_group_chose(
    machine: Machine,
) -> None:
    worker = machine.ready_worker()

    machine.command("UPDATE sojourn_v1.position SET epoch = epoch + 1")
    machine.publish(*[established(subject=f"fence-{number}", id=f"fence-{number}-1") for number in range(20)])
    wait_until(lambda: worker.samples("sojourn_fence_losses_total") == {(): 2.0}, "both are lost", worker.health)
    worker.wait_ready()

    assert [line["partition"] for line in worker.lines() if line["event"] == "partition.owned"][2:] in ([0, 1], [1, 0])
    assert not sum(worker.samples("sojourn_retries_total").values())


@pytest.mark.parametrize("fault", ["PostgreSQL is away", "PostgreSQL hangs", "Kafka hangs"])
def test_sigterm_ends_a_worker_well_within_ten_seconds_also_while_a_server_is_away(
    machine_alone: Machine, postgres: Server, fault: str
) -> None:
    worker = machine_alone.ready_worker()
    machine_alone.publish(established(subject="last", id=f"{fault}-1"))

    if fault == "PostgreSQL is away":
        postgres.stop()
    elif fault == "PostgreSQL hangs":
        postgres.signal(signal.SIGSTOP)
    else:
        machine_alone.kafka.send(signal.SIGSTOP)
    try:
        code, seconds = worker.stop()
    finally:
        if fault == "PostgreSQL is away":
            postgres.start()
        elif fault == "PostgreSQL hangs":
            postgres.signal(signal.SIGCONT)
        else:
            machine_alone.kafka.send(signal.SIGCONT)

    assert code == 0, worker.output
    assert seconds < STOP_SECONDS_MAX, worker.output
    assert worker.lines()[-1]["event"] == "worker.stopped"


def test_a_worker_that_is_stuck_ends_though_it_cannot_stop(machine: Machine) -> None:
    worker = machine.worker(STUCK)

    code = worker.wait()

    assert code == 1
    last = worker.lines()[-1]
    assert (last["event"], last["reason"]) == ("worker.stopped", "nothing moves")


def test_a_worker_that_cannot_reach_kafka_at_its_start_ends_with_a_line_that_says_so(machine: Machine) -> None:
    worker = machine.worker(IMPATIENT, SOJOURN_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")

    code = worker.wait()

    assert code == 3
    assert worker.output.splitlines()[-1].startswith("sojourn: Kafka does not answer")


def test_a_worker_without_its_topics_says_which_command_makes_them(machine: Machine) -> None:
    asyncio.run(delete_topics(machine.kafka.bootstrap_servers))
    worker = machine.worker()

    code = worker.wait()

    assert code == 1
    assert "sojourn topics create" in worker.output.splitlines()[-1]


async def delete_topics(bootstrap_servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics(sorted(TOPICS))
    finally:
        await admin.close()


def test_a_port_in_use_is_told_in_one_line_with_the_setting_to_change(machine: Machine) -> None:
    first = machine.ready_worker()

    second = machine.worker(SOJOURN_METRICS_PORT=str(first.port))
    code = second.wait()

    assert code == 1
    assert second.output == (
        "sojourn: cannot listen on 127.0.0.1 (Address already in use); "
        f"choose another SOJOURN_METRICS_PORT: {first.port}\n"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {"SOJOURN_DATABASE_DSN": f"postgresql://sojourn:{PASSWORD}@127.0.0.1:1/sojourn"},
        {
            "SOJOURN_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "SOJOURN_KAFKA_SASL_MECHANISM": "PLAIN",
            "SOJOURN_KAFKA_USERNAME": "sojourn",
            "SOJOURN_KAFKA_PASSWORD": PASSWORD,
        },
    ],
    ids=["database", "kafka"],
)
def test_a_worker_that_cannot_sign_in_does_not_tell_its_password(machine: Machine, environ: dict[str, str]) -> None:
    worker = machine.worker(IMPATIENT, **environ)

    code = worker.wait()

    assert code in (1, 3)
    assert worker.output.splitlines()[-1].startswith("sojourn: ")
    assert PASSWORD not in worker.output
