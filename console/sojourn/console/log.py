"""`sojourn log`: the records themselves, for auditors, and going on behind what the log lost."""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NoReturn

import structlog
from cyclopts import Parameter

from sojourn.console.accounts import account
from sojourn.console.opening import SWITCH, DataDir, Json, opened, opened_log
from sojourn.console.output import flush, instant, readable, write_json, write_line
from sojourn.consumers.gaps import Gap, find_gap
from sojourn.consumers.gaps import accept_gap as accept
from sojourn.events.codec import Undecodable, decode
from sojourn.events.errors import OffsetOutOfRange, SojournError, Unreachable, UsageError
from sojourn.events.fields import TEXT_CHARACTERS_MAX
from sojourn.events.log import Log, Record
from sojourn.events.modes import structured
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import (
    Alive,
    BrokerReturned,
    BrokerSilent,
    DeadLetterResolved,
    Event,
    GapAccepted,
    Heartbeats,
    SourceBound,
    TenantConfigured,
    type_name,
)
from sojourn.projections.places import lifecycle_position
from sojourn.projections.read_status import position_text
from sojourn.projections.store import Position

RECORDS_MAX: Final = 2000  # of one read; all that is in memory at once
WAIT_SECONDS: Final = 60.0  # --follow waits on and on; this only bounds one wait
RETRY_SECONDS: Final = 1.0  # the log's own calls have waited half a minute before this

_POSITION: Final = re.compile(r"(?:sojourn\.)?(lifecycle|heartbeats|commands)@(\d{1,9}:\d{1,18}(?:,\d{1,9}:\d{1,18})*)")

_log = structlog.get_logger("sojourn.log")


async def read(
    *,
    topic: Annotated[Literal["lifecycle", "heartbeats", "commands"], Parameter(help="The topic.")] = "lifecycle",
    from_: Annotated[
        str | None,
        Parameter(
            name="--from", help="Start at this position, like lifecycle@0:123,1:98; other partitions at their start."
        ),
    ] = None,
    to: Annotated[
        str | None,
        Parameter(name="--to", help="Stop before this position; other partitions at their end."),
    ] = None,
    partition: Annotated[int | None, Parameter(help="Read this partition only.")] = None,
    follow: Annotated[bool, SWITCH, Parameter(help="Wait for more, until Ctrl-C.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Print the records of a topic as the log holds them: partition by partition, each in the order of its offsets."""
    if follow and to is not None:
        raise UsageError(f"--follow has no end, so it takes no --to: {to!r}")
    name = f"sojourn.{topic}"
    given = _parse(from_, topic, "--from"), _parse(to, topic, "--to")
    show = _show_json if json else _show_line
    async with opened_log(data_dir) as log:
        offsets, ends = await _range(log, name, *given, partition)
        if follow:
            await _follow(log, name, offsets, show)
        count = await _print(log, name, offsets, ends, show)
    if not json:
        what = f"{count} {'record' if count == 1 else 'records'}" if count else "no records"
        write_line(f"{what}; to read what comes next: --from {position_text(name, offsets)}")


def _parse(text: str | None, topic: str, option: str) -> dict[int, int]:
    """Return the offset of each partition that a position names; raises `UsageError`."""
    if text is None:
        return {}
    match = _POSITION.fullmatch(text)
    if match is None:
        raise UsageError(f"a position is written like {topic}@0:123,1:98, which {option} is not: {text!r}")
    if match[1] != topic:
        raise UsageError(f"{option} is a position of {match[1]}, so add --topic {match[1]}: {text!r}")
    pairs = [(int(partition), int(offset)) for partition, offset in re.findall(r"(\d+):(\d+)", match[2])]
    if len({partition for partition, _ in pairs}) < len(pairs):
        raise UsageError(f"a position names each partition once, which {option} does not: {text!r}")
    return dict(pairs)


async def _range(
    log: Log, topic: str, given: Mapping[int, int], until: Mapping[int, int], only: int | None
) -> tuple[dict[int, int], dict[int, int]]:
    """Return where reading begins and where it ends, by partition; raises for what the log does not hold."""
    starts, ends = await log.start_offsets(topic), await log.end_offsets(topic)
    for partition in [*given, *until, *([] if only is None else [only])]:
        if partition not in ends:
            raise SojournError(f"{topic} has the partitions 0 to {max(ends)}, not: {partition}")
    for partition, offset in [*given.items(), *until.items()]:
        if not starts[partition] <= offset <= ends[partition]:
            raise OffsetOutOfRange(topic, partition, offset, starts[partition], ends[partition])
    chosen = sorted(ends) if only is None else [only]
    offsets = {partition: given.get(partition, starts[partition]) for partition in chosen}
    lasts = {partition: until.get(partition, ends[partition]) for partition in chosen}
    for partition, offset in offsets.items():
        if lasts[partition] < offset:
            raise UsageError(f"--to lies before --from {offset} in partition {partition}: {lasts[partition]}")
    return offsets, lasts


async def _print(
    log: Log, topic: str, offsets: dict[int, int], ends: Mapping[int, int], show: Callable[[Record], None]
) -> int:
    """Show all records before `ends`, move `offsets` on with what was shown, and return how many there were."""
    count = 0
    for partition in sorted(offsets):
        while (offset := offsets[partition]) < ends[partition]:
            records_max = min(RECORDS_MAX, ends[partition] - offset)
            batch = await log.read(topic, partition, offset, records_max=records_max)
            records = [record for record in batch.records if record.offset < ends[partition]]
            for record in records:
                show(record)
            flush()
            count += len(records)
            offsets[partition] = min(batch.next_offset, ends[partition])
            if batch.next_offset == offset:  # what it ended with a moment ago is gone
                break
    return count


async def _follow(log: Log, topic: str, offsets: dict[int, int], show: Callable[[Record], None]) -> NoReturn:
    """Show records as they come, also after the log was away."""
    while True:
        try:
            await log.wait({(topic, partition): offset for partition, offset in offsets.items()}, WAIT_SECONDS)
            await _print(log, topic, offsets, await log.end_offsets(topic), show)
        except Unreachable as error:
            _log.warning("log.retry", error=" ".join(str(error).split()))
            await asyncio.sleep(RETRY_SECONDS)


def _show_json(record: Record) -> None:
    write_json(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "appended_at": record.appended_at,
            "key": readable(record.key),
            "headers": [[name, readable(value)] for name, value in record.headers],
            "value": readable(record.value),
        }
    )


def _show_line(record: Record) -> None:
    place = f"{record.topic.removeprefix('sojourn.')}@{record.partition}:{record.offset}"
    write_line(_printable(f"{instant(record.appended_at)}  {place:18}  {_what(record)}"))


def _what(record: Record) -> str:
    """Return the type of an event and whom it is about, or what is wrong with it."""
    try:
        event = decode(structured(record.value, record.headers))
    except Undecodable as error:
        named = f"  {error.tenant or '?'}/{error.session_id}" if error.session_id else ""
        return f"{error.reason}{named}: {error.detail}"
    return f"{type_name(type(event)):30}  {_about(event)}"


def _about(event: Event) -> str:
    match event:
        case Heartbeats():
            return f"{event.tenant}, sessions: {len(event.data.sessions)}"
        case Alive():
            return event.source
        case SourceBound():
            tenants = "" if event.data.tenants is None else f", for {', '.join(event.data.tenants) or 'nobody'}"
            return f"{event.data.source}: {event.data.partitioner}{tenants}"
        case BrokerSilent() | BrokerReturned():
            return event.data.source
        case TenantConfigured():
            return event.tenant
        case DeadLetterResolved(data=data):
            place = f"{data.topic.removeprefix('sojourn.')}@{data.partition}:{data.offset}"
            return f"{place} {data.resolution}, {data.who}: {data.reason}"
        case GapAccepted():
            return f"offsets {event.data.from_offset} to {event.data.to_offset}, {event.data.who}: {event.data.reason}"
        case _:
            return f"{event.tenant}/{event.subject}"


def _printable(line: str) -> str:
    """Escape control characters, which would move the cursor."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


async def accept_gap(
    partition: Annotated[int, Parameter(help="The partition of the lifecycle log.")],
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why records are lost; it goes into the log.")] = None,
    dry_run: Annotated[bool, SWITCH, Parameter(help="Show what is lost, and change nothing.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Go on behind records that the lifecycle log lost: show what they are, write the decision into the log."""
    if not dry_run and not reason:
        raise UsageError("a gap is accepted for a reason; see it with --dry-run, or give: --reason")
    if reason is not None and len(reason) > TEXT_CHARACTERS_MAX:
        raise UsageError(f"a reason has at most {TEXT_CHARACTERS_MAX} characters, not: {len(reason)}")
    who = account()
    async with opened(data_dir) as (settings, database, log), await database.connect(autocommit=True) as connection:
        count = await log.partitions(LIFECYCLE)
        if partition not in range(count):
            raise SojournError(f"{LIFECYCLE} has the partitions 0 to {count - 1}, not: {partition}")
        position = await lifecycle_position(connection, partition)
        gap = None if position is None else await find_gap(log, connection, partition, position)
        if position is None or gap is None:
            goes_on = "at its start" if position is None else f"at offset {position.next_offset}"
            raise SojournError(f"there is no gap: {LIFECYCLE}, partition {partition}, goes on {goes_on}")
        accepted = None
        if not dry_run and reason:
            now = datetime.now(UTC)
            accepted = await accept(log, connection, gap, position, reason=reason, who=who, at=now)
    offset = None if accepted is None else accepted.offset
    if json:
        write_json(_document(gap, position, offset))
    else:
        _tell(gap, position, offset, who, kafka=settings.kafka is not None)


def _document(gap: Gap, position: Position, event_offset: int | None) -> dict[str, Any]:
    last = {"last_offset": position.record_offset, "last_appended_at": position.record_appended_at}
    return {**gap._asdict(), **last, "accepted": event_offset is not None, "event_offset": event_offset}


def _tell(gap: Gap, position: Position, event_offset: int | None, who: str, *, kafka: bool) -> None:
    write_line(gap.detail)
    if position.record_appended_at is not None:
        write_line(f"last applied: offset {position.record_offset}, appended {instant(position.record_appended_at)}")
    if event_offset is None:
        write_line(f"nothing was changed; accepted with --reason, reading goes on at offset {gap.to_offset}")
        return
    following = "a worker takes it up by itself" if kafka else "start `sojourn up`"
    write_line(f"accepted by {who} at {position_text(gap.topic, {gap.partition: event_offset})}")
    write_line(f"reading goes on at offset {gap.to_offset}: {following}")
