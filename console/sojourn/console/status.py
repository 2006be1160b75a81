"""`sojourn status`: how far the projections are, and what became of the records."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sojourn.console.opening import DataDir, Json, opened
from sojourn.console.output import Columns, cell, seconds, write_json, write_line
from sojourn.events.errors import OffsetOutOfRange
from sojourn.events.log import Log
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.freshness import BrokerSigns, freshness, sentence
from sojourn.projections.owners import held
from sojourn.projections.read import as_auditor
from sojourn.projections.read_status import Progress, dispositions, progress


async def status(*, json: Json = False, data_dir: DataDir = None) -> None:
    """Show positions, lag, owners and epochs of every partition, then what became of the records."""
    async with opened(data_dir) as (settings, database, log):
        async with await database.connect() as connection, as_auditor(connection):
            rows, counts, alive = await progress(connection), await dispositions(connection), await held(connection)
            fresh = await freshness(connection)
        rows = [row if row.partition in alive else row._replace(owner=None) for row in rows]
        lines = [line for topic in (LIFECYCLE, HEARTBEATS) for line in await _lines(log, topic, rows)]
    summary = {"dispositions": counts["lifecycle"], "heartbeats": counts["heartbeats"]}
    said = sentence(fresh, datetime.now(UTC))
    if json:
        for line in [
            *lines,
            *map(_signs, fresh.brokers),
            {"complete_to": fresh.complete_to, "freshness": said} | summary,
        ]:
            write_json(line)
        return
    columns = Columns(
        ("TOPIC", "PARTITION", "POSITION", "END", "LAG", "LAG AGE", "COMPLETE TO (UTC)", "OWNER", "EPOCH"),
        right=("PARTITION", "POSITION", "END", "LAG", "LAG AGE", "EPOCH"),
    )
    for line in lines:
        columns.write([seconds(value) if name == "lag_seconds" else cell(value) for name, value in line.items()])
    columns.close()
    if not any(line["owner"] for line in lines):
        service = "up" if settings.kafka is None else "worker"
        write_line(f"nobody applies what is published: start `sojourn {service}`")
    _write_brokers(fresh.brokers)
    for what, of in summary.items():
        text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in of.items())
        write_line(f"{what}: {text or 'none yet'}")
    write_line(said)


def _signs(broker: BrokerSigns) -> dict[str, Any]:
    row = broker._asdict()
    return {"broker": row.pop("source"), "state": broker.state} | row


def _write_brokers(brokers: Sequence[BrokerSigns]) -> None:
    columns = Columns(("BROKER", "STATE", "LAST EVENT (UTC)", "ALIVE (UTC)", "SILENT SINCE (UTC)", "CLOCK"))
    for broker in brokers:
        times = (broker.last_event_at, broker.last_alive_at, broker.silent_since)
        clock = "–" if broker.skew_seconds is None else f"{broker.skew_seconds:+.1f} s"
        columns.write([cell(broker.source), broker.state, *map(cell, times), clock])
    columns.close()


async def _lines(log: Log, topic: str, rows: list[Progress]) -> list[dict[str, Any]]:
    known = {row.partition: row for row in rows if row.topic == topic}
    complete = {row.partition: row.complete_to for row in rows if row.topic == HEARTBEATS}  # of both topics
    starts, ends = await log.start_offsets(topic), await log.end_offsets(topic)
    lines = []
    for partition, end in sorted(ends.items()):
        row = known.get(partition)
        position = starts[partition] if row is None else row.next_offset
        lines.append(
            {
                "topic": topic,
                "partition": partition,
                "position": position,
                "end": end,
                "lag_records": end - position,
                "lag_seconds": await _age(log, topic, partition, position, end),
                "complete_to": complete.get(partition),
                "owner": None if row is None else row.owner,
                "epoch": None if row is None else row.epoch,
            }
        )
    return lines


async def _age(log: Log, topic: str, partition: int, position: int, end: int) -> float:
    """Return the age of the oldest record that is not applied yet."""
    if position >= end:
        return 0.0
    try:
        batch = await log.read(topic, partition, position, records_max=1)
    except OffsetOutOfRange as error:  # heartbeats that were dropped unread; the oldest left is the next one
        batch = await log.read(topic, partition, error.start, records_max=1)
    if not batch.records:
        return 0.0
    return max(0.0, round((datetime.now(UTC) - batch.records[0].appended_at).total_seconds(), 3))
