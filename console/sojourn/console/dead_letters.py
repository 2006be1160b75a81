"""`sojourn dead-letters list` and `show`: what could not be read or applied, and why."""

import re
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

from cyclopts import Parameter
from psycopg import AsyncConnection

from sojourn.console.opening import SWITCH, DataDir, Json, opened
from sojourn.console.output import Columns, cell, readable, write_json, write_line
from sojourn.console.times import parse_instant
from sojourn.events.errors import SojournError, UsageError
from sojourn.projections.read import as_auditor
from sojourn.projections.read_letters import Listed, Shown, dead_letters, letters_at

NONE: Final = "no dead letters: all that was applied so far could be read"
NONE_OPEN: Final = "no open dead letters; `sojourn dead-letters list --all` shows those that were resolved, too"

Where = Annotated[str, Parameter(help="Where it stands, as `list` prints it: TOPIC@PARTITION:OFFSET.")]

_PLACE = re.compile(r"(?:sojourn\.)?(lifecycle|heartbeats)@(\d{1,9}):(\d{1,18})(?:@(.+))?")
_MILLISECOND: Final = timedelta(milliseconds=1)  # how exactly instants are printed
_TABLE: Final = ("reason", "tenant", "session_id", "appended_at")


class Place(NamedTuple):
    """Where a dead letter stands; `appended_at` is given where an offset has several."""

    topic: str
    partition: int
    offset: int
    appended_at: datetime | None


async def list_(
    *,
    all_: Annotated[bool, SWITCH, Parameter(name="--all", help="Those that were resolved, too.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List dead letters in the order of the log, with the reason of each and how many events wait behind it."""
    header = ("PLACE", "REASON", "TENANT", "SESSION", "APPENDED (UTC)", "BEHIND", *(["RESOLVED"] if all_ else []))
    columns = Columns((*header, "DETAIL"), right=["BEHIND"])
    count = 0
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        as_auditor(connection),
        aclosing(dead_letters(connection, resolved=all_)) as rows,
    ):
        async for row in rows:
            count += 1
            if json:
                write_json(row._asdict())
            else:
                how = [cell(row.resolution)] if all_ else []
                behind = str(row.parked_behind or "–")
                columns.write([place_of(row), *(cell(getattr(row, n)) for n in _TABLE), behind, *how, cell(row.detail)])
    if json:
        return
    columns.close()
    nothing = NONE if all_ else NONE_OPEN
    write_line(f"{count} dead {'letter' if count == 1 else 'letters'}" if count else nothing)


async def show(place: Where, /, *, json: Json = False, data_dir: DataDir = None) -> None:
    """Show one dead letter with its key, headers and bytes, and what became of it."""
    where = parse_place(place)
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        as_auditor(connection),
    ):
        found = await find(connection, where, place)
    row = _document(found)
    if json:
        write_json(row)
        return
    width = max(map(len, row))
    for name, value in row.items():
        text = f"base64 {value['base64']}" if isinstance(value, dict) and "base64" in value else cell(value)
        write_line(f"{name:{width}}  {text}")


def parse_place(text: str) -> Place:
    """Return the place that was written; raises `UsageError`."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise UsageError(f"a place is written like lifecycle@3:17, not: {text!r}")
    appended_at = None if match[4] is None else parse_instant(match[4], "PLACE")
    return Place(f"sojourn.{match[1]}", int(match[2]), int(match[3]), appended_at)


def place_of(row: Listed) -> str:
    """Return a place as it is written."""
    return f"{row.topic.removeprefix('sojourn.')}@{row.partition}:{row.offset}"


async def find(connection: AsyncConnection[Any], where: Place, text: str, *, is_open: bool = False) -> Shown:
    """Return the dead letter at a place, as the auditor; `is_open` prefers the one that nobody has resolved.

    Raises where there is none, or where the append time must tell which one is meant.
    """
    found = await letters_at(connection, *where[:3])
    if where.appended_at is not None:
        given = where.appended_at
        found = [one for one in found if given <= one.listed.appended_at < given + _MILLISECOND]
    if not found:
        raise SojournError(f"no dead letter stands there; `sojourn dead-letters list --all` shows all: {text!r}")
    opened = [one for one in found if one.listed.resolution is None]
    if is_open and len(opened) == 1:
        return opened[0]
    if len(found) > 1:
        places = ", ".join(f"{place_of(one.listed)}@{_exact(one.listed.appended_at)}" for one in found)
        raise UsageError(f"several stand there; name one with its append time: {places}")
    return found[0]


def _exact(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _document(found: Shown) -> dict[str, Any]:
    headers = {name: readable(bytes.fromhex(value)) for name, value in found.headers}
    sent = {"key": readable(found.key), "headers": headers, "value": readable(found.value)}
    mended = {} if found.mended is None else {"mended": readable(found.mended)}
    return {**found.listed._asdict(), **sent, **mended}
