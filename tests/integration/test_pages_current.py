"""The page of current sessions as plain HTML: what it shows, to whom, and what its forms do."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from sojourn.console.pages import current, views
from tests.integration.rows import insert_history, insert_live, insert_tenant
from tests.integration.site_steps import Console

PAGE: Final = "/t/acme/sessions"
NOW: Final = datetime.now(UTC)
ODD: Final = '<b onmouseover="alert(1)">محمد 王小明 🦉</b> & "Žofie"'


def shown(answer: httpx.Response) -> list[str]:
    """Return the sessions in the rows of a page."""
    assert answer.status_code == 200, answer.text
    return [unescape(found) for found in re.findall(r'<tr [^>]*data-session="([^"]*)"', answer.text)]


def text_of(answer: httpx.Response) -> str:
    """Return a page as somebody reads it."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def link(answer: httpx.Response, rel: str) -> str:
    """Return where a link of the pager leads."""
    found = re.search(rf'rel="{rel}" href="([^"]*)"', answer.text)
    assert found is not None
    return unescape(found[1])


async def opened(console: Console, session_id: str, number: int = 0, **columns: Any) -> None:
    """Let a session of acme be open."""
    at = NOW - timedelta(minutes=number + 1)
    async with console.rows() as connection:
        row = {"login_at": at, "appended_at": at, **columns}
        await insert_live(connection, "acme", session_id, offset=number, established_appended_at=at, **row)
        open_ended = {"logout_at": None, "online_seconds": None, "outcome": None, "reason": None}
        await insert_history(
            connection,
            "acme",
            session_id,
            event_id=f"e-{session_id}",
            event_type="established",
            revision=1,
            offset=number,
            **{"state": "active", **row, **open_ended},
        )


@pytest.fixture
async def acme(console: Console) -> Console:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
        await insert_tenant(connection, "globex")
    return console


async def test_a_row_says_who_is_on_which_desktop_from_where_since_when(acme: Console) -> None:
    await opened(acme, "s-1", client_ip="2001:db8::17", access="public")

    page = text_of(await (await acme.client("acme", "read")).get(PAGE))

    row = r"Ada Byron u-17 CAD-204 cad Thin client Linux \d\d:\d\d (today|yesterday) \d+ [hm] \d\d [ms]"
    assert re.search(row, page)
    assert "2001: db8: : 17 public" in page
    assert "1 now" in page


async def test_what_brokers_say_is_text_and_never_markup(acme: Console) -> None:
    await opened(acme, ODD, user_name=ODD, desktop_name=ODD, desktop_pool=ODD, client_ip=ODD, broker=ODD)
    client = await acme.client("acme", "read", "disconnect")

    for path, data in (
        (PAGE, None),
        (f"{PAGE}?search=%3Cb", None),
        (f"{PAGE}/{quote(ODD, safe='')}", None),
        ("/t/acme/disconnect", {"session": ODD}),
    ):
        answer = await (client.get(path) if data is None else client.post(path, data=data))
        assert answer.status_code == 200, answer.text
        assert "<b onmouseover" not in answer.text
        assert "王小明 🦉" in answer.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"search": "grace"}, ["s-2"]),
        ({"search": "10.9"}, ["s-3"]),
        ({"terminal": "mobile"}, ["s-2"]),
        ({"access": "public"}, ["s-3"]),
        ({"broker": "/brokers/us-1"}, ["s-3"]),
        ({"state": "lost"}, ["s-2"]),
        ({"sort": "user"}, ["s-1", "s-2", "s-3"]),
        ({"sort": "-user"}, ["s-3", "s-2", "s-1"]),
        ({"sort": "duration"}, ["s-1", "s-2", "s-3"]),
        ({}, ["s-1", "s-2", "s-3"]),
    ],
)
async def test_filters_and_orders_are_those_of_the_url(
    acme: Console, query: dict[str, str], expected: Sequence[str]
) -> None:
    await opened(acme, "s-1", 1, user_name="Ada")
    await opened(acme, "s-2", 2, user_name="Grace", terminal_type="mobile", state="lost")
    await opened(acme, "s-3", 3, user_name="Žofie", client_ip="10.9.8.7", access="public", broker="/brokers/us-1")
    client = await acme.client("acme", "read")

    assert shown(await client.get(PAGE, params=query)) == list(expected)


@pytest.mark.parametrize("query", [{"sort": "memory"}, {"search": "x" * 201}, {"follow": "x"}])
async def test_what_no_list_has_is_a_clear_error_or_nothing(acme: Console, query: dict[str, str]) -> None:
    client = await acme.client("acme", "read", "disconnect")

    answer = await client.get(PAGE, params=query)

    assert answer.status_code == (200 if "follow" in query else 400)


async def test_pages_lead_to_the_older_ones_and_back(acme: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "ROWS", 2)
    for number in range(5):
        await opened(acme, f"s-{number}", number)
    client = await acme.client("acme", "read")

    first = await client.get(PAGE)
    second = await client.get(PAGE + link(first, "next"))
    third = await client.get(PAGE + link(second, "next"))
    back = await client.get(PAGE + link(third, "prev"))

    assert [shown(page) for page in (first, second, third)] == [["s-0", "s-1"], ["s-2", "s-3"], ["s-4"]]
    assert shown(back) == shown(second)
    assert (
        await (await acme.client("globex", "read")).get("/t/globex/sessions" + link(first, "next"))
    ).status_code == 409


async def test_where_all_sessions_of_a_page_have_ended_the_first_page_is_shown_and_not_nothing(
    acme: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current, "ROWS", 2)
    for number in range(5):
        await opened(acme, f"s-{number}", number)
    client = await acme.client("acme", "read")
    second = await client.get(PAGE + link(await client.get(PAGE), "next"))

    await acme.execute("DELETE FROM sojourn_v1.live_session WHERE session_id IN ('s-0', 's-1', 's-4')")
    newer, older = [await client.get(PAGE + link(second, rel)) for rel in ("prev", "next")]

    assert shown(newer) == shown(older) == ["s-2", "s-3"]


async def test_nothing_to_show_says_why_and_what_next(acme: Console) -> None:
    client = await acme.client("acme", "read")

    nothing = text_of(await client.get(PAGE))
    unmatched = await client.get(PAGE, params={"search": "foo"})

    assert "No broker has reported yet" in nothing
    assert "No session matches “foo” Clear filters" in text_of(unmatched)
    assert 'href="/t/acme/sessions">Clear filters' in unmatched.text


async def test_a_page_of_a_hundred_rows_takes_less_than_a_hundred_kilobytes_with_all_its_files(acme: Console) -> None:
    for number in range(100):
        await opened(acme, f"{number:08x}-8bb5-418c-9a14-df79fce6e2dc", number, user_name=f"Amélie {number}")
    client = await acme.client("acme", "read", "disconnect", "export")

    page = await client.get(PAGE)
    names = re.findall(r'(?:src|href)="(/static/[^"]*)"', page.text)
    sizes = [page.num_bytes_downloaded] + [(await client.get(name)).num_bytes_downloaded for name in names]

    assert len(shown(page)) == 100
    assert sum(sizes) < 100_000


async def test_a_script_gets_the_list_and_what_stands_above_it_alone(acme: Console) -> None:
    await opened(acme, "s-1")

    answer = await (await acme.client("acme", "read")).get(PAGE, headers={"HX-Request": "true"})

    assert shown(answer) == ["s-1"]
    assert all(f'id="{name}"' in answer.text for name in ("live", "counts", "fresh", "strip"))
    assert "<html" not in answer.text


async def test_chosen_columns_are_shown_and_remembered(acme: Console) -> None:
    await opened(acme, "s-1", protocol="blast")
    client = await acme.person("acme", "viewer")

    chosen = await client.get(PAGE, params={"column": ["protocol", "login"]})
    kept = chosen.headers["set-cookie"].partition(";")[0]
    later = await client.get(PAGE, headers={"Cookie": client.headers["Cookie"] + "; " + kept})

    for page in (chosen, later):
        heads = re.findall(r"<th [^>]*>(?:<a[^>]*>)?([A-Z][a-z]+)", page.text)
        assert heads == ["User", "Login", "Protocol"]


async def test_a_view_is_saved_for_who_saved_it_and_forgotten_by_its_name(
    acme: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "VIEWS_MAX", 1)
    ada, grace = await acme.person("acme", "viewer"), await acme.person("acme", "viewer")
    form = {"page": "sessions", "name": "Lost ones", "query": "?state=lost"}

    saved = await ada.post("/t/acme/views", data=form)
    second = await ada.post("/t/acme/views", data={**form, "name": "Another"})
    hers, others = await ada.get(PAGE), await grace.get(PAGE)
    await ada.post("/t/acme/views", data={**form, "drop": "yes"})
    after = await ada.get(PAGE)

    assert (saved.status_code, saved.headers["location"]) == (303, f"{PAGE}?state=lost")
    assert second.status_code == 409
    assert 'href="/t/acme/sessions?state=lost"><bdi>Lost ones' in hers.text
    assert "Lost ones" not in others.text
    assert "Lost ones" not in after.text


async def test_who_may_not_disconnect_sees_no_way_to_and_is_refused(acme: Console) -> None:
    await opened(acme, "s-1")
    viewer = await acme.client("acme", "read")

    page, one = await viewer.get(PAGE), await viewer.get(f"{PAGE}/s-1")
    asked = await viewer.post("/t/acme/disconnect", data={"session": "s-1"})

    assert "Disconnect" not in text_of(page) + text_of(one)
    assert 'type="checkbox" name="session"' not in page.text
    assert asked.status_code == 403


async def test_a_disconnect_says_who_will_be_cut_off_wants_a_reason_and_is_then_followed(acme: Console) -> None:
    await opened(acme, "s-1")
    client = await acme.client("acme", "read", "disconnect")

    asked = await client.post("/t/acme/disconnect", data={"session": ["s-1", "gone"], "back": "?state=active"})
    key = _field(asked, "key")
    form = {"session": "s-1", "key": key, "back": "?state=active", "send": "yes"}
    unsaid = await client.post("/t/acme/disconnect", data={**form, "reason": " "})
    before = await acme.execute("SELECT count(*) FROM sojourn.outbox")
    sent = await client.post("/t/acme/disconnect", data={**form, "reason": "reclaim"})
    again = await client.post("/t/acme/disconnect", data={**form, "reason": "reclaim"})
    other = await client.post("/t/acme/disconnect", data={**form, "reason": "something else"})
    page = text_of(await client.get(sent.headers["location"]))

    assert "Disconnect 1 session?" in text_of(asked)
    assert "Ada Byron" in text_of(asked)
    assert "gone no such session" in text_of(asked)
    assert (unsaid.status_code, before) == (422, [(0,)])
    assert "Say why" in text_of(unsaid)
    assert sent.status_code == again.status_code == 303
    assert sent.headers["location"] == again.headers["location"]
    assert other.status_code == 422
    assert await acme.execute("SELECT count(*) FROM sojourn.outbox") == [(1,)]
    assert re.search(r"“reclaim”, .* 1 of 1 not concluded .* Ada Byron requested · waiting for the broker", page)


async def test_more_than_a_few_want_their_number_typed_and_names_end_after_ten(acme: Console) -> None:
    ids = [f"s-{number:02}" for number in range(12)]
    for number, session_id in enumerate(ids):
        await opened(acme, session_id, number, user_name=f"Person {number:02}")
    client = await acme.client("acme", "read", "disconnect")

    asked = await client.post("/t/acme/disconnect", data={"session": ids})
    form = {"session": ids, "key": _field(asked, "key"), "reason": "reclaim", "send": "yes"}
    mistyped = await client.post("/t/acme/disconnect", data={**form, "typed": "11"})
    sent = await client.post("/t/acme/disconnect", data={**form, "typed": "12"})

    assert "Person 09" in text_of(asked)
    assert "Person 10" not in text_of(asked)
    assert "and 2 more" in text_of(asked)
    assert mistyped.status_code == 422
    assert sent.status_code == 303


async def test_many_are_disconnected_only_by_who_has_just_shown_who_they_are(acme: Console) -> None:
    ids = [f"s-{number}" for number in range(6)]
    for number, session_id in enumerate(ids):
        await opened(acme, session_id, number)
    person = await acme.person("acme", "operator")
    await acme.execute("UPDATE sojourn.sign_in SET confirmed_at = now() - interval '1 day'")

    few = await person.post("/t/acme/disconnect", data={"session": ids[:5]})
    many = await person.post(
        "/t/acme/disconnect", data={"session": ids, "typed": "6", "reason": "x", "key": "k", "send": "yes"}
    )

    assert few.status_code == 200
    assert (many.status_code, many.headers["location"].partition("?")[0]) == (303, "/confirm")
    assert await acme.execute("SELECT count(*) FROM sojourn.outbox") == [(0,)]


async def test_a_message_is_offered_only_where_a_broker_can_show_it(acme: Console) -> None:
    await opened(acme, "s-1")
    await acme.execute(
        "INSERT INTO sojourn_v1.broker (source, partition, last_appended_at, commands)"
        " VALUES ('/brokers/eu-1', 0, now(), '{disconnect}')"
    )
    client = await acme.client("acme", "read", "disconnect")

    cannot = await client.post("/t/acme/disconnect", data={"session": "s-1"})
    await acme.execute("UPDATE sojourn_v1.broker SET commands = '{disconnect,send_message}'")
    can = await client.post("/t/acme/disconnect", data={"session": "s-1"})

    assert 'name="message"' not in cannot.text
    assert 'name="message"' in can.text


def _field(answer: httpx.Response, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', answer.text)
    assert found is not None
    return unescape(found[1])
