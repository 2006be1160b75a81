"""Historical sessions and statistics as plain HTML and as data: what they show, to whom, and what they refuse."""

import csv
import gzip
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Final

import httpx
import pytest

from sojourn.console.pages.charts import TOPIC_OF, TOPICS
from sojourn.console.pages.lists import ROWS
from sojourn.console.pages.words import words
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant
from tests.integration.site_steps import Console

PAGE: Final = "/t/acme/history"
ANY: Final = {"range": "any"}
BYTES_MAX: Final = 100_000  # transferred for a page with a hundred rows: shared with whoever sits on a train
ODD: Final = '</script><b onmouseover="alert(1)">=1+1 王小明</b>'


def shown(answer: httpx.Response) -> list[str]:
    """Return the sessions in the rows of a page."""
    assert answer.status_code == 200, answer.text
    return [unescape(found) for found in re.findall(r'<tr [^>]*data-session="([^"]*)"', answer.text)]


def text_of(answer: httpx.Response) -> str:
    """Return a page as somebody reads it."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def row_of(answer: httpx.Response, session_id: str) -> str:
    """Return what the row of a session says."""
    found = re.search(rf'<tr id="s-{session_id}".*?</tr>', answer.text, re.DOTALL)
    assert found is not None, session_id
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", found[0])).split())


def link(answer: httpx.Response, rel: str) -> str | None:
    """Return where a link of the pager leads."""
    found = re.search(rf'rel="{rel}" href="([^"]*)"', answer.text)
    return None if found is None else unescape(found[1])


async def ended(console: Console, session_id: str, number: int = 0, **columns: Any) -> None:
    """Let a session of acme have ended, an hour after its login and some minutes before others."""
    logout = HISTORY_DAY + timedelta(hours=1) - timedelta(minutes=number)
    row = {"login_at": logout - timedelta(hours=1), "logout_at": logout, "appended_at": logout, "offset": 10 + number}
    async with console.rows() as connection:
        await insert_history(connection, "acme", session_id, event_id=f"e-{session_id}", **{**row, **columns})


async def commanded(console: Console, command_id: str, session_id: str) -> None:
    """Let somebody have asked for a session to be disconnected."""
    await console.execute(
        "INSERT INTO sojourn_v1.command (tenant, command_id, session_id, broker, kind, state, reason, requested_by,"
        " requested_at, expires_at, partition, \"offset\", appended_at, event) VALUES ('acme', %s, %s, '/brokers/eu-1',"
        " 'disconnect', 'confirmed', 'reclaim', 'Mary', now(), now(), 0, 1, now(), '')",
        [command_id, session_id],
    )


@pytest.fixture
async def acme(console: Console) -> Console:
    """Let acme exist, in Berlin."""
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
    await console.execute("UPDATE sojourn_v1.tenant_config SET time_zone = 'Europe/Berlin'")
    return console


async def test_each_row_says_in_words_how_its_session_ended(acme: Console) -> None:
    end = HISTORY_DAY.replace(hour=9, minute=41)
    await ended(acme, "s-1")
    await ended(acme, "s-2", 1, outcome="abnormal", reason="network")
    lost = {"outcome": "abnormal", "reason": "lost", "ended_after": end - timedelta(minutes=2), "ended_before": end}
    await ended(acme, "s-3", 2, revision=3, **lost)
    await ended(acme, "s-4", 3, reason="admin_disconnect", command="c-4")
    await commanded(acme, "c-4", "s-4")
    await ended(acme, "s-5", 4, revision=3, event_type="lost_ended", **lost)
    await ended(acme, "s-5", 5, revision=4)
    await acme.execute(
        'INSERT INTO sojourn_v1.superseded SELECT tenant, partition, "offset", appended_at, 15, appended_at'
        " FROM sojourn_v1.session_history WHERE event_id = 'e-s-5' AND revision = 3"
    )
    await ended(acme, "s-6", 6, login_at=None, online_seconds=None, user_id=None, user_name=None)
    await ended(acme, "s-7", 7, reason="admin_disconnect", command="c-4")  # which was another session's
    before = {"ended_after": end - timedelta(days=2)}
    await ended(acme, "s-8", 8, revision=3, **{**lost, **before})
    log_before = "UPDATE sojourn_v1.session_history SET revision = 3 WHERE event_id = 'e-s-1'"  # its offset was used
    await acme.execute(log_before)
    await acme.execute(
        "INSERT INTO sojourn_v1.superseded SELECT tenant, partition, \"offset\", appended_at - interval '1 day', 15,"
        " appended_at FROM sojourn_v1.session_history WHERE event_id = 'e-s-1'"
    )

    page = await (await acme.client("acme")).get(PAGE, params=ANY)

    assert shown(page) == ["s-1", "s-2", "s-3", "s-4", "s-5", "s-6", "s-7", "s-8"]
    assert "logoff" in row_of(page, "s-1")
    assert "network" in row_of(page, "s-2")
    assert "lost between 10:39 and 10:41" in row_of(page, "s-3")
    assert "at least" in row_of(page, "s-3")
    assert "disconnected by Mary “reclaim”" in row_of(page, "s-4")
    assert "logoff corrected; was: lost between 10:39 and 10:41" in row_of(page, "s-5")
    assert "corrected" not in row_of(page, "s-3")
    assert "– unknown" in row_of(page, "s-6")
    assert "disconnected" in row_of(page, "s-7")
    assert "Mary" not in row_of(page, "s-7")
    assert "lost between 2026-11-18 10:41:00 and 2026-11-20 10:41:00" in row_of(page, "s-8")
    assert "corrected" not in row_of(page, "s-1")


async def test_the_range_is_one_of_the_tenants_days(acme: Console) -> None:
    midnight = datetime(2026, 11, 19, 23, tzinfo=UTC)  # in Berlin
    await ended(acme, "s-before", login_at=midnight - timedelta(hours=1), logout_at=midnight - timedelta(seconds=1))
    await ended(acme, "s-over", 1, login_at=midnight - timedelta(hours=1), logout_at=midnight + timedelta(seconds=1))
    end = midnight + timedelta(days=1)
    await ended(acme, "s-last", 2, login_at=end - timedelta(seconds=1), logout_at=end + timedelta(hours=1))
    await ended(acme, "s-after", 3, login_at=end, logout_at=end + timedelta(hours=1))

    page = await (await acme.client("acme")).get(PAGE, params={"from": "2026-11-20", "to": "2026-11-20"})

    assert sorted(shown(page)) == ["s-last", "s-over"]
    assert 'value="2026-11-20"' in page.text


async def test_filters_stand_in_the_url_and_in_the_form_and_lead_out_again(acme: Console) -> None:
    await ended(acme, "s-1")
    await ended(acme, "s-2", 1, user_id="u-2", user_name="Grace Hopper", terminal_type="browser", access="public")
    client = await acme.client("acme")

    found = [
        shown(await client.get(PAGE, params={**ANY, **filters}))
        for filters in (
            {"search": "HOPP"},
            {"user": "u-17"},
            {"terminal": "browser"},
            {"access": "internal"},
            {"outcome": "normal", "reason": "logoff"},
        )
    ]
    nothing = await client.get(PAGE, params={**ANY, "search": ODD, "user": "ada"})

    assert found == [["s-2"], ["s-1"], ["s-2"], ["s-1"], ["s-1", "s-2"]]
    assert f"No session matches “{ODD}”" in unescape(nothing.text)
    assert ODD not in nothing.text
    assert 'href="?range=any">Clear filters' in nothing.text
    assert 'name="user" id="user" value="ada"' in nothing.text
    assert "data-chart" not in nothing.text


async def test_pages_lead_through_all_rows_and_back(acme: Console) -> None:
    count = 2 * ROWS + 3
    async with acme.rows() as connection, connection.transaction():
        for number in range(count):
            at = HISTORY_DAY + timedelta(seconds=number // 2)  # of which each two are alike
            await insert_history(
                connection, "acme", f"s-{number}", event_id=f"e-{number}", offset=number, logout_at=at, appended_at=at
            )
    client = await acme.client("acme")

    first = await client.get(PAGE, params={**ANY, "sort": "logout"})
    pages, page = [shown(first)], first
    while (older := link(page, "next")) is not None:
        page = await client.get(PAGE + older)
        pages.append(shown(page))
    back = await client.get(PAGE + (link(page, "prev") or ""))
    strange = await client.get(PAGE + (link(first, "next") or "").replace("range=any", "range=7d"))

    assert [len(rows) for rows in pages] == [ROWS, ROWS, 3]
    assert len(set(sum(pages, []))) == count  # noqa: RUF017 - three of them
    assert shown(back) == pages[1]
    assert strange.status_code == 409


async def test_what_cannot_be_asked_is_told_beside_the_form_and_nothing_is_shown(acme: Console) -> None:
    await ended(acme, "s-1")
    client = await acme.client("acme")
    pages = ("history", "statistics", "statistics/hours")
    bad = [
        ({"range": "fortnight"}, "There is no such range."),
        ({"from": "24.11.2026"}, "A day is written like 2026-11-24."),
        ({"from": "2026-11-24", "to": "2026-11-20"}, "The range ends before it begins."),
        ({"terminal": "toaster"}, "There is no such choice."),
    ]

    for query, message in bad:
        answers = [await client.get(f"/t/acme/{page}", params=query) for page in pages]
        file = await client.get("/t/acme/charts/hours.json", params=query)

        assert [answer.status_code for answer in (*answers, file)] == [400, 400, 400, 400]
        assert all(message in text_of(answer) and "data-session" not in answer.text for answer in answers)
        assert file.json()["type"] == "urn:sojourn:problem:bad-choice"


async def test_what_there_is_not_is_refused(acme: Console) -> None:
    client = await acme.client("acme")
    paths = ("history?sort=password", "statistics/gossip", "charts/sessions.png", "charts/x.json")

    refused = [(await client.get(f"/t/acme/{path}")).status_code for path in paths]

    assert refused == [400, 404, 404, 404]


async def test_each_picture_is_vega_lite_whose_numbers_are_there_as_data_too(acme: Console) -> None:
    await ended(acme, "s-1")
    await ended(acme, "s-2", 1, user_id="u-2", user_name=ODD)
    await ended(acme, "s-3", 60 * 24)
    client = await acme.client("acme")
    query = {"from": "2026-11-18", "to": "2026-11-21"}

    for chart, topic in TOPIC_OF.items():
        drawn = (await client.get(f"/t/acme/charts/{chart}.json", params=query)).json()
        file = await client.get(f"/t/acme/charts/{chart}.csv", params=query)
        answer = (await client.get(f"/t/acme/statistics/{topic.name}.json", params=query)).json()

        assert drawn["$schema"] == "https://vega.github.io/schema/vega-lite/v6.json"
        assert drawn["data"]["values"]
        assert drawn["usermeta"]["says"]
        assert file.headers["content-disposition"] == f'attachment; filename="acme-{chart}.csv"'
        header, *rows = csv.reader(io.StringIO(file.text, newline=""))
        assert rows
        assert all(len(row) == len(header) for row in rows)
        assert not any(cell[:1] in "=+-@\t\r" for row in rows for cell in row if cell)
        assert answer["rule"]["sentence"]
        assert answer["time_zone"] == "Europe/Berlin"


async def test_pictures_follow_the_filter_of_the_list(acme: Console) -> None:
    await ended(acme, "s-1")
    await ended(acme, "s-2", 1, terminal_type="browser")
    await ended(acme, "s-3", 2, terminal_type="browser", user_id="u-2", user_name="Grace Hopper")
    client = await acme.client("acme")

    page = await client.get(PAGE, params={**ANY, "search": "hopper"})
    chart = re.search(r'data-chart="(/t/acme/charts/terminals.json[^"]*)"', page.text)
    assert chart is not None
    spec = (await client.get(unescape(chart[1]))).json()

    assert [(bar["key"], bar["most"]) for bar in spec["data"]["values"]] == [("Browser", 1)]


async def test_each_statistic_shows_its_rule_its_table_and_what_it_counts(acme: Console) -> None:
    await ended(acme, "s-1")
    await ended(acme, "s-2", 1, login_at=None, online_seconds=None)
    client = await acme.client("acme")

    for name, topic in TOPICS.items():
        page = await client.get(f"/t/acme/statistics/{name}", params=ANY)
        there = await client.get(f"/t/acme/statistics/{name}", params=ANY, headers={"Accept-Language": "zh-CN"})

        said = text_of(page)
        assert "1 sessions counted. Left out: 1 whose login is unknown." in said
        assert "The rule" in said
        assert "Take this as data (CSV)" in said
        assert page.text.count("<table") == len(topic.draws)
        assert words("zh").gettext("The rule") in text_of(there)
        assert not re.search(r'style="|<script(?! defer src=)|\son[a-z]+=', page.text)


async def test_open_and_lost_sessions_are_marked_and_count_as_what_is_certain(acme: Console) -> None:
    now = datetime.now(UTC)
    async with acme.rows() as connection:
        at = now - timedelta(hours=3)
        await insert_live(connection, "acme", "s-1", login_at=at, established_appended_at=at)
        span = {"ended_after": at + timedelta(hours=1), "ended_before": at + timedelta(hours=2)}
        who = {"user_id": "u-2", "user_name": "Grace Hopper", "state": "lost", "slot": 1}
        await insert_live(connection, "acme", "s-2", login_at=at, established_appended_at=at, **who, **span)
    client = await acme.client("acme")

    page = await client.get("/t/acme/statistics/work-hours", params={"range": "any"})

    assert "3 h 00 m+" in text_of(page)
    assert "1 h 00 m – 2 h 00 m+" in text_of(page)
    assert "2 of them are open. 1 of them were lost and count as a range." in text_of(page)


async def test_who_worked_is_told_on_pages_and_in_one_file(acme: Console) -> None:
    async with acme.rows() as connection, connection.transaction():
        for number in range(60):
            row = {"user_id": f"u-{number:02}", "user_name": "", "offset": number, "event_id": f"e-{number}"}
            await insert_history(connection, "acme", f"s-{number}", **row)
    client = await acme.client("acme")

    first = await client.get("/t/acme/statistics/work-hours", params=ANY)
    rest = await client.get("/t/acme/statistics/work-hours" + (link(first, "next") or "").partition("#")[0])
    file = await client.get("/t/acme/charts/timesheet.csv", params=ANY)

    assert re.findall(r"<th scope=\"row\">(u-\d+)", first.text) == [f"u-{number:02}" for number in range(50)]
    assert re.findall(r"<th scope=\"row\">(u-\d+)", rest.text) == [f"u-{number:02}" for number in range(50, 60)]
    assert len(file.text.splitlines()) == 61


async def test_the_first_load_of_a_hundred_rows_is_small_and_waits_for_no_picture(acme: Console) -> None:
    async with acme.rows() as connection, connection.transaction():
        for number in range(ROWS):
            row = {"user_name": f"User {number * 7919}", "desktop_name": f"CAD-{number * 31}", "offset": number}
            await insert_history(connection, "acme", f"s-{number}", event_id=f"e-{number}", **row)
    client = await acme.client("acme")

    page = await client.get(PAGE, params=ANY, headers={"Accept-Encoding": "identity"})
    named = re.findall(r'(?:src|href)="(/static/[^"]*)"', page.text)
    files = [(await client.get(path, headers={"Accept-Encoding": "identity"})).content for path in named]

    assert sum(len(gzip.compress(content, 5)) for content in [page.content, *files]) < BYTES_MAX
    assert not any("vega" in path for path in named)
    assert "Show as a table" in page.text


async def test_the_export_menu_takes_what_the_list_shows(acme: Console) -> None:
    await ended(acme, "s-1")
    client = await acme.person("acme", "analyst")

    page = await client.get(
        PAGE, params={"from": "2026-11-20", "to": "2026-11-20", "search": "ada", "reason": "logoff"}
    )
    form = re.search(r'<form method="post" action="/t/acme/exports">.*?</form>', page.text, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form[0]))
    asked = await client.post("/t/acme/exports", data={**fields, "format": "csv"})

    assert fields == {
        "dataset": "history",
        "search": "ada",
        "reason": "logoff",
        "from": "2026-11-19T23:00:00.000Z",
        "to": "2026-11-20T23:00:00.000Z",
    }
    assert asked.status_code == 303


async def test_columns_are_chosen_and_remembered(acme: Console) -> None:
    await ended(acme, "s-1")
    client = await acme.person("acme")

    page = await client.get(PAGE, params=[("range", "any"), ("column", "logout"), ("column", "protocol")])

    assert [label.strip() for label in _heads(page)] == ["User", "Logout ↓", "Protocol"]
    assert page.headers["set-cookie"].startswith("columns-history=logout.protocol;")


async def test_a_table_is_for_its_own_tenant_and_for_who_may_read(acme: Console) -> None:
    async with acme.rows() as connection:
        await insert_tenant(connection, "bolt")
    paths = [
        "history",
        "statistics",
        "statistics/hours",
        "statistics/hours.json",
        "charts/hours.json",
        "charts/hours.csv",
    ]
    stranger, auditor = await acme.client("bolt"), await acme.client("acme", "audit")

    refused = [(await client.get(f"/t/acme/{path}")).status_code for client in (stranger, auditor) for path in paths]

    assert refused == [404] * len(paths) + [403] * len(paths)


async def test_a_statistic_of_another_tenant_is_not_mixed_in(acme: Console) -> None:
    async with acme.rows() as connection:
        await insert_tenant(connection, "bolt")
        await insert_history(connection, "bolt", "s-9", offset=99)
    await ended(acme, "s-1")

    counts = [
        (await (await acme.client(tenant)).get(f"/t/{tenant}/statistics/terminals.json", params=ANY)).json()["sessions"]
        for tenant in ("acme", "bolt", "acme")
    ]

    assert counts == [1, 1, 1]


async def test_empty_lists_say_why_and_what_next(acme: Console) -> None:
    client = await acme.client("acme")

    history, statistic = await client.get(PAGE), await client.get("/t/acme/statistics/hours")

    assert "No session ended in this time Who is connected now · Show all time" in text_of(history)
    assert "No session to count Choose a longer range." in text_of(statistic)


def _heads(page: httpx.Response) -> Sequence[str]:
    table = page.text.partition("<thead>")[2].partition("</thead>")[0]
    return [" ".join(re.sub(r"<[^>]*>", " ", head).split()) for head in re.findall(r"<th .*?</th>", table, re.DOTALL)]
