"""The lists over HTTP: pages, filters, what is refused, and that other tenants change nothing."""

import httpx
import pytest

from sojourn.console.http import limits
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant
from tests.integration.site_steps import Console

SECRET = "Grace Hopper"  # noqa: S105 - of the other tenant


@pytest.fixture
async def acme(console: Console) -> httpx.AsyncClient:
    """Ask as acme, which has five open and five ended sessions; globex has others under the same ids."""
    async with console.rows() as connection:
        for tenant, name in (("acme", "Ada Byron"), ("globex", SECRET)):
            await insert_tenant(connection, tenant)
            for number in range(5):
                at = HISTORY_DAY.replace(minute=number)
                await insert_live(connection, tenant, f"s-{number}", offset=number, login_at=at, user_name=name)
                await insert_history(connection, tenant, f"h-{number}", offset=number, logout_at=at, user_name=name)
    return await console.client("acme", "read")


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [session["session_id"] for session in answer.json()["sessions"]]


@pytest.mark.parametrize(("path", "letter"), [("/v1/sessions", "s"), ("/v1/history", "h")])
async def test_pages_are_walked_by_the_links_of_the_header_and_back_again(
    acme: httpx.AsyncClient, path: str, letter: str
) -> None:
    pages = [await acme.get(path, params={"limit": 2, "terminal": "thin_client"})]
    while "next" in pages[-1].links:
        pages.append(await acme.get(pages[-1].links["next"]["url"]))
    back = await acme.get(pages[-1].links["prev"]["url"])

    assert [ids(page) for page in pages] == [
        [f"{letter}-4", f"{letter}-3"],
        [f"{letter}-2", f"{letter}-1"],
        [f"{letter}-0"],
    ]
    assert ids(back) == ids(pages[1])
    assert pages[0].json()["previous"] is None
    assert pages[-1].json()["next"] is None
    assert pages[0].json()["matching"] == {"rows": 5, "is_more": False}


async def test_a_cursor_goes_on_with_its_own_list_only(acme: httpx.AsyncClient, console: Console) -> None:
    cursor = (await acme.get("/v1/sessions", params={"limit": 2})).json()["next"]
    globex = await console.client("globex", "read")

    refused = [
        await acme.get("/v1/sessions", params={"limit": 2, "cursor": cursor, "access": "public"}),
        await acme.get("/v1/sessions", params={"limit": 2, "cursor": cursor, "order": "user_name"}),
        await acme.get("/v1/history", params={"limit": 2, "cursor": cursor}),
        await acme.get("/v1/sessions", params={"cursor": cursor[:-2] + "AA"}),
        await globex.get("/v1/sessions", params={"limit": 2, "cursor": cursor}),
    ]

    assert {(answer.status_code, answer.json()["type"]) for answer in refused} == {
        (409, "urn:sojourn:problem:bad-cursor")
    }


REFUSED = [
    ("/v1/sessions", "usr=ada", "usr"),
    ("/v1/sessions", "user=ada&user=bob", "user"),
    ("/v1/sessions", "limit=0", "limit"),
    ("/v1/sessions", "limit=many", "limit"),
    ("/v1/sessions", "order=memory", "order"),
    ("/v1/sessions", "state=gone", "state"),
    ("/v1/sessions", "user=%00", "user"),
    ("/v1/sessions", "cursor=%21", "cursor"),
    ("/v1/history", "from=yesterday", "from"),
    ("/v1/history", "from=2026-11-24T08:00:00", "from"),
    ("/v1/history", "state=lost", "state"),
    ("/v1/freshness", "verbose=1", "verbose"),
]


async def test_a_parameter_that_is_no_good_is_refused_by_its_name(acme: httpx.AsyncClient) -> None:
    for path, query, name in REFUSED:
        answer = await acme.get(f"{path}?{query}")

        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].startswith(f"{name}: "), answer.text


async def test_an_empty_range_is_a_contradiction(acme: httpx.AsyncClient) -> None:
    day = "2026-11-20T00:00:00Z"

    answer = await acme.get("/v1/history", params={"from": day, "to": day})

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:sojourn:problem:contradiction")


async def test_a_filter_keeps_what_it_names(acme: httpx.AsyncClient, console: Console) -> None:
    async with console.rows() as connection:
        await insert_live(connection, "acme", "s-odd", access="public", state="lost", client_ip="203.0.113.9")
        await insert_history(connection, "acme", "h-odd", offset=9, reason="lost", outcome="abnormal")

    for query in ({"access": "public"}, {"state": "lost"}, {"search": "203.0"}):
        assert ids(await acme.get("/v1/sessions", params=query)) == ["s-odd"]
    for query in ({"reason": "lost"}, {"outcome": "abnormal"}):
        assert ids(await acme.get("/v1/history", params=query)) == ["h-odd"]


async def test_a_session_shows_itself_and_its_timeline_to_its_own_tenant_only(
    acme: httpx.AsyncClient, console: Console
) -> None:
    async with console.rows() as connection:
        await insert_history(connection, "globex", "theirs", offset=9)
        await insert_live(connection, "globex", "theirs-too")

    open_, ended = await acme.get("/v1/sessions/s-0"), await acme.get("/v1/sessions/h-0")
    timeline = await acme.get("/v1/sessions/h-0/timeline")
    unknown = await acme.get("/v1/sessions/nobody")

    assert (open_.json()["state"], ended.json()["state"]) == ("active", "ended")
    assert [event["event_type"] for event in timeline.json()["events"]] == ["destroyed"]
    for path in ("theirs", "theirs-too", "theirs/timeline", "%00"):
        foreign = await acme.get(f"/v1/sessions/{path}")
        assert (foreign.status_code, foreign.content) == (404, unknown.content)


async def test_answers_are_the_same_bytes_with_another_tenant_and_without(console: Console) -> None:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
        await insert_live(connection, "acme", "s-1")
        await insert_history(connection, "acme", "h-1")
        await connection.execute(
            "INSERT INTO sojourn_v1.broker (source, partition, last_appended_at, last_alive_at)"
            " VALUES ('/brokers/eu-1', 0, %s, %s)",
            [HISTORY_DAY, HISTORY_DAY],
        )
    client = await console.client("acme")
    paths = ("/v1/sessions?search=a", "/v1/history", "/v1/freshness", "/v1/brokers", "/v1/dead-letters")

    async def answers() -> list[bytes]:
        found = []
        for path in paths:
            document = (await client.get(path)).json()
            for moving in ("as_of", "sentence"):
                document.pop(moving, None)
            for session in document.get("sessions", []):
                session.pop("duration_seconds", None)
            found.append(repr(document).encode())
        return found

    alone = await answers()
    async with console.rows() as connection:
        await insert_tenant(connection, "globex")
        await insert_live(connection, "globex", "s-1", user_name=SECRET, broker="/brokers/globex")
        await insert_history(connection, "globex", "h-1", user_name=SECRET)
        await connection.execute(
            "INSERT INTO sojourn_v1.broker (source, partition, last_appended_at, last_alive_at, silent_since, tenants)"
            " VALUES ('/brokers/globex', 0, now(), now(), now(), NULL)"
        )
        await connection.execute(
            "INSERT INTO sojourn_v1.dead_letter VALUES ('sojourn.lifecycle', 0, 1, now(), 'not_json', 'no', 'globex',"
            " NULL, NULL, '[]', '', 0)"
        )

    assert await answers() == alone
    assert b"/brokers/eu-1" in b"".join(alone)


async def test_dead_letters_of_the_tenant_are_for_who_may_audit(console: Console) -> None:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
        for offset, resolution in ((1, None), (2, None), (3, "discard")):
            await connection.execute(
                "INSERT INTO sojourn_v1.dead_letter VALUES ('sojourn.lifecycle', 0, %s, %s, 'bad_time', 'no', 'acme',"
                " 's-1', NULL, '[]', '', 0, %s)",
                [offset, HISTORY_DAY, resolution],
            )
    client = await console.client("acme", "audit")

    open_ = await client.get("/v1/dead-letters", params={"limit": 1})
    rest = await client.get(open_.links["next"]["url"])
    all_ = await client.get("/v1/dead-letters", params={"all": "true"})
    refused = await (await console.client("acme", "read")).get("/v1/dead-letters")

    found = [[letter["offset"] for letter in answer.json()["dead_letters"]] for answer in (open_, rest, all_)]
    assert found == [[2], [1], [3, 2, 1]]
    assert refused.status_code == 403


async def test_brokers_tell_how_many_sessions_they_serve_and_what_they_take(
    acme: httpx.AsyncClient, console: Console
) -> None:
    async with console.rows() as connection:
        await connection.execute(
            "INSERT INTO sojourn_v1.broker (source, partition, last_appended_at, commands)"
            " VALUES ('/brokers/eu-1', 0, now(), ARRAY['disconnect', 'log_off'])"
        )

    (broker,) = (await acme.get("/v1/brokers")).json()["brokers"]

    assert (broker["source"], broker["state"], broker["sessions"]) == ("/brokers/eu-1", "unknown", 5)
    assert broker["commands"] == ["disconnect", "log_off"]


async def test_who_asks_too_often_is_told_when_to_come_again(
    acme: httpx.AsyncClient, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUESTS_AT_ONCE_MAX", 3)
    monkeypatch.setattr(limits, "REQUESTS_PER_SECOND_MAX", 0.001)

    answers = [await acme.get("/v1/freshness") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 1000
    other = await (await console.client("acme", "read")).get("/v1/freshness")
    assert other.status_code == 200


async def test_a_tenant_that_nothing_is_known_of_yet_is_told_apart_from_an_error(console: Console) -> None:
    client = await console.client("acme", "read")

    for path in ("/v1/sessions", "/v1/history", "/v1/sessions/s-1", "/v1/brokers"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:sojourn:problem:no-such-tenant")
