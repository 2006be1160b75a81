"""`sojourn commands`: what was asked of brokers, and every step of what came of it."""

from contextlib import aclosing
from typing import Annotated, Any, Final

from cyclopts import Parameter

from sojourn.console.opening import DataDir, Json, Tenant, opened
from sojourn.console.output import Columns, cell, instant, write_json, write_line
from sojourn.events.errors import SojournError
from sojourn.projections.commands import STATES, State
from sojourn.projections.read import as_reader, stream
from sojourn.projections.read_commands import COMMAND_COLUMNS, Step, commands_query, load_steps

NONE: Final = "no command was ever asked for here; `sojourn disconnect` asks for one"
NO_MATCH: Final = "no command matches; leave filters out to see more"


async def list_(
    *,
    tenant: Tenant,
    session: Annotated[str | None, Parameter(help="Those about this session.")] = None,
    state: Annotated[State | None, Parameter(help="Those that stand so.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List what was asked of brokers, the oldest first, and how it stands."""
    columns = Columns(("REQUESTED (UTC)", "SESSION", "KIND", "STATE", "BROKER", "BY", "REASON", "COMMAND"))
    names = ("requested_at", "session_id", "kind", "state", "broker", "requested_by", "reason", "command_id")
    count = 0
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        as_reader(connection, tenant),
        aclosing(stream(connection, commands_query(session, state))) as rows,
    ):
        async for values in rows:
            row = dict(zip(COMMAND_COLUMNS, values, strict=True))
            count += 1
            if json:
                write_json(row)
            else:
                columns.write([cell(row[name]) for name in names])
    if not json:
        columns.close()
        nothing = NONE if session is None and state is None else NO_MATCH
        write_line(f"{count} {'command' if count == 1 else 'commands'}" if count else nothing)


async def show(
    command: Annotated[str, Parameter(help="Its id, as `list` prints it.")],
    /,
    *,
    tenant: Tenant,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show one command and every step of it, with its time and its place in the log."""
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        as_reader(connection, tenant),
    ):
        async with aclosing(stream(connection, commands_query(command_id=command))) as rows:
            found = [dict(zip(COMMAND_COLUMNS, values, strict=True)) async for values in rows]
        steps = await load_steps(connection, tenant, command)
    if not found:
        where = f"see `sojourn commands list --tenant {tenant}`"
        raise SojournError(f"no such command, or nobody has taken it up yet; {where}: {command!r}")
    (row,) = found
    if json:
        write_json({**row, "steps": [_document(step) for step in steps]})
    else:
        _tell(row, steps)


def _tell(row: dict[str, Any], steps: list[Step]) -> None:
    state: State = row["state"]
    lines = {
        "command": row["command_id"],
        "session": row["session_id"],
        "kind": row["kind"],
        "state": f"{state}: {STATES[state]}",
        "detail": row["detail"],
        "broker": row["broker"],
        "reason": row["reason"],
        "message": row["message"],
        "requested by": row["requested_by"],
        "expires (UTC)": row["expires_at"],
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        write_line(f"{name:{width}}  {cell(value)}")
    write_line("")
    columns = Columns(("STEP", "APPENDED (UTC)", "PLACE", "BY", "DETAIL"))
    for step in steps:
        at = instant(step.appended_at).replace("T", " ").removesuffix("Z")
        columns.write([_name(step), at, _place(step), cell(step.source), cell(step.detail)])
    columns.close()


def _name(step: Step) -> str:
    return step.event_type.removeprefix("disconnect_")


def _place(step: Step) -> str:
    return f"lifecycle@{step.partition}:{step.offset}"


def _document(step: Step) -> dict[str, Any]:
    return {
        "step": _name(step),
        "appended_at": instant(step.appended_at),
        "place": _place(step),
        "source": step.source,
        "disposition": step.disposition,
        "detail": step.detail,
    }
