"""The queries that users compose: which rows, in which order, by which index; and what the auditor reads."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from sojourn.events.embedded.database import Database
from sojourn.events.errors import UsageError
from sojourn.projections import read_letters, read_status
from sojourn.projections.read import (
    CHUNK_ROWS_MAX,
    CURRENT_COLUMNS,
    HISTORY_COLUMNS,
    CurrentFilter,
    HistoryFilter,
    Rows,
    as_auditor,
    as_reader,
    current_query,
    history_query,
    statement_of,
    stream,
)
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant

HOUR = timedelta(hours=1)


@pytest.fixture
async def acme(migrated: psycopg.AsyncConnection[Any]) -> psycopg.AsyncConnection[Any]:
    """Let the tenant exist, and another with the same ids that must never show."""
    await insert_tenant(migrated, "acme")
    await insert_tenant(migrated, "globex")
    await insert_live(migrated, "globex", "s-1")
    await insert_history(migrated, "globex", "s-2")
    return migrated


async def found(connection: psycopg.AsyncConnection[Any], query: Rows, column: str = "session_id") -> list[Any]:
    """Return one column of what acme's reader gets."""
    async with as_reader(connection, "acme"):
        return [row[query.selected_columns.keys().index(column)] async for row in stream(connection, query)]


def current(**filters: Any) -> Rows:
    return current_query(CurrentFilter(**filters))


def history(**filters: Any) -> Rows:
    return history_query(HistoryFilter(**filters))


def test_the_columns_are_those_of_the_contract_in_its_order() -> None:
    common = (
        "tenant session_id user_id user_name desktop_id desktop_name desktop_pool terminal_type terminal_os client_ip "
        "access protocol broker login_at"
    )

    interval = "ended_after ended_before"
    assert " ".join(CURRENT_COLUMNS) == f"{common} state last_seen_at duration_seconds current_client_ip {interval}"
    assert " ".join(HISTORY_COLUMNS) == f"{common} logout_at online_seconds outcome reason {interval} command revision"
    assert tuple(current().selected_columns.keys()) == CURRENT_COLUMNS
    for query in (
        history(),
        history_query(HistoryFilter(), with_open=True),
        history_query(HistoryFilter(), revisions=True),
    ):
        assert tuple(query.selected_columns.keys()) == HISTORY_COLUMNS


async def test_a_current_row_says_when_the_session_was_last_seen_and_from_where(
    acme: psycopg.AsyncConnection[Any],
) -> None:
    seen = HISTORY_DAY + HOUR
    page = bytes(4) + int(seen.timestamp()).to_bytes(4, "big") + bytes(4 * 254)
    await acme.execute("INSERT INTO sojourn_v1.liveness_page VALUES (0, 0, %s)", [page])
    await insert_live(acme, "acme", "s-seen", slot=1)
    await insert_live(acme, "acme", "s-unseen", slot=0)
    await acme.execute(
        "INSERT INTO sojourn_v1.live_detail VALUES ('acme', 's-seen', 0, '10.9.9.9', NULL, NULL, %s)", [seen]
    )

    async with as_reader(acme, "acme"):
        rows = [dict(zip(CURRENT_COLUMNS, row, strict=True)) async for row in stream(acme, current())]

    assert [(row["session_id"], row["last_seen_at"], row["current_client_ip"]) for row in rows] == [
        ("s-seen", seen, "10.9.9.9"),
        ("s-unseen", HISTORY_DAY, "10.4.2.17"),
    ]
    assert rows[0]["last_seen_at"].utcoffset() == timedelta(0)


async def test_a_duration_is_counted_to_the_snapshot_and_never_below_zero(acme: psycopg.AsyncConnection[Any]) -> None:
    now = datetime.now(UTC)
    await insert_live(acme, "acme", "s-old", login_at=now - HOUR)
    await insert_live(acme, "acme", "s-ahead", login_at=now + HOUR)

    durations = await found(acme, current(), "duration_seconds")

    assert durations[0] == pytest.approx(3600, abs=60)
    assert durations[1] == 0.0


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"user": "u-2"}, ["s-2"]),
        ({"user": "müller"}, ["s-2"]),
        ({"user": "MÜLL"}, ["s-2"]),
        ({"user": "u-"}, []),
        ({"user": "%"}, ["s-3"]),
        ({"user": "a_a"}, []),
        ({"desktop": "d-3"}, ["s-3"]),
        ({"desktop": "cad"}, ["s-1", "s-2", "s-3"]),
        ({"terminal": "mobile"}, ["s-3"]),
        ({"access": "public"}, ["s-2"]),
        ({"broker": "/brokers/us-1"}, ["s-1"]),
        ({"broker": "/brokers"}, []),
        ({"user": "ada", "broker": "/brokers/us-1"}, ["s-1"]),
        ({"user": "'; DROP TABLE x; --"}, []),
        ({"to_at": HISTORY_DAY + HOUR}, ["s-1"]),
        ({"from_at": HISTORY_DAY}, ["s-1", "s-2", "s-3"]),
        ({"from_at": datetime(2999, 1, 1, tzinfo=UTC)}, []),
    ],
)
async def test_a_filter_keeps_the_open_sessions_that_it_names(
    acme: psycopg.AsyncConnection[Any], filters: dict[str, Any], expected: list[str]
) -> None:
    await insert_live(acme, "acme", "s-1", user_id="u-1", broker="/brokers/us-1")
    await insert_live(
        acme, "acme", "s-2", user_id="u-2", user_name="Ruth Müller", access="public", login_at=HISTORY_DAY + HOUR
    )
    await insert_live(
        acme, "acme", "s-3", user_id="u-3", user_name="100% Ada", desktop_id="d-3", terminal_type="mobile",
        login_at=HISTORY_DAY + 2 * HOUR,
    )  # fmt: skip

    assert await found(acme, current(**filters)) == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["s-early", "s-orphan", "s-late"]),
        ({"outcome": "abnormal"}, ["s-late"]),
        ({"user": "u-9"}, ["s-late"]),
        ({"from_at": HISTORY_DAY + HOUR}, ["s-early", "s-orphan", "s-late"]),
        ({"from_at": HISTORY_DAY + HOUR + timedelta(microseconds=1)}, ["s-orphan", "s-late"]),
        ({"to_at": HISTORY_DAY}, []),
        ({"to_at": HISTORY_DAY + timedelta(microseconds=1)}, ["s-early"]),
        ({"to_at": HISTORY_DAY + 2 * HOUR}, ["s-early", "s-late"]),
        ({"from_at": HISTORY_DAY + 2 * HOUR, "to_at": HISTORY_DAY + 3 * HOUR}, ["s-orphan", "s-late"]),
        ({"from_at": HISTORY_DAY + 2 * HOUR + timedelta(seconds=1)}, ["s-late"]),
    ],
)
async def test_a_range_keeps_the_ended_sessions_that_overlap_it(
    acme: psycopg.AsyncConnection[Any], filters: dict[str, Any], expected: list[str]
) -> None:
    """An unknown login counts as the instant of the logout."""
    await insert_history(acme, "acme", "s-early", offset=1)
    await insert_history(acme, "acme", "s-orphan", offset=2, login_at=None, logout_at=HISTORY_DAY + 2 * HOUR)
    await insert_history(
        acme, "acme", "s-late", offset=3, user_id="u-9", outcome="abnormal", login_at=HISTORY_DAY + HOUR,
        logout_at=HISTORY_DAY + 9 * HOUR,
    )  # fmt: skip

    assert await found(acme, history(**filters)) == expected


async def test_history_lists_the_newest_ended_revision_and_more_where_asked(
    acme: psycopg.AsyncConnection[Any],
) -> None:
    active: dict[str, Any] = {"state": "active", "logout_at": None, "online_seconds": None, "outcome": None}
    await insert_history(acme, "acme", "s-1", offset=1, revision=1, **active, reason=None)
    await insert_history(acme, "acme", "s-1", offset=2, revision=2)
    await insert_history(acme, "acme", "s-1", offset=3, revision=3, logout_at=HISTORY_DAY + 2 * HOUR)
    await insert_history(acme, "acme", "s-1", offset=4, revision=None, disposition="duplicate")
    await acme.execute(
        "INSERT INTO sojourn_v1.superseded "
        'SELECT tenant, partition, "offset", appended_at, 3, now() FROM sojourn_v1.session_history WHERE "offset" = 2'
    )
    await insert_live(acme, "acme", "s-9", login_at=HISTORY_DAY + 5 * HOUR, revision=1)

    ended = await found(acme, history(), "revision")
    with_open = await found(acme, history_query(HistoryFilter(), with_open=True))
    open_outcomes = await found(acme, history_query(HistoryFilter(outcome="normal"), with_open=True))
    revisions = await found(acme, history_query(HistoryFilter(), revisions=True), "revision")
    lasting = await found(
        acme, history_query(HistoryFilter(from_at=HISTORY_DAY + 4 * HOUR), revisions=True), "revision"
    )

    assert ended == [3]
    assert with_open == ["s-1", "s-9"]
    assert open_outcomes == ["s-1"]
    assert revisions == [1, 2, 3]
    assert lasting == [1]


async def test_rows_of_one_instant_come_in_the_order_of_their_bytes(acme: psycopg.AsyncConnection[Any]) -> None:
    for offset, session_id in enumerate(["b", "ä", "B", "a-1", "a1"]):
        await insert_history(acme, "acme", session_id, offset=offset)
        await insert_live(acme, "acme", session_id)

    assert await found(acme, history()) == ["B", "a-1", "a1", "b", "ä"]
    assert await found(acme, current()) == ["B", "a-1", "a1", "b", "ä"]


@pytest.mark.parametrize(
    "query",
    [
        current(),
        history(),
        history_query(HistoryFilter(), with_open=True),
        history_query(HistoryFilter(), revisions=True),
    ],
)
def test_the_order_does_not_depend_on_the_locale_of_the_database(query: Rows) -> None:
    """The embedded server has no locale that orders otherwise, so the statement itself is looked at."""
    text, _ = statement_of(query)

    assert 'session_id COLLATE "C", ' in text.rpartition("ORDER BY")[2]


async def test_all_that_is_read_in_one_go_is_of_one_snapshot(
    acme: psycopg.AsyncConnection[Any], migrated_database: Database
) -> None:
    await insert_history(acme, "acme", "s-1", offset=1)

    async with as_reader(acme, "acme"), await migrated_database.connect(autocommit=True) as other:
        await insert_history(other, "acme", "s-2", offset=2)
        ids = [row[1] async for row in stream(acme, history())]

    assert ids == ["s-1"]
    assert await found(acme, history()) == ["s-1", "s-2"]


async def test_a_list_is_complete_over_many_chunks_and_of_one_snapshot(
    acme: psycopg.AsyncConnection[Any], migrated_database: Database
) -> None:
    count = 2 * CHUNK_ROWS_MAX + 1
    await insert_live(acme, "acme", "s-0")
    await acme.execute(
        """
        INSERT INTO sojourn_v1.live_session
        SELECT (jsonb_populate_record(l, jsonb_build_object('session_id', 's-' || n))).*
        FROM sojourn_v1.live_session AS l, generate_series(1, %s) AS n WHERE l.tenant = 'acme'
        """,
        [count - 1],
    )
    ids = []

    async with as_reader(acme, "acme"):
        async for row in stream(acme, current()):
            ids.append(row[1])
            if len(ids) == 1:
                async with await migrated_database.connect(autocommit=True) as other:
                    await other.execute("DELETE FROM sojourn_v1.live_session")

    assert len(set(ids)) == len(ids) == count
    assert ids == sorted(ids)


async def test_a_filter_that_is_no_utf8_is_refused_as_wrong_usage() -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        current(user="\udcff")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (current_query(CurrentFilter()), "live_session_login"),
        (history_query(HistoryFilter(from_at=HISTORY_DAY + HOUR)), "session_history_2026_11_tenant_logout_at"),
        (history_query(HistoryFilter()), "session_history_2026_11_tenant_logout_at"),
    ],
)
async def test_an_ordinary_list_uses_an_index_under_row_level_security(
    acme: psycopg.AsyncConnection[Any], query: Rows, index: str
) -> None:
    await insert_history(acme, "acme", "s-1")
    text, values = statement_of(query)

    async with as_reader(acme, "acme"):
        await acme.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        plan = await (await acme.execute("EXPLAIN " + text, values)).fetchall()

    lines = "\n".join(line for (line,) in plan)
    assert index in lines
    assert "current_setting('sojourn.tenant'" in lines


async def test_the_auditor_reads_progress_and_dispositions_of_all_topics(acme: psycopg.AsyncConnection[Any]) -> None:
    await acme.execute("INSERT INTO sojourn.partition_owner VALUES (0, 'host-1', 7, now())")
    for topic, partition, offset in (
        ("sojourn.heartbeats", 0, 5),
        ("sojourn.lifecycle", 1, 98),
        ("sojourn.lifecycle", 0, 123),
    ):
        await acme.execute(
            "INSERT INTO sojourn_v1.position VALUES (%s, %s, 7, %s, NULL, NULL, NULL, now())",
            [topic, partition, offset],
        )
    for topic, partition, records in (
        ("sojourn.lifecycle", 0, 100),
        ("sojourn.lifecycle", 1, 90),
        ("sojourn.heartbeats", 0, 5),
    ):
        await acme.execute(
            "INSERT INTO sojourn_v1.disposition VALUES (%s, %s, 'applied', %s)", [topic, partition, records]
        )

    async with as_auditor(acme):
        progress = await read_status.progress(acme)
        dispositions = await read_status.dispositions(acme)

    assert [(row.topic, row.partition, row.next_offset, row.owner, row.epoch) for row in progress] == [
        ("sojourn.lifecycle", 0, 123, "host-1", 7),
        ("sojourn.lifecycle", 1, 98, None, 7),
        ("sojourn.heartbeats", 0, 5, "host-1", 7),
    ]
    assert dispositions == {"lifecycle": {"applied": 190}, "heartbeats": {"applied": 5}}
    offsets = {row.partition: row.next_offset for row in progress if row.topic == "sojourn.lifecycle"}
    assert read_status.position_text("sojourn.lifecycle", offsets) == "lifecycle@0:123,1:98"


async def test_counts_of_a_new_database_name_both_topics(acme: psycopg.AsyncConnection[Any]) -> None:
    async with as_auditor(acme):
        assert await read_status.dispositions(acme) == {"lifecycle": {}, "heartbeats": {}}


async def test_dead_letters_come_in_the_order_of_the_log_and_one_can_be_looked_at(
    acme: psycopg.AsyncConnection[Any],
) -> None:
    for partition, offset, tenant in ((1, 3, None), (0, 9, "acme"), (0, 2, "globex")):
        await acme.execute(
            """
            INSERT INTO sojourn_v1.dead_letter
            VALUES ('sojourn.lifecycle', %s, %s, now(), 'not_json', 'no JSON', %s, NULL, NULL, '[["a", "6231"]]',
                '\\xff00', 2, NULL, NULL)
            """,
            [partition, offset, tenant],
        )

    async with as_auditor(acme):
        listed = [row async for row in read_letters.dead_letters(acme)]
        one = await read_letters.letters_at(acme, "sojourn.lifecycle", 1, 3)
        none = await read_letters.letters_at(acme, "sojourn.lifecycle", 1, 4)

    assert [(row.partition, row.offset) for row in listed] == [(0, 2), (0, 9), (1, 3)]
    assert [row.tenant for row in listed] == ["globex", "acme", None]
    ((letter, key, headers, value, *_),) = one
    assert (letter.reason, key, value, headers) == ("not_json", None, b"\xff\x00", [["a", "6231"]])
    assert none == []


async def test_a_list_that_is_left_early_leaves_the_connection_usable(acme: psycopg.AsyncConnection[Any]) -> None:
    await insert_live(acme, "acme", "s-1")
    await insert_live(acme, "acme", "s-2")

    async with as_reader(acme, "acme"):
        async for _ in stream(acme, current()):
            break
    await asyncio.sleep(0)

    assert await found(acme, current()) == ["s-1", "s-2"]
