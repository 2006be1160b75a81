"""Sessions that were folded in memory, as the record batches of a dataset."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sojourn.exporters.columns import Dataset, arrow_schema, instants
from sojourn.projections.facts import Key
from sojourn.projections.session import Session

BATCH_ROWS_MAX = 65_536  # what is ordered and written at a time; a row has a third of a kilobyte


class FoldedSessions:
    """Collects sessions in their newest revision; Arrow holds a million of them in a third of a gigabyte."""

    def __init__(self) -> None:
        self._tables: dict[Dataset, list[Any]] = {"current": [], "history": []}

    def add(self, sessions: Iterable[tuple[Key, Session]]) -> None:
        """Take sessions over: the open ones into `current`, the ended ones into `history`."""
        rows: dict[Dataset, list[tuple[Key, Session]]] = {"current": [], "history": []}
        for key, session in sessions:
            rows["current" if session.logout is None else "history"].append((key, session))
        for dataset, some in rows.items():
            for start in range(0, len(some), BATCH_ROWS_MAX):
                self._tables[dataset].append(_table(dataset, some[start : start + BATCH_ROWS_MAX]))

    def batches(self, dataset: Dataset, as_of: datetime) -> Iterator[Any]:
        """Yield the rows by tenant, and then as the queries of the dataset order them; durations are up to `as_of`."""
        schema = arrow_schema(dataset).append(pa.field("offset", pa.int64()))
        table = pa.concat_tables([schema.empty_table(), *self._tables[dataset]])
        if dataset == "current":
            duration = pc.divide(
                pc.cast(pc.subtract(pa.scalar(as_of, pa.timestamp("us", "UTC")), table["login_at"]), pa.int64()), 1e6
            )
            place = table.schema.names.index("duration_seconds")
            table = table.set_column(place, "duration_seconds", pc.max_element_wise(duration, 0.0))
        order = table.append_column("instant", instants(table))
        keys = [(name, "ascending") for name in ("tenant", "instant", "session_id", "offset")]
        indices = pc.sort_indices(order, sort_keys=keys)
        names = arrow_schema(dataset).names
        for start in range(0, len(indices), BATCH_ROWS_MAX):
            part = table.select(names).take(indices.slice(start, BATCH_ROWS_MAX)).combine_chunks()
            yield from part.to_batches()


def _table(dataset: Dataset, sessions: list[tuple[Key, Session]]) -> Any:
    schema = arrow_schema(dataset).append(pa.field("offset", pa.int64()))
    values = [_values(key, session) for key, session in sessions]
    return pa.table({name: [row.get(name) for row in values] for name in schema.names}, schema=schema)


def _values(key: Key, session: Session) -> dict[str, Any]:
    login, logout = session.login, session.logout
    values: dict[str, Any] = {
        "tenant": key[0],
        "session_id": key[1],
        "broker": session.broker,
        "offset": session.offset,
    }
    if login is not None:
        for name in (
            "user_id",
            "user_name",
            "desktop_id",
            "desktop_name",
            "desktop_pool",
            "terminal_type",
            "terminal_os",
            "client_ip",
            "access",
            "protocol",
        ):
            values[name] = getattr(login, name)
        values["login_at"] = login.at
    values["ended_after"], values["ended_before"] = session.ended_between
    if logout is None:
        values["state"] = session.state
    else:
        values |= {
            "logout_at": logout.at,
            "online_seconds": session.online_seconds,
            "outcome": session.outcome,
            "reason": logout.reason,
            "command": logout.command,
            "revision": session.revision,
        }
    return values
