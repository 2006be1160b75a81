"""Faults 6, 7, 9, 17, 18 and 21 on real Kafka: what goes away comes back, what is lost is said."""

import asyncio
import os
import signal

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from sojourn.consumers.kafka import worker as worker_module
from sojourn.consumers.measures import Measures
from sojourn.consumers.partition import Partition
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.log import Batch
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.contract.test_kafka_log import NoText
from tests.fault.cluster import Cluster, fresh_topics
from tests.fault.harness import Process, until
from tests.fault.test_poison import POISON
from tests.fault.test_restarts import SIGNALS
from tests.fault.workload import Workload
from tests.integration.server_processes import postmaster

pytestmark = [pytest.mark.xdist_group("kafka-faults"), pytest.mark.timeout(300)]


async def test_workers_outlive_kafka_and_go_on_where_they_stood(cluster: Cluster, workload: Workload) -> None:
    workers = [cluster.worker() for _ in range(3)]
    await cluster.publish(workload.chunk(2000))
    await cluster.caught_up(*workers)

    await asyncio.to_thread(cluster.kafka.stop, signal.SIGKILL)
    await silence(cluster, workers)
    await asyncio.to_thread(cluster.kafka.start)

    await cluster.publish(workload.chunk(2000))
    await cluster.caught_up(*workers)
    for worker in workers:
        assert await worker.stops() == 0, worker.output
    await cluster.check()


async def silence(cluster: Cluster, workers: list[Process]) -> None:
    """Leave the workers alone without Kafka for longer than the group waits for a member; lists must go on."""
    for _ in range(4):
        listing = cluster.sojourn("sessions", "--tenant", "acme", "--json")
        assert await listing.ended() == 0, listing.output
        assert '"session_id"' in listing.output
        await asyncio.sleep(1)
    for worker in workers:
        assert not worker.has_ended, worker.output


@pytest.mark.parametrize("how", SIGNALS)
async def test_workers_outlive_restarts_of_postgresql(cluster: Cluster, workload: Workload, how: str) -> None:
    workers = [cluster.worker() for _ in range(3)]
    await cluster.all_work(*workers)

    async with cluster.load(workload):
        for _ in range(3):
            await cluster.caught_up(*workers)
            os.kill(postmaster(cluster.data_dir), SIGNALS[how])
    await cluster.caught_up(*workers)

    for worker in workers:
        assert await worker.stops() == 0, worker.output
    assert any("partition.retry" in worker.output for worker in workers)
    await cluster.check()


async def test_bad_records_become_dead_letters_and_all_else_flows(cluster: Cluster, workload: Workload) -> None:
    worker = cluster.worker()

    for poison in POISON:
        await cluster.publish([*workload.chunk(20), poison])
    await cluster.caught_up(worker)

    assert await worker.stops() == 0, worker.output
    await cluster.check()


async def test_a_header_name_that_is_no_text_stops_no_partition(
    cluster: Cluster, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka's consumer cannot read such a record; what it took of other partitions with it must not be lost."""
    monkeypatch.setattr("aiokafka.producer.message_accumulator.DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    worker = cluster.worker()
    producer = AIOKafkaProducer(bootstrap_servers=cluster.kafka.bootstrap_servers)
    await producer.start()

    for number in range(12):
        await cluster.publish(workload.chunk(200))
        for topic in (LIFECYCLE, HEARTBEATS):
            batch = producer.create_batch()
            batch.append(timestamp=0, key=None, value=b"between %d" % number, headers=[(NoText("nbb"), b"v")])
            await (await producer.send_batch(batch, topic, partition=number))
    await producer.stop()
    await cluster.publish(workload.chunk(200))
    await cluster.caught_up(worker)

    assert await worker.stops() == 0, worker.output
    await cluster.check_tables()
    async with await cluster.database.connect() as connection:
        rows = await connection.execute(
            "SELECT count(*), count(DISTINCT (topic, partition)) FROM sojourn_v1.dead_letter "
            "WHERE value LIKE 'between %' AND headers = '[[\"n??\", \"76\"]]'"
        )
        assert await rows.fetchone() == (24, 24)


async def test_lost_lifecycle_records_stop_their_partition_until_the_gap_is_accepted(
    cluster: Cluster, workload: Workload
) -> None:
    await cluster.publish(workload.chunk(3000))
    worker = cluster.worker()
    await cluster.caught_up(worker)
    assert await worker.stops() == 0, worker.output
    applied = (await cluster.positions())[LIFECYCLE, 5]
    await cluster.publish(workload.chunk(3000))
    await delete_before(cluster, LIFECYCLE, 5, applied + 40)

    worker = cluster.worker()

    await worker.says("partition.stopped")
    lost = f"{LIFECYCLE}, partition 5, offsets {applied} to {applied + 39} (40)"
    assert lost in worker.output
    ends = {place: end for place, end in (await cluster.ends()).items() if place[1] != 5}
    await reach(cluster, worker, ends)
    assert (await cluster.positions())[LIFECYCLE, 5] == applied
    accepting = cluster.sojourn_on_kafka("log", "accept-gap", "5", "--reason", "the disk was full")
    assert await accepting.ended() == 0, accepting.output
    await cluster.caught_up(worker)
    assert not worker.has_ended
    assert await worker.stops() == 0, worker.output


async def test_a_topic_that_was_made_anew_stops_its_partitions(cluster: Cluster, workload: Workload) -> None:
    await cluster.publish(workload.chunk(2000))
    worker = cluster.worker()
    await cluster.caught_up(worker)
    assert await worker.stops() == 0, worker.output
    before = await cluster.positions()
    await fresh_topics(cluster.kafka)
    await cluster.publish(workload.chunk(4000))

    worker = cluster.worker()

    await worker.says("the log was replaced or truncated")
    await asyncio.sleep(1)
    after = await cluster.positions()
    assert {place: after[place] for place in after if place[0] == LIFECYCLE} == {
        place: before[place] for place in before if place[0] == LIFECYCLE
    }
    assert await worker.stops() == 0, worker.output


async def test_lost_heartbeats_are_jumped_over_and_counted(cluster: Cluster, workload: Workload) -> None:
    await cluster.publish(workload.chunk(3000))
    worker = cluster.worker()
    await cluster.caught_up(worker)
    assert await worker.stops() == 0, worker.output
    applied = (await cluster.positions())[HEARTBEATS, 5]
    await cluster.publish(workload.chunk(3000))
    await delete_before(cluster, HEARTBEATS, 5, applied + 30)

    worker = cluster.worker()
    await cluster.caught_up(worker)

    assert "heartbeats.gap" in worker.output
    assert await worker.stops() == 0, worker.output
    async with await cluster.database.connect() as connection:
        found = await connection.execute("SELECT records FROM sojourn_v1.disposition WHERE disposition = 'gap'")
        assert await found.fetchall() == [(30,)]


async def test_added_partitions_are_refused(cluster: Cluster, workload: Workload) -> None:
    await cluster.publish(workload.chunk(500))
    worker = cluster.worker()
    await cluster.caught_up(worker)

    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.kafka.bootstrap_servers)
    await admin.start()
    await admin.create_partitions({topic: NewPartitions(13) for topic in (LIFECYCLE, HEARTBEATS)})
    await admin.close()
    assert await worker.ended() == 1, worker.output
    assert "the topics had 12 partitions" in worker.output.splitlines()[-1]

    second = cluster.worker()
    assert await second.ended() == 1, second.output
    assert "make it anew with 12 (docs/operations.md), not with: 13" in second.output.splitlines()[-1]
    assert "Traceback" not in second.output


async def test_topics_whose_times_are_the_producers_are_refused(cluster: Cluster) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([HEARTBEATS])
    wrong = NewTopic(HEARTBEATS, 12, 1, topic_configs={"message.timestamp.type": "CreateTime"})
    await admin.create_topics([wrong])
    await admin.close()

    worker = cluster.worker()

    assert await worker.ended() == 1, worker.output
    assert "their clocks would decide who is lost" in worker.output.splitlines()[-1]
    assert "Traceback" not in worker.output


async def test_a_second_worker_of_the_same_name_is_refused_and_the_first_goes_on(
    cluster: Cluster, workload: Workload
) -> None:
    first = cluster.worker("a")
    await cluster.all_work(first)

    second = cluster.worker("a")

    assert await second.ended() == 1, second.output
    assert second.output.splitlines()[-1] == "sojourn: another worker that runs has this name; give each its own: 'a'"
    await cluster.publish(workload.chunk(500))
    await cluster.caught_up(first)
    assert await first.stops() == 0, first.output


async def test_a_worker_that_applies_nothing_though_the_log_is_ahead_ends_itself(
    cluster: Cluster, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_partition: Partition, _batch: Batch) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Partition, "apply_lifecycle", hang)
    monkeypatch.setattr(worker_module, "STUCK_SECONDS", 2.0)
    monkeypatch.setattr(worker_module, "TELL_SECONDS", 0.5)
    settings = KafkaSettings(cluster.kafka.bootstrap_servers)
    worker = worker_module.Worker(cluster.database, cluster.kafka_log, settings, None, "stuck", Measures())
    await cluster.publish(workload.chunk(500))

    with pytest.raises(worker_module.Stuck, match=r"nothing is applied; .*: partition \d+, \{'sojourn"):
        await asyncio.wait_for(worker.run(asyncio.Event()), 60)


async def test_a_worker_that_is_told_to_stop_ends_in_time_though_nothing_answers(
    cluster: Cluster, workload: Workload
) -> None:
    workers = [cluster.worker() for _ in range(2)]
    await cluster.publish(workload.chunk(2000))
    await cluster.caught_up(*workers)

    await asyncio.to_thread(cluster.kafka.stop, signal.SIGKILL)
    try:
        codes = await asyncio.gather(*(worker.stops() for worker in workers))
        assert codes == [0, 0], [worker.output for worker in workers]
    finally:
        await asyncio.to_thread(cluster.kafka.start)
    await cluster.conclude()


async def delete_before(cluster: Cluster, topic: str, partition: int, offset: int) -> None:
    """Let Kafka drop the records of a partition before an offset, as its retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=offset)})
    await admin.close()
    assert (await cluster.log.start_offsets(topic))[partition] == offset


async def reach(cluster: Cluster, worker: Process, ends: dict[tuple[str, int], int]) -> None:
    async def is_so() -> bool:
        assert not worker.has_ended, worker.output
        found = await cluster.positions()
        return all(found.get(place, -1) >= end for place, end in ends.items())

    await until(is_so, f"the positions reach {ends}", worker)
