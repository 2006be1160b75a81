"""`sojourn sessions` and `sojourn history`: the two lists, complete and streamed."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from sojourn.console.opening import SWITCH, DataDir, Json, Tenant, opened
from sojourn.console.output import Columns, cell, seconds, write_json, write_line
from sojourn.console.times import parse_range
from sojourn.events.fields import Access, TerminalType
from sojourn.projections.read import (
    CURRENT_COLUMNS,
    HISTORY_COLUMNS,
    CurrentFilter,
    HistoryFilter,
    Rows,
    as_reader,
    current_query,
    history_query,
    stream,
)

User = Annotated[str | None, Parameter(help="A user's id, or a part of the name in any case.")]
Desktop = Annotated[str | None, Parameter(help="A desktop's id, or a part of the name in any case.")]
From = Annotated[str | None, Parameter(name="--from", help="Sessions that overlap the range from this time on.")]
To = Annotated[str | None, Parameter(name="--to", help="Sessions that overlap the range before this time.")]

NO_MATCH = "no session matches; leave filters out to see more"

Line = Callable[[dict[str, Any]], Sequence[str]]


async def sessions(
    *,
    tenant: Tenant,
    user: User = None,
    desktop: Desktop = None,
    terminal: Annotated[TerminalType | None, Parameter(help="The type of terminal.")] = None,
    access: Annotated[Access | None, Parameter(help="From inside, or from the public internet.")] = None,
    broker: Annotated[str | None, Parameter(help="The source of the broker's events.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List who is connected now, by login time."""
    filters = CurrentFilter(user, desktop, terminal, access, broker)
    query = current_query(filters)
    header = ("USER", "DESKTOP", "TERMINAL", "LOGIN (UTC)", "DURATION", "ADDRESS", "ACCESS", "STATE", "SESSION")
    columns = None if json else Columns(header, right=("DURATION",))
    nobody = "nobody is connected; `sojourn history` lists the sessions that have ended"
    nothing = nobody if filters == CurrentFilter() else NO_MATCH
    await _list(query, tenant, CURRENT_COLUMNS, columns, _current_line, nothing, data_dir)


async def history(
    *,
    tenant: Tenant,
    from_: From = None,
    to: To = None,
    user: User = None,
    desktop: Desktop = None,
    outcome: Annotated[Literal["normal", "abnormal"] | None, Parameter(help="How the sessions ended.")] = None,
    open_: Annotated[bool, SWITCH, Parameter(name="--open", help="Add the sessions still open.")] = False,
    revisions: Annotated[bool, SWITCH, Parameter(help="List every revision, not the newest.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List ended sessions, by logout time, in their newest revision."""
    filters = HistoryFilter(user, desktop, outcome, *parse_range(from_, to))
    query = history_query(filters, with_open=open_, revisions=revisions)
    header = ("USER", "DESKTOP", "LOGIN (UTC)", "LOGOUT (UTC)", "ONLINE", "OUTCOME", "REASON", "REVISION", "SESSION")
    columns = None if json else Columns(header, right=("ONLINE", "REVISION"))
    nobody = "no session has ended yet; --open adds those that are open"
    nothing = nobody if filters == HistoryFilter() and not open_ else NO_MATCH
    await _list(query, tenant, HISTORY_COLUMNS, columns, _history_line, nothing, data_dir)


async def _list(
    query: Rows,
    tenant: str,
    names: Sequence[str],
    columns: Columns | None,
    line: Line,
    nothing: str,
    data_dir: Path | None,
) -> None:
    """Write the rows of a query as they come: JSON, or in columns with their number at the end, or `nothing`."""
    count = 0
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        as_reader(connection, tenant),
        aclosing(stream(connection, query)) as rows,
    ):
        async for values in rows:
            row = dict(zip(names, values, strict=True))
            count += 1
            if columns is None:
                write_json(row)
            else:
                columns.write(line(row))
    if columns is not None:
        columns.close()
        write_line(f"{count} {'session' if count == 1 else 'sessions'}" if count else nothing)


def _current_line(row: dict[str, Any]) -> Sequence[str]:
    return (
        _named(row, "user"),
        _named(row, "desktop"),
        cell(row["terminal_type"]),
        cell(row["login_at"]),
        seconds(row["duration_seconds"]),
        cell(row["current_client_ip"]),
        cell(row["access"]),
        cell(row["state"]),
        cell(row["session_id"]),
    )


def _history_line(row: dict[str, Any]) -> Sequence[str]:
    return (
        _named(row, "user"),
        _named(row, "desktop"),
        cell(row["login_at"]),
        cell(row["logout_at"]),
        seconds(row["online_seconds"]),
        cell(row["outcome"]),
        _reason(row),
        cell(row["revision"]),
        cell(row["session_id"]),
    )


def _reason(row: dict[str, Any]) -> str:
    """Return why a session ended, and between which instants where that is all that is known."""
    if row["ended_before"] is None:
        return cell(row["reason"])
    return f"{cell(row['reason'])} {row['ended_after']:%H:%M:%S}–{row['ended_before']:%H:%M:%S}"


def _named(row: dict[str, Any], what: str) -> str:
    """Return a name with the id behind it where that says more."""
    name, identifier = row[f"{what}_name"], row[f"{what}_id"]
    return cell(identifier) if name in (None, "", identifier) else f"{cell(name)} ({cell(identifier)})"
