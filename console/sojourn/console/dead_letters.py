"""`sojourn dead-letters`: what could not be read or applied, and why."""

import base64
import re
from contextlib import aclosing
from typing import Annotated, Any

from cyclopts import Parameter

from sojourn.console.opening import DataDir, Json, opened
from sojourn.console.output import Columns, cell, write_json, write_line
from sojourn.events.errors import SojournError, UsageError
from sojourn.projections.read import as_auditor
from sojourn.projections.read_status import DEAD_LETTER_COLUMNS, DeadLetterRow, dead_letter, dead_letters

NONE = "no dead letters: all that was applied so far could be read"

_PLACE = re.compile(r"(?:sojourn\.)?(lifecycle|heartbeats)@(\d{1,9}):(\d{1,18})")


async def list_(*, json: Json = False, data_dir: DataDir = None) -> None:
    """List dead letters in the order of the log, with the reason of each."""
    columns = Columns(("PLACE", "REASON", "TENANT", "SESSION", "APPENDED (UTC)", "DETAIL"))
    count = 0
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        as_auditor(connection),
        aclosing(dead_letters(connection)) as rows,
    ):
        async for values in rows:
            row = dict(zip(DEAD_LETTER_COLUMNS, values, strict=True))
            count += 1
            if json:
                write_json(row)
            else:
                place = f"{row['topic'].removeprefix('sojourn.')}@{row['partition']}:{row['offset']}"
                names = ("reason", "tenant", "session_id", "appended_at", "detail")
                columns.write([place, *(cell(row[name]) for name in names)])
    if not json:
        columns.close()
        write_line(f"{count} dead {'letter' if count == 1 else 'letters'}" if count else NONE)


async def show(
    place: Annotated[str, Parameter(help="Where it stands: TOPIC@PARTITION:OFFSET, as `list` prints it.")],
    /,
    *,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show one dead letter with its key, headers and bytes."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise UsageError(f"a place is written like lifecycle@3:17, not: {place!r}")
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        as_auditor(connection),
    ):
        found = await dead_letter(connection, f"sojourn.{match[1]}", int(match[2]), int(match[3]))
    if found is None:
        raise SojournError(f"no dead letter stands there; `sojourn dead-letters list` shows all: {place!r}")
    row = _document(found)
    if json:
        write_json(row)
        return
    width = max(map(len, row))
    for name, value in row.items():
        text = f"base64 {value['base64']}" if isinstance(value, dict) and "base64" in value else cell(value)
        write_line(f"{name:{width}}  {text}")


def _document(found: DeadLetterRow) -> dict[str, Any]:
    row = {name: getattr(found, name) for name in DEAD_LETTER_COLUMNS}
    headers = {name: _text(bytes.fromhex(value)) for name, value in found.headers}
    return {**row, "key": _text(found.key), "headers": headers, "value": _text(found.value)}


def _text(value: bytes | None) -> Any:
    """Return bytes as text, or as base64 where they are no UTF-8."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
