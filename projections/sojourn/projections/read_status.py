"""The queries over all tenants: how far the projections are, and what became of records."""

from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections import tables
from sojourn.projections.read import stream

_PREFIX: Final = "sojourn."  # of topics; positions and counts are shown without it


class Progress(NamedTuple):
    """How far a partition of a topic is projected, and by whom; `record_appended_at` is that of its newest record.

    Everything that was appended to the partition before `complete_to` is applied.
    """

    topic: str
    partition: int
    next_offset: int
    record_appended_at: datetime | None
    committed_at: datetime
    owner: str | None
    epoch: int
    complete_to: datetime | None


async def progress(connection: AsyncConnection[Any]) -> list[Progress]:
    """Return every partition that was ever projected, lifecycle first."""
    p, o = tables.positions.c, tables.partition_owner.c
    query = (
        sa.select(
            p.topic, p.partition, p.next_offset, p.record_appended_at, p.committed_at, o.owner, p.epoch, p.complete_to
        )
        .select_from(tables.positions.outerjoin(tables.partition_owner, o.partition == p.partition))
        .order_by(p.topic.desc(), p.partition)
    )
    async with aclosing(stream(connection, query)) as rows:
        return [Progress(*row) async for row in rows]


async def dispositions(connection: AsyncConnection[Any]) -> dict[str, dict[str, int]]:
    """Return by topic how many records met each disposition, over all partitions."""
    d = tables.dispositions.c
    records = sa.cast(sa.func.sum(d.records), sa.BigInteger)
    query = sa.select(d.topic, d.disposition, records).group_by(d.topic, d.disposition).order_by(d.disposition)
    counts: dict[str, dict[str, int]] = {topic.removeprefix(_PREFIX): {} for topic in (LIFECYCLE, HEARTBEATS)}
    async with aclosing(stream(connection, query)) as rows:
        async for topic, disposition, count in rows:
            counts.setdefault(topic.removeprefix(_PREFIX), {})[disposition] = count
    return counts


def position_text(topic: str, positions: dict[int, int]) -> str:
    """Write the next offsets of a topic's partitions as people read and give them: lifecycle@0:123,1:98."""
    offsets = ",".join(f"{partition}:{offset}" for partition, offset in sorted(positions.items()))
    return f"{topic.removeprefix(_PREFIX)}@{offsets}"
