"""Exports of a real database: the right rows of one snapshot, as other people's readers see them."""

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import psycopg
import pyarrow.parquet as pq
import pytest

from sojourn.events.embedded.database import Database
from sojourn.events.errors import Unreachable
from sojourn.exporters.export import export
from sojourn.exporters.snapshot import snapshot
from sojourn.projections.read import (
    CURRENT_COLUMNS,
    HISTORY_COLUMNS,
    CurrentFilter,
    HistoryFilter,
    NoSuchTenant,
    as_reader,
    current_query,
    history_query,
    stream,
)
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant

DAYS = 3
A_DAY = 40
EVIL = "'; DROP TABLE sojourn_v1.superseded; --\\"


@pytest.fixture
async def acme(migrated: psycopg.AsyncConnection[Any]) -> psycopg.AsyncConnection[Any]:
    """Give the tenant days of history and open sessions, and another tenant the same ids."""
    for tenant in ("acme", "globex"):
        await insert_tenant(migrated, tenant)
        await insert_history(migrated, tenant, "first", user_name=tenant)
        await insert_live(migrated, tenant, "s-open", user_name='Ruth "R" Müller\n')
    await migrated.execute(
        """
        INSERT INTO sojourn_v1.session_history
        SELECT (jsonb_populate_record(h, jsonb_build_object(
            'session_id', 's-' || n, 'offset', n, 'user_id', 'u-' || n %% 10, 'online_seconds', n + 0.25,
            'login_at', h.login_at + n / %(per_day)s * interval '1 day',
            'logout_at', h.logout_at + n / %(per_day)s * interval '1 day' + n * interval '1 microsecond'))).*
        FROM sojourn_v1.session_history AS h, generate_series(1, %(rows)s) AS n WHERE h.tenant = 'acme'
        """,
        {"rows": DAYS * A_DAY - 1, "per_day": A_DAY},
    )
    unknown = dict.fromkeys(("user_id", "user_name", "login_at", "online_seconds"))
    await insert_history(migrated, "acme", "s-orphan", offset=1000, **unknown)
    for topic, partition, offset in (("lifecycle", 0, 123), ("lifecycle", 1, 98), ("heartbeats", 0, 5)):
        await migrated.execute(
            "INSERT INTO sojourn_v1.position VALUES (%s, %s, 1, %s, NULL, NULL, NULL, now())",
            [f"sojourn.{topic}", partition, offset],
        )
    return migrated


@pytest.fixture
def dsn(acme: psycopg.AsyncConnection[Any], migrated_database: Database) -> str:  # noqa: ARG001
    """Name the database that holds them."""
    return migrated_database.dsn


async def listed(connection: psycopg.AsyncConnection[Any], query: Any, columns: tuple[str, ...]) -> list[Any]:
    """Return what the command line lists, which an export must equal."""
    async with as_reader(connection, "acme"):
        return [dict(zip(columns, row, strict=True)) async for row in stream(connection, query)]


def folded(out: Path) -> list[dict[str, Any]]:
    """Read a Parquet export in the order of its files."""
    return pq.ParquetDataset(out).read().to_pylist()  # type: ignore[no-any-return]


async def test_parquet_holds_the_rows_of_the_list_in_their_order(
    acme: psycopg.AsyncConnection[Any], dsn: str, tmp_path: Path
) -> None:
    expected = await listed(acme, history_query(HistoryFilter()), HISTORY_COLUMNS)

    manifest = export(dsn, "acme", HistoryFilter(), "parquet", tmp_path / "out")

    rows = folded(tmp_path / "out")
    assert [{name: row[name] for name in HISTORY_COLUMNS} for row in rows] == expected
    assert len(rows) == manifest.rows == DAYS * A_DAY + 1
    assert [entry.path for entry in manifest.files] == [
        f"tenant=acme/date=2026-11-{20 + day}/part-0.parquet" for day in range(DAYS)
    ]
    assert manifest.positions == "lifecycle@0:123,1:98"


async def test_the_current_list_is_exported_with_durations_up_to_its_snapshot(
    acme: psycopg.AsyncConnection[Any], dsn: str, tmp_path: Path
) -> None:
    expected = await listed(acme, current_query(CurrentFilter()), CURRENT_COLUMNS)

    manifest = export(dsn, "acme", CurrentFilter(), "parquet", tmp_path / "out")

    (row,) = folded(tmp_path / "out")
    duration = row.pop("duration_seconds")
    assert duration == (manifest.as_of - HISTORY_DAY).total_seconds()
    assert duration >= expected[0].pop("duration_seconds")
    assert {name: row[name] for name in expected[0]} == expected[0]
    assert manifest.positions == "lifecycle@0:123,1:98 heartbeats@0:5"


def test_csv_holds_the_same_rows_with_times_to_the_millisecond(dsn: str, tmp_path: Path) -> None:
    export(dsn, "acme", HistoryFilter(), "csv", tmp_path / "history")
    export(dsn, "acme", CurrentFilter(), "csv", tmp_path / "current")

    with (tmp_path / "history" / "history.csv").open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    with (tmp_path / "current" / "current.csv").open(newline="", encoding="utf-8") as file:
        (current,) = csv.DictReader(file)
    assert tuple(history[0]) == HISTORY_COLUMNS
    assert tuple(current) == CURRENT_COLUMNS
    assert [row["session_id"] for row in history][:3] == ["first", "s-orphan", "s-1"]
    assert history[-1]["logout_at"] == "2026-11-22T10:00:00.000Z"
    assert history[1]["login_at"] == history[1]["online_seconds"] == ""
    assert current["user_name"] == 'Ruth "R" Müller\n'


def test_duckdb_pandas_and_polars_read_the_right_types_order_and_counts(dsn: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(dsn, "acme", HistoryFilter(), "parquet", out)
    count = DAYS * A_DAY + 1

    with duckdb.connect() as reader:
        reader.execute("SET TimeZone = 'UTC'")
        by_duckdb = reader.sql("FROM read_parquet($1, hive_partitioning = true)", params=[f"{out}/**/*.parquet"])
        assert by_duckdb is not None
        types = dict(zip(by_duckdb.columns, map(str, by_duckdb.types), strict=True))
        ids_by_duckdb = [row[0] for row in by_duckdb.select("session_id").fetchall()]
        per_day = reader.sql(
            "SELECT date::text, count(*) FROM read_parquet($1, hive_partitioning = true) GROUP BY 1 ORDER BY 1",
            params=[f"{out}/**/*.parquet"],
        )
        assert per_day is not None
        counts = per_day.fetchall()
    by_pandas = pd.read_parquet(out)
    by_polars = pl.read_parquet(out / "**" / "*.parquet", hive_partitioning=True, try_parse_hive_dates=True)

    assert {types[name] for name in ("login_at", "logout_at")} == {"TIMESTAMP WITH TIME ZONE"}
    assert (types["online_seconds"], types["revision"], types["date"]) == ("DOUBLE", "INTEGER", "DATE")
    assert {types[name] for name in ("tenant", "session_id", "outcome", "terminal_type")} == {"VARCHAR"}
    assert counts == [("2026-11-20", A_DAY + 1), ("2026-11-21", A_DAY), ("2026-11-22", A_DAY)]
    assert str(by_pandas["logout_at"].dtype) == "datetime64[us, UTC]"
    assert by_pandas["online_seconds"].dtype == "float64"
    assert by_polars.schema["logout_at"] == pl.Datetime("us", "UTC")
    assert dict(by_polars.select("online_seconds", "date", "session_id", "tenant").schema) == {
        "online_seconds": pl.Float64(),
        "date": pl.Date(),
        "session_id": pl.String(),
        "tenant": pl.String(),
    }
    assert len(ids_by_duckdb) == len(by_pandas) == len(by_polars) == count
    assert ids_by_duckdb == by_pandas["session_id"].tolist() == by_polars["session_id"].to_list()
    assert by_pandas["logout_at"].is_monotonic_increasing
    assert by_polars["logout_at"].is_sorted()
    assert by_polars["online_seconds"].null_count() == 1


@pytest.mark.parametrize("what", [CurrentFilter(user="nobody"), HistoryFilter(user="nobody")])
def test_readers_get_the_columns_of_an_export_without_rows(
    dsn: str,
    tmp_path: Path,
    what: CurrentFilter | HistoryFilter,
) -> None:
    columns = CURRENT_COLUMNS if isinstance(what, CurrentFilter) else HISTORY_COLUMNS
    out = tmp_path / "out"

    manifest = export(dsn, "acme", what, "parquet", out)

    with duckdb.connect() as reader:
        by_duckdb = reader.sql("FROM read_parquet($1, hive_partitioning = true)", params=[f"{out}/**/*.parquet"])
        assert by_duckdb is not None
        assert (set(by_duckdb.columns), len(by_duckdb.fetchall())) == ({*columns, "date"}, 0)
    by_pandas = pd.read_parquet(out)
    by_polars = pl.read_parquet(out / "**" / "*.parquet", hive_partitioning=True)
    assert (set(by_pandas.columns), len(by_pandas)) == ({*columns, "date"}, 0)
    assert (set(by_polars.columns), len(by_polars)) == ({*columns, "date"}, 0)
    assert manifest.rows == 0


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (HistoryFilter(user="u-3"), 12),
        (HistoryFilter(user="ACM"), 120),
        (HistoryFilter(user="ACM", desktop="d-204", outcome="normal"), 120),
        (HistoryFilter(outcome="abnormal"), 0),
        (HistoryFilter(user=EVIL), 0),
        (HistoryFilter(user="%"), 0),
        (HistoryFilter(from_at=HISTORY_DAY + timedelta(days=1)), 80),
        (HistoryFilter(to_at=datetime(2026, 11, 20, 10, 0, 0, 1, UTC)), A_DAY + 1),
        (HistoryFilter(from_at=HISTORY_DAY + timedelta(days=1), to_at=HISTORY_DAY + timedelta(days=2)), 40),
        (CurrentFilter(user='"r" müller'), 1),
        (CurrentFilter(terminal="mobile"), 0),
        (CurrentFilter(broker="/brokers/eu-1", access="internal"), 1),
    ],
)
async def test_a_filter_of_an_export_keeps_what_the_list_keeps(
    acme: psycopg.AsyncConnection[Any],
    dsn: str,
    tmp_path: Path,
    filters: CurrentFilter | HistoryFilter,
    count: int,
) -> None:
    if isinstance(filters, CurrentFilter):
        expected = await listed(acme, current_query(filters), CURRENT_COLUMNS)
    else:
        expected = await listed(acme, history_query(filters), HISTORY_COLUMNS)

    manifest = export(dsn, "acme", filters, "parquet", tmp_path / "out")

    assert [row["session_id"] for row in folded(tmp_path / "out")] == [row["session_id"] for row in expected]
    assert manifest.rows == len(expected) == count


async def test_history_at_the_same_position_gives_the_same_bytes(
    acme: psycopg.AsyncConnection[Any], dsn: str, tmp_path: Path
) -> None:
    one = export(dsn, "acme", HistoryFilter(), "parquet", tmp_path / "one")
    await acme.execute("UPDATE sojourn_v1.position SET next_offset = 6 WHERE topic = 'sojourn.heartbeats'")
    await acme.execute("VACUUM FULL sojourn_v1.session_history")
    two = export(dsn, "acme", HistoryFilter(), "parquet", tmp_path / "two")
    await acme.execute("UPDATE sojourn_v1.position SET next_offset = 124 WHERE next_offset = 123")
    three = export(dsn, "acme", HistoryFilter(), "parquet", tmp_path / "three")

    assert two.as_of > one.as_of
    assert two.files == one.files
    assert [entry.sha256 for entry in three.files] != [entry.sha256 for entry in one.files]


async def test_rows_and_positions_are_of_one_snapshot(acme: psycopg.AsyncConnection[Any], dsn: str) -> None:
    with snapshot(dsn, "acme") as found:
        await acme.execute("UPDATE sojourn_v1.position SET next_offset = next_offset + 1")
        await insert_history(acme, "acme", "s-later", offset=5000)
        with found.batches(history_query(HistoryFilter()), "history") as batches:
            rows = sum(batch.num_rows for batch in batches)

        assert rows == DAYS * A_DAY + 1
        assert found.position("sojourn.lifecycle") == "lifecycle@0:123,1:98"


async def test_an_export_of_a_tenant_is_the_same_with_and_without_others(
    acme: psycopg.AsyncConnection[Any], dsn: str, tmp_path: Path
) -> None:
    beside = export(dsn, "acme", HistoryFilter(), "parquet", tmp_path / "beside")
    for table in ("session_history", "live_session", "tenant_config"):
        await acme.execute(f"DELETE FROM sojourn_v1.{table} WHERE tenant = 'globex'".encode())  # noqa: S608

    alone = export(dsn, "acme", HistoryFilter(), "parquet", tmp_path / "alone")

    assert alone.files == beside.files


def test_an_unknown_tenant_is_named_and_no_folder_is_made(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(NoSuchTenant, match="'nobody'"):
        export(dsn, "nobody", HistoryFilter(), "csv", tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"^PostgreSQL cannot be read.*: connection to server[^\n]*$"):
        export(f"host={tmp_path} user=nobody dbname=none", "acme", HistoryFilter(), "csv", tmp_path / "out")


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_five_times_the_rows_take_hardly_more_memory(dsn: str, tmp_path: Path, file_format: str) -> None:
    peaks = []

    for rows in (100_000, 500_000):
        out = tmp_path / str(rows)
        command = [sys.executable, "-m", "tests.integration.export_peak", dsn, str(rows), file_format, str(out)]
        ended = subprocess.run(command, check=True, capture_output=True, text=True)
        counted, peak = map(int, ended.stdout.split())
        assert counted == rows == json.loads((out / "_manifest.json").read_text())["rows"]
        peaks.append(peak)

    assert peaks[1] <= 1.2 * peaks[0]
