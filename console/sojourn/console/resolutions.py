"""`sojourn dead-letters requeue` and `discard`: what is done with a dead letter, and why."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter
from psycopg import AsyncConnection

from sojourn.console.accounts import account
from sojourn.console.dead_letters import Where, find, parse_place, place_of
from sojourn.console.opening import DataDir, Json, opened
from sojourn.console.output import write_json, write_line
from sojourn.console.site.principal import PLATFORM
from sojourn.events.codec import VALUE_BYTES_MAX, encode
from sojourn.events.decision_data import DeadLetterResolvedData
from sojourn.events.decisions import dead_letter_resolved
from sojourn.events.errors import SojournError, UsageError
from sojourn.events.fields import TEXT_CHARACTERS_MAX
from sojourn.events.log import Log, Record
from sojourn.events.topics import LIFECYCLE
from sojourn.projections.fold import Place
from sojourn.projections.letters import load_letter, resolve
from sojourn.projections.parking import refused_resolution
from sojourn.projections.read import as_auditor
from sojourn.projections.read_letters import Listed, Shown, queue_head
from sojourn.projections.store import as_projector, load_decided

VALUE_FILE_BYTES_MAX: Final = VALUE_BYTES_MAX  # what is larger can be no event; a terminal's stream has no end

Why = Annotated[
    str, Parameter(name="--reason", help="Why; it goes into the log, and into the record of what was done.")
]


class CannotRequeue(SojournError):
    """the dead letter cannot be requeued"""


async def requeue(
    place: Where,
    /,
    *,
    reason: Why,
    value: Annotated[
        str | None,
        Parameter(help="A file with the corrected event, or - for the standard input. As it is if left out."),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Apply a dead letter after all, and then what waits behind it: as it is, or with corrected bytes."""
    await _decide(place, "requeued", reason, _read(value), json=json, data_dir=data_dir)


async def discard(place: Where, /, *, reason: Why, json: Json = False, data_dir: DataDir = None) -> None:
    """Give a dead letter up, and apply what waits behind it."""
    await _decide(place, "discarded", reason, None, json=json, data_dir=data_dir)


async def _decide(
    text: str,
    resolution: Literal["requeued", "discarded"],
    reason: str,
    value: bytes | None,
    *,
    json: bool,
    data_dir: Path | None,
) -> None:
    where = parse_place(text)
    if not reason.strip() or len(reason) > TEXT_CHARACTERS_MAX or "\0" in reason:
        raise UsageError(f"a reason has 1 to {TEXT_CHARACTERS_MAX} characters, not: {len(reason)}")
    async with opened(data_dir) as (_, database, log), await database.connect(autocommit=True) as connection:
        async with as_auditor(connection):
            found = await find(connection, where, text, is_open=True)
            head = await queue_head(connection, found.listed)
        listed, now = found.listed, datetime.now(UTC)
        data = DeadLetterResolvedData(
            topic="sojourn.lifecycle" if listed.topic == LIFECYCLE else "sojourn.heartbeats",
            partition=listed.partition,
            offset=listed.offset,
            appended_at=listed.appended_at,
            resolution=resolution,
            reason=reason,
            who=account(),
            value=value,
        )
        await _check(connection, log, found, head, data, now)
        event = dead_letter_resolved(data, now)
        if len(encode(event)) > VALUE_BYTES_MAX:
            raise CannotRequeue(f"the corrected event is too large to be kept with the decision: {len(value or b'')}")
        await resolve(connection, event, listed.tenant or PLATFORM, "command line", now)
    if json:
        write_json({**listed._asdict(), "resolution": resolution, "reason_given": reason, "who": data.who})
        return
    for line in _told(listed, head, resolution):
        write_line(line)


async def _check(
    connection: AsyncConnection[Any],
    log: Log,
    found: Shown,
    head: Listed | None,
    data: DeadLetterResolvedData,
    now: datetime,
) -> None:
    """Raise for what the owner of the partition would refuse, with what to do instead."""
    listed, place = found.listed, place_of(found.listed)
    if listed.resolution is not None:
        by = "" if listed.resolved_offset is None else f", by lifecycle@{listed.partition}:{listed.resolved_offset}"
        raise SojournError(f"it was {listed.resolution} before{by}: {place}")
    if data.resolution == "discarded":
        return
    if listed.topic != LIFECYCLE:
        raise CannotRequeue(f"heartbeats are not requeued, since a late one proves nothing; discard it: {place}")
    if data.value is None and found.value_bytes > len(found.value):
        kept = f"only the first {len(found.value)} of its {found.value_bytes} bytes are kept"
        raise CannotRequeue(f"{kept}; give the event, corrected, with --value: {place}")
    if data.value is None and listed.reason == "parked" and head is not None:
        raise CannotRequeue(f"it follows by itself once {place_of(head)} is resolved, for which it waits: {place}")
    partitions = await log.partitions(LIFECYCLE)
    decided = await load_decided(connection, listed.partition)
    async with as_projector(connection):
        letter = await load_letter(connection, listed.partition, Place(listed.offset, listed.appended_at))
    record = Record(LIFECYCLE, listed.partition, listed.offset, now, None, b"", ())
    refusal = refused_resolution(letter, data, record, decided, partitions)
    if refusal is None:
        return
    if "wrong_partition" in refusal:
        raise CannotRequeue(f"its session lives in another partition: publish it again, and discard this; {refusal}")
    advice = "correct the event and give it with --value" if data.value is None else "correct what --value gives"
    raise CannotRequeue(f"{advice}; {refusal}")


def _read(name: str | None) -> bytes | None:
    """Return the bytes of a corrected event, without the line's end that an editor leaves."""
    if name is None:
        return None
    try:
        if name == "-":
            value = sys.stdin.buffer.read(VALUE_FILE_BYTES_MAX + 1)
        else:
            with Path(name).open("rb") as file:
                value = file.read(VALUE_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SojournError(f"cannot read the corrected event ({(error.strerror or '').lower()}): {name}") from error
    if len(value) > VALUE_FILE_BYTES_MAX:
        raise CannotRequeue(f"an event has at most {VALUE_FILE_BYTES_MAX} bytes, unlike: {name}")
    return value.rstrip(b"\r\n")


def _told(listed: Listed, head: Listed | None, resolution: str) -> list[str]:
    place = place_of(listed)
    lines = [f"{place} is to be {resolution}; the owner of partition {listed.partition} does it as soon as it runs"]
    if head is not None and (head.offset, head.appended_at) != (listed.offset, listed.appended_at):
        lines.append(f"its session waits for {place_of(head)}: nothing of it is applied before that is resolved")
    elif listed.parked_behind:
        events = "event follows" if listed.parked_behind == 1 else "events follow"
        lines.append(f"{listed.parked_behind} {events} that waited behind it, up to the next that cannot be applied")
    lines.append(f"`sojourn dead-letters show {place}` tells what became of it")
    return lines
