"""Pages of the lists, counts above them, and the life of one session."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import psycopg
import pytest

from sojourn.projections.counts import LOOKED_AT_MAX, MATCHING_MAX, current_counts, matching
from sojourn.projections.listing import (
    SORTED_MAX,
    CurrentOrder,
    Direction,
    HistoryOrder,
    Page,
    Place,
    TooManyToSort,
    current_page,
    history_page,
)
from sojourn.projections.read import CurrentFilter, HistoryFilter, as_reader
from sojourn.projections.timeline import Change, session_detail, timeline
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant

HOUR = timedelta(hours=1)
AGO = datetime.now(UTC) - timedelta(days=1)
NAMES = ("Ada", "Ada", "ada", "Ärzte", "王伟", "Zoe", "Ada")
KINDS = ("thin_client", "browser")


@pytest.fixture
async def acme(migrated: psycopg.AsyncConnection[Any]) -> psycopg.AsyncConnection[Any]:
    """Give the tenant sessions with equal and unequal values, and another tenant the same ids."""
    for tenant in ("globex", "acme"):
        await insert_tenant(migrated, tenant)
        for number, name in enumerate(NAMES):
            columns: dict[str, Any] = {
                "offset": number,
                "user_name": name,
                "desktop_name": f"CAD-{number % 3}",
                "terminal_type": KINDS[number % 2],
                "client_ip": f"10.0.0.{number % 4}",
                "login_at": AGO + HOUR * (number // 2),
            }
            await insert_live(migrated, tenant, f"s-{number}", **columns)
            await insert_history(migrated, tenant, f"h-{number}", **columns, logout_at=AGO + HOUR * (3 + number // 2))
        await insert_history(
            migrated, tenant, "h-orphan", offset=90, user_name=None, desktop_name=None, login_at=None,
            online_seconds=None, logout_at=AGO,
        )  # fmt: skip
    return migrated


async def page_of(connection: psycopg.AsyncConnection[Any], order: str, direction: Direction, after: Any) -> Page:
    current = order in get_args(CurrentOrder) and not order.startswith("h:")
    async with as_reader(connection, "acme"):
        if current:
            return await current_page(connection, CurrentFilter(), order, direction, after, 2)  # type: ignore[arg-type]
        order = order.removeprefix("h:")
        return await history_page(connection, HistoryFilter(), order, direction, after, 2)  # type: ignore[arg-type]


def ids(page: Page) -> list[str]:
    return [row["session_id"] for row in page.rows]


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("order", [*get_args(CurrentOrder), *(f"h:{order}" for order in get_args(HistoryOrder))])
async def test_pages_forth_and_back_hold_every_row_once_in_order(
    acme: psycopg.AsyncConnection[Any], order: str, direction: Direction
) -> None:
    pages = [await page_of(acme, order, direction, None)]
    while pages[-1].next is not None:
        pages.append(await page_of(acme, order, direction, pages[-1].next))
    back = [pages[-1]]
    while back[-1].previous is not None:
        back.append(await page_of(acme, order, direction, back[-1].previous))

    rows = [row for page in pages for row in page.rows]
    expected = (
        {f"h-{number}" for number in (*range(7), "orphan")}
        if order[:2] == "h:"
        else {f"s-{number}" for number in range(7)}
    )
    assert len(rows) == len(expected)
    assert {row["session_id"] for row in rows} == expected
    values = [row[order.removeprefix("h:")] for row in rows]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=direction == "descending")
    assert pages[0].previous is None
    assert [ids(page) for page in reversed(back)] == [ids(page) for page in pages]


async def test_a_page_goes_on_from_its_place_when_rows_come_and_go(acme: psycopg.AsyncConnection[Any]) -> None:
    first = await page_of(acme, "login_at", "ascending", None)
    await acme.execute("DELETE FROM sojourn_v1.live_session WHERE session_id = 's-1'")
    await insert_live(acme, "acme", "s-before", login_at=AGO - HOUR)

    second = await page_of(acme, "login_at", "ascending", first.next)

    assert (ids(first), ids(second)) == (["s-0", "s-1"], ["s-2", "s-3"])


async def test_a_place_before_the_first_row_leads_to_an_empty_page(acme: psycopg.AsyncConnection[Any]) -> None:
    nowhere = Place("2000-01-01T00:00:00+00:00", ("", 0, 0, "2000-01-01T00:00:00+00:00"), is_before=True)

    page = await page_of(acme, "login_at", "ascending", nowhere)

    assert page == Page([], None, None)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("zoe", ["s-5"]),
        ("z", ["s-3", "s-5"]),
        ("q", []),
        ("ärz", ["s-3"]),
        ("王", ["s-4"]),
        ("伟", ["s-4"]),
        ("cad-1", ["s-1", "s-4"]),
        ("D-204", ["s-0", "s-1", "s-2", "s-3", "s-4", "s-5", "s-6"]),
        ("10.0.0.3", ["s-3"]),
        ("0.0.3", []),
        ("%", []),
        ("", ["s-0", "s-1", "s-2", "s-3", "s-4", "s-5", "s-6"]),
    ],
)
async def test_a_search_finds_parts_of_names_and_ids_and_beginnings_of_addresses(
    acme: psycopg.AsyncConnection[Any], search: str, expected: list[str]
) -> None:
    async with as_reader(acme, "acme"):
        open_ = await current_page(acme, CurrentFilter(search=search), "login_at", "ascending", None, 9)
        ended = await history_page(acme, HistoryFilter(search=search), "logout_at", "ascending", None, 9)

    assert ids(open_) == expected
    assert [name for name in ids(ended) if name != "h-orphan"] == [name.replace("s-", "h-") for name in expected]


async def test_filters_of_the_history_keep_what_they_name(acme: psycopg.AsyncConnection[Any]) -> None:
    await insert_history(
        acme, "acme", "h-odd", offset=70, reason="network", access="public", broker="/brokers/us-1",
        terminal_type="mobile",
    )  # fmt: skip

    async with as_reader(acme, "acme"):
        for only in (
            HistoryFilter(reason="network"),
            HistoryFilter(access="public"),
            HistoryFilter(broker="/brokers/us-1"),
            HistoryFilter(terminal="mobile"),
        ):
            page = await history_page(acme, only, "logout_at", "descending", None, 9)
            assert ids(page) == ["h-odd"]


async def test_a_range_long_ago_has_those_that_ended_soon_after_it_and_those_that_lasted_on(
    acme: psycopg.AsyncConnection[Any],
) -> None:
    login = AGO - timedelta(days=200)
    for number, days in enumerate((0, 1, 3, 5, 90)):
        await insert_history(
            acme, "acme", f"old-{number}", offset=300 + number, login_at=login - timedelta(hours=number),
            logout_at=login + timedelta(days=days), online_seconds=days * 86400.0 + number * 3600.0,
        )  # fmt: skip
    span = HistoryFilter(from_at=login - HOUR, to_at=login + HOUR)
    found: list[list[str]] = []

    async with as_reader(acme, "acme"):
        for direction in get_args(Direction):
            after, listed = None, []
            while True:
                page = await history_page(acme, span, "logout_at", direction, after, 2)
                listed += ids(page)
                if page.next is None:
                    break
                after = page.next
            found.append(listed)

    assert found == [[f"old-{number}" for number in range(5)], [f"old-{number}" for number in reversed(range(5))]]


async def test_a_text_that_is_in_very_many_names_finds_what_it_should(acme: psycopg.AsyncConnection[Any]) -> None:
    """What the statistics know to be in many names is not looked for in the index of names."""
    await acme.execute(
        "INSERT INTO sojourn_v1.known_name SELECT 'acme', 'desktop', 'x' || n, gen_random_uuid(), 'CAD-' || n"
        " FROM generate_series(100, 26000) AS n"
    )
    await acme.execute("ANALYZE sojourn_v1.known_name")

    async with as_reader(acme, "acme"):
        found = [
            ids(await current_page(acme, CurrentFilter(search=search), "login_at", "ascending", None, 9))
            for search in ("cad", "cad-1", "CAD-2", "d-", "cad-25999", "王")
        ]

    every = [f"s-{number}" for number in range(7)]
    assert found == [every, ["s-1", "s-4"], ["s-2", "s-5"], every, [], ["s-4"]]


async def test_a_search_of_the_history_looks_further_back_until_a_page_is_full(
    acme: psycopg.AsyncConnection[Any],
) -> None:
    for number, days in enumerate((1, 2, 10, 30, 100, 300, 700)):
        at = AGO - timedelta(days=days)
        await insert_history(
            acme, "acme", f"ada-{number}", offset=400 + number, appended_at=at, logout_at=at, user_id="u-far"
        )

    async with as_reader(acme, "acme"):
        first = await history_page(acme, HistoryFilter(search="u-far"), "logout_at", "descending", None, 3)
        second = await history_page(acme, HistoryFilter(search="u-far"), "logout_at", "descending", first.next, 3)
        third = await history_page(acme, HistoryFilter(search="u-far"), "logout_at", "descending", second.next, 3)
        back = await history_page(acme, HistoryFilter(search="u-far"), "logout_at", "descending", third.previous, 3)

    assert [ids(page) for page in (first, second, third)] == [
        ["ada-0", "ada-1", "ada-2"], ["ada-3", "ada-4", "ada-5"], ["ada-6"],
    ]  # fmt: skip
    assert ids(back) == ids(second)


async def test_counts_are_of_the_readers_tenant_and_a_silent_broker_makes_unconfirmed(
    acme: psycopg.AsyncConnection[Any],
) -> None:
    await insert_live(acme, "acme", "s-lost", state="lost")
    await insert_live(acme, "acme", "s-silent", broker="/brokers/quiet")
    await insert_live(acme, "acme", "s-silent-and-lost", broker="/brokers/quiet", state="lost")
    await acme.execute(
        "INSERT INTO sojourn_v1.broker (source, partition, silent_since) VALUES ('/brokers/quiet', 0, now())"
    )

    async with as_reader(acme, "acme"):
        counts = await current_counts(acme)
        unconfirmed = await matching(acme, CurrentFilter(state="unconfirmed"))
        page = await current_page(acme, CurrentFilter(state="unconfirmed"), "login_at", "ascending", None, 9)

    assert counts == {"active": 7, "lost": 2, "unconfirmed": 1}
    assert unconfirmed == (1, False)
    assert ids(page) == ["s-silent"]


async def test_a_count_ends_where_it_would_cost_too_much(acme: psycopg.AsyncConnection[Any]) -> None:
    await acme.execute(
        """
        INSERT INTO sojourn_v1.live_session
        SELECT (jsonb_populate_record(l, jsonb_build_object('session_id', 'many-' || n))).*
        FROM sojourn_v1.live_session AS l, generate_series(1, %s) AS n WHERE l.tenant = 'acme' AND session_id = 's-0'
        """,
        [LOOKED_AT_MAX],
    )

    async with as_reader(acme, "acme"):
        assert await matching(acme, CurrentFilter(terminal="thin_client")) == (MATCHING_MAX, True)
        assert await matching(acme, CurrentFilter(search="u-17")) == (MATCHING_MAX, True)
        assert await matching(acme, CurrentFilter(search="")) == (LOOKED_AT_MAX + 1, True)
        assert await matching(acme, HistoryFilter()) == (8, False)


async def test_what_no_index_has_in_order_is_sorted_while_it_is_little(acme: psycopg.AsyncConnection[Any]) -> None:
    await acme.execute(
        """
        INSERT INTO sojourn_v1.live_session
        SELECT (jsonb_populate_record(l, jsonb_build_object('session_id', 'many-' || n))).*
        FROM sojourn_v1.live_session AS l, generate_series(1, %s) AS n WHERE l.tenant = 'acme' AND session_id = 's-0'
        """,
        [SORTED_MAX],
    )

    async with as_reader(acme, "acme"):
        for order in ("login_at", "duration_seconds", "client_ip"):
            assert (await current_page(acme, CurrentFilter(), order, "ascending", None, 9)).next is not None
        with pytest.raises(TooManyToSort, match=r"more than 10,000 sessions are too many to sort by this"):
            await current_page(acme, CurrentFilter(), "user_name", "ascending", None, 9)
        few = await current_page(acme, CurrentFilter(terminal="browser"), "user_name", "ascending", None, 9)

    assert ids(few) == ["s-1", "s-5", "s-3"]


async def test_a_timeline_tells_what_each_event_changed_and_what_was_corrected(
    acme: psycopg.AsyncConnection[Any],
) -> None:
    active: dict[str, Any] = {
        "event_type": "established", "source": "/brokers/eu-1", "state": "active", "logout_at": None,
        "online_seconds": None, "outcome": None, "reason": None,
    }  # fmt: skip
    seen, noticed = HISTORY_DAY + HOUR, HISTORY_DAY + HOUR + timedelta(minutes=2)
    by_loss: dict[str, Any] = {"ended_after": seen, "ended_before": noticed}
    steps: list[dict[str, Any]] = [
        {**active, "revision": 1, "cause": "established"},
        {**active, "revision": None, "disposition": "duplicate"},
        {**active, **by_loss, "event_type": "lost", "state": "lost", "revision": 2, "cause": "heartbeats_stopped"},
        {**by_loss, "event_type": "lost_ended", "revision": 3, "logout_at": seen, "outcome": "abnormal"},
        {"event_type": "destroyed", "revision": 4, "logout_at": noticed + HOUR, "cause": "end_found"},
    ]
    for offset, step in enumerate(steps):
        at = HISTORY_DAY + offset * HOUR
        await insert_history(acme, "acme", "s-life", offset=100 + offset, appended_at=at, event_time=at, **step)

    async with as_reader(acme, "acme"):
        entries = await timeline(acme, "s-life")
        detail = await session_detail(acme, "s-life")
        unknown = (await timeline(acme, "nobody"), await session_detail(acme, "nobody"))

    assert [(entry.event_type, entry.revision) for entry in entries] == [
        ("established", 1), ("established", None), ("lost", 2), ("lost_ended", 3), ("destroyed", 4),
    ]  # fmt: skip
    assert [(entry.supersedes, entry.superseded_by) for entry in entries[-2:]] == [(None, 4), (3, None)]
    assert Change("state", "active", "lost") in entries[2].changes
    assert Change("outcome", "abnormal", "normal") in entries[4].changes
    assert (entries[2].silent_from, entries[2].silent_to) == (seen, noticed)
    assert entries[0].changes == []
    assert detail is not None
    assert (detail["state"], detail["revision"], detail["logout_at"]) == ("ended", 4, noticed + HOUR)
    assert unknown == ([], None)


async def test_a_timeline_shows_a_command_with_who_asked_for_it_and_why(acme: psycopg.AsyncConnection[Any]) -> None:
    await acme.execute(
        """
        INSERT INTO sojourn_v1.command (
            tenant, command_id, session_id, broker, kind, state, reason, requested_by, requested_at, expires_at,
            partition, "offset", appended_at, event)
        VALUES ('acme', 'c-1', 's-0', '/brokers/eu-1', 'disconnect', 'requested', 'reclaim', 'mary', now(), now(), 0,
            200, %(at)s, '')
        """,
        {"at": HISTORY_DAY},
    )
    await insert_history(
        acme, "acme", "s-0", offset=200, event_id="requested/c-1", source="/sojourn", event_type="disconnect_requested",
        revision=None, logout_at=None,
    )  # fmt: skip

    async with as_reader(acme, "acme"):
        (entry,) = await timeline(acme, "s-0")
        detail = await session_detail(acme, "s-0")

    assert entry.command is not None
    assert (entry.command.command_id, entry.command.requested_by, entry.command.reason) == ("c-1", "mary", "reclaim")
    assert detail is not None
    assert (detail["state"], detail["logout_at"]) == ("active", None)
