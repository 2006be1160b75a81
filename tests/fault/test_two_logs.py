"""One stream of events, published once to Kafka and once to the embedded log, makes the same tables."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import sql
from psycopg.rows import dict_row

from sojourn.consumers.host import Host
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.publisher import Publisher
from tests.fault.cluster import Cluster
from tests.fault.workload import Workload

pytestmark = [pytest.mark.xdist_group("kafka-faults"), pytest.mark.timeout(300)]

VALUES = 10_000
TABLES = ("live_session", "session_history", "superseded", "dead_letter", "disposition")

# What tells where and when the log took a record, and what is derived from that.
OF_THE_LOG = frozenset({"appended_at", "established_appended_at", "by_appended_at", "slot", "memory"})
OF_A_WRONG_CLOCK = frozenset({"login_at", "logout_at", "online_seconds"})  # append time stands in for such times


async def test_one_stream_makes_the_same_tables_from_both_logs(cluster: Cluster) -> None:
    values = Workload(11, datetime.now(UTC)).chunk(VALUES)

    await cluster.publish(values)
    worker = cluster.worker()
    await cluster.caught_up(worker)
    assert await worker.stops() == 0, worker.output
    of_kafka = await tables(cluster.database)
    await project_embedded(cluster.database, values)
    of_embedded = await tables(cluster.database)

    for name in TABLES:
        assert len(of_kafka[name]) > 10
        assert of_kafka[name] == of_embedded[name], name


async def project_embedded(database: Database, values: list[bytes]) -> None:
    """Empty the projections and fill them from the embedded log."""
    async with await database.connect(autocommit=True) as connection:
        await connection.execute(
            "TRUNCATE sojourn_v1.live_session, sojourn_v1.live_detail, sojourn_v1.session_history, "
            "sojourn_v1.superseded, sojourn_v1.tenant_config, sojourn_v1.liveness_page, sojourn_v1.position, "
            "sojourn_v1.disposition, sojourn_v1.dead_letter, sojourn.partition_owner"
        )
        await install(connection)
    log = EmbeddedLog(database)
    await Publisher(log).publish(values)
    stopping = asyncio.Event()
    host = Host(database, log, "embedded")
    running = asyncio.create_task(host.run(stopping))
    ends = {topic: await log.end_offsets(topic) for topic in ("sojourn.lifecycle", "sojourn.heartbeats")}
    while not running.done():
        at = {number: partition.next_offsets for number, partition in host.partitions.items()}
        if all(at.get(number, {}).get(topic) == end for topic in ends for number, end in ends[topic].items()):
            break
        await asyncio.sleep(0.05)
    stopping.set()
    await running
    await log.close()


async def tables(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return what the projections hold, but for what is the log's."""
    async with await database.connect() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        found = {}
        for name in TABLES:
            query = sql.SQL("SELECT * FROM {}").format(sql.Identifier("sojourn_v1", name))
            rows = await (await cursor.execute(query)).fetchall()
            found[name] = sorted((comparable(row) for row in rows), key=repr)
    return found


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    left_out = OF_THE_LOG | OF_A_WRONG_CLOCK if row.get("clock_flags") else OF_THE_LOG
    return {column: row[column] for column in row if column not in left_out}
