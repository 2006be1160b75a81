"""`sojourn brokers set` and `list`: how brokers place their sessions, for whom they speak, and their tokens."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated, Any, Final, NamedTuple

from cyclopts import Parameter
from psycopg import AsyncConnection

from sojourn.console.accounts import account
from sojourn.console.opening import DataDir, Json, opened, opened_log
from sojourn.console.output import Columns, cell, write_json, write_line
from sojourn.console.tokens import TokenRow, check_source, check_tenants, tokens
from sojourn.events.codec import encode
from sojourn.events.decisions import source_bound
from sojourn.events.fields import Partitioner
from sojourn.events.publisher import Publisher
from sojourn.events.topics import LIFECYCLE
from sojourn.projections.read import as_auditor

NONE: Final = "no broker is bound and none has a token: any may publish to the log, and place sessions by murmur2"
HEADER: Final = ("SOURCE", "PARTITIONER", "TENANTS", "APPLIED", "TOKEN", "OF TENANTS", "EXPIRES (UTC)", "USED (UTC)")


class Binding(NamedTuple):
    """To what a source is bound in one partition, since the record of this append time."""

    source: str
    partitioner: str
    tenants: list[str] | None
    bound_at: datetime


class Bound(NamedTuple):
    """The newest binding of a source, and in how many partitions it holds."""

    partitioner: str
    tenants: list[str] | None
    bound_at: datetime
    applied: int


async def set_(
    source: Annotated[str, Parameter(help="The broker, as the source of its events names it.")],
    /,
    *,
    partitioner: Annotated[Partitioner, Parameter(help="How it places its sessions from now on.")] = "murmur2",
    tenant: Annotated[
        list[str] | None, Parameter(negative="", help="A tenant that it tells of; may be repeated. Any if left out.")
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Bind a broker to a partitioner, murmur2 or crc32 (librdkafka's), and to tenants; the newest binding counts whole.

    Done when every partition of the log has it. Each judges by it what the broker publishes from then on.
    """
    check_source(source)
    check_tenants(tenant)
    tenants = None if tenant is None else sorted(set(tenant))
    value = encode(source_bound(source, partitioner, datetime.now(UTC), tenants, account()))
    async with opened_log(data_dir) as log:
        partitions = await log.partitions(LIFECYCLE)
        await Publisher(log).publish([value])
    if json:
        write_json({"source": source, "partitioner": partitioner, "tenants": tenants, "partitions": partitions})
        return
    write_line(f"bound {cell(source)} to {partitioner} and {_whom(tenants)} in {partitions} partitions")
    write_line("each judges by that what the broker publishes from now on; `sojourn brokers list` shows how many do")


async def list_(*, json: Json = False, data_dir: DataDir = None) -> None:
    """List the brokers that are bound or have a token: what they may do, and how many partitions know."""
    async with opened(data_dir) as (_, database, log):
        async with await database.connect() as connection, as_auditor(connection):
            bound = _newest(await _bindings(connection))
            made = await tokens(connection)
        partitions = await log.partitions(LIFECYCLE)
    columns = Columns(HEADER)
    rows = 0
    for source in sorted({*bound, *(source for token in made for source in token.sources)}):
        of_source: list[TokenRow | None] = [token for token in made if source in token.sources]
        for token in of_source or [None]:
            rows += 1
            if json:
                write_json(_document(source, bound.get(source), token, partitions))
            else:
                columns.write(_cells(source, bound.get(source), token, partitions))
    if json:
        return
    columns.close()
    if any(binding.applied < partitions for binding in bound.values()):
        write_line("a partition applies a binding once it has read it: see `sojourn status`")
    if not rows:
        write_line(NONE)


async def _bindings(connection: AsyncConnection[Any]) -> list[Binding]:
    """Return the bindings of all partitions by source, as the auditor."""
    cursor = await connection.execute(
        "SELECT source, partitioner, tenants, bound_at FROM sojourn.broker"
        " WHERE partitioner IS NOT NULL ORDER BY source, partition"
    )
    return [Binding(*row) for row in await cursor.fetchall()]


def _newest(found: Sequence[Binding]) -> dict[str, Bound]:
    """Return by source the newest binding of any partition."""
    bound = {}
    for source, group in groupby(found, key=lambda binding: binding.source):
        of_source = list(group)
        newest = max(of_source, key=lambda binding: binding.bound_at)
        said = (newest.partitioner, newest.tenants)
        applied = sum((binding.partitioner, binding.tenants) == said for binding in of_source)
        bound[source] = Bound(*said, newest.bound_at, applied)
    return bound


def _document(source: str, bound: Bound | None, token: TokenRow | None, partitions: int) -> dict[str, Any]:
    told: dict[str, Any] = {"source": source}
    told |= dict.fromkeys(Bound._fields) if bound is None else bound._asdict()
    told["partitions"] = partitions
    told["token"] = None if token is None else token.name
    told["token_tenants"] = None if token is None else token.tenants
    return told | {
        name: None if token is None else getattr(token, name) for name in ("expires_at", "revoked_at", "last_used_at")
    }


def _cells(source: str, bound: Bound | None, token: TokenRow | None, partitions: int) -> list[str]:
    nothing = cell(None)
    how = [nothing, nothing, nothing]
    if bound is not None:
        how = [bound.partitioner, _whom(bound.tenants), f"in {bound.applied} of {partitions} partitions"]
    who = [nothing, nothing, nothing, nothing]
    if token is not None:
        until = "never" if token.expires_at is None else cell(token.expires_at)
        ends = until if token.revoked_at is None else f"revoked {cell(token.revoked_at)}"
        used = "never" if token.last_used_at is None else cell(token.last_used_at)
        who = [token.name, _whom(token.tenants), ends, used]
    return [cell(source), *how, *who]


def _whom(tenants: list[str] | None) -> str:
    return "any tenant" if tenants is None else ", ".join(tenants)
