"""Arrow batches from PostgreSQL: one snapshot of one tenant, read as the reader through ADBC (binary COPY)."""

import re
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, Final, cast

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg as dialects
from sqlalchemy.sql import visitors

from sojourn.events.errors import SojournError, Unreachable
from sojourn.exporters.columns import Dataset, arrow_schema
from sojourn.projections.read import NoSuchTenant
from sojourn.projections.read_status import position_text

BATCH_BYTES_MAX: Final = 2 * 1024 * 1024  # eight thousand rows: more would bring no speed, less would cost some
AHEAD_BATCHES_MAX: Final = 4  # a row group: PostgreSQL goes on while that is encoded

_OURS: Final = re.compile(r"^(\w+: )?\[libpq\] ([^:]*: )?")  # what ADBC puts before the words of PostgreSQL
_BATCH_BYTES: Final = "adbc.postgresql.batch_size_hint_bytes"
_DIALECT: Final = dialects.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # leaves % alone


class Snapshot:
    """A read-only transaction that sees one tenant at one instant."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def as_of(self) -> datetime:
        """Return the instant of the snapshot."""
        row = self._row("SELECT now()")
        assert row is not None
        instant: datetime = row[0]
        return instant

    def position(self, topic: str) -> str:
        """Return how much of a topic the rows reflect."""
        self._cursor.execute("SELECT partition, next_offset FROM sojourn.position WHERE topic = $1", (topic,))
        return position_text(topic, dict(self._cursor.fetchall()))

    def has_tenant(self, tenant: str) -> bool:
        """Tell whether the tenant exists."""
        return self._row("SELECT tenant FROM sojourn.tenant WHERE tenant = $1", (tenant,)) is not None

    @contextmanager
    def batches(self, query: sa.Select[Any], dataset: Dataset) -> Iterator[Iterator[Any]]:
        """Give the rows of a query, read ahead of who takes them; until this ends, nothing else can be asked."""
        reading = self._read(query, dataset)
        coming: deque[Future[Any]] = deque()

        def taken() -> Iterator[Any]:
            while (batch := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, reading, None))
                yield batch

        with closing(reading), ThreadPoolExecutor(1) as thread:
            coming.extend(thread.submit(next, reading, None) for _ in range(AHEAD_BATCHES_MAX))
            try:
                yield taken()
            finally:
                for future in coming:
                    future.cancel()

    def _read(self, query: sa.Select[Any], dataset: Dataset) -> Generator[Any]:
        text, values = _with_settings(query)
        with _explained():
            for name, value in values.items():
                self._row("SELECT set_config($1, $2, true)", (name, value))
            self._cursor.adbc_statement.set_options(**{_BATCH_BYTES: str(BATCH_BYTES_MAX)})
            self._cursor.execute(text)
            with self._cursor.fetch_record_batch() as reader:
                for batch in reader:
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=arrow_schema(dataset))

    def _row(self, statement: str, values: tuple[str, ...] = ()) -> tuple[Any, ...] | None:
        self._cursor.execute(statement, values or None)
        row: tuple[Any, ...] | None = self._cursor.fetchone()
        return row


@contextmanager
def snapshot(dsn: str, tenant: str) -> Iterator[Snapshot]:
    """Open a snapshot; raises `NoSuchTenant` and `Unreachable`."""
    with _explained():
        connection = adbc_driver_postgresql.dbapi.connect(dsn)
        with connection, connection.cursor() as cursor:
            for statement in (
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                "SET LOCAL ROLE sojourn_reader",
            ):
                cursor.execute(statement)
            cursor.execute("SELECT set_config('sojourn.tenant', $1, true)", (tenant,))
            found = Snapshot(cursor)
            if not found.has_tenant(tenant):
                raise NoSuchTenant(tenant)
            yield found


def _with_settings(query: sa.Select[Any]) -> tuple[str, dict[str, str]]:
    """Return the query with its values taken from settings, and those settings: COPY takes no parameters."""
    values: dict[str, str] = {}

    def replace(element: Any, **_: Any) -> Any:
        if not isinstance(element, sa.BindParameter):
            return None
        name = f"sojourn.value_{len(values)}"
        values[name] = element.value.isoformat() if isinstance(element.value, datetime) else str(element.value)
        return sa.cast(sa.func.current_setting(sa.literal_column(f"'{name}'")), element.type)

    replaced = cast(sa.Select[Any], visitors.replacement_traverse(query, {}, replace))
    return str(replaced.compile(dialect=_DIALECT)), values


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what ADBC raises, and Arrow where ADBC reads ahead, into one line."""
    try:
        yield
    except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
        line = _OURS.sub("", (str(error).splitlines() or [""])[0])
        if isinstance(error, adbc_driver_manager.OperationalError | OSError):
            raise Unreachable(f"PostgreSQL cannot be read; run it again when it is there: {line}") from error
        raise SojournError(f"PostgreSQL refused the export: {line}") from error
