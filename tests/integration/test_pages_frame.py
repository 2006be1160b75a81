"""The frame of the pages: problems are pages too, the language is kept, files are kept for good, little is sent."""

import gzip
import re

import httpx

from sojourn.console.pages.assets import asset_path
from tests.integration.rows import insert_tenant
from tests.integration.site_steps import Console

HTML = {"Accept": "text/html"}


async def test_what_goes_wrong_on_a_page_is_told_on_a_page_with_its_id_and_all_guards(console: Console) -> None:
    client = console.visitor(HTML)

    answer = await client.get("/nowhere")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert re.search(r"request [0-9a-f]{12}", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


async def test_programs_are_told_problems_as_before(console: Console) -> None:
    answer = await console.visitor(HTML).get("/v1/freshness")

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


async def test_who_is_not_signed_in_is_sent_to_the_page_for_that_and_back(console: Console) -> None:
    page = await console.visitor(HTML).get("/t/acme/sessions", params={"search": "a&b"})
    part = await console.visitor({**HTML, "HX-Request": "true"}).get("/t/acme/sessions")

    assert (page.status_code, page.headers["location"]) == (
        303,
        "/sign-in?next=%2Ft%2Facme%2Fsessions%3Fsearch%3Da%2526b",
    )
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/sign-in?next=%2Ft%2Facme%2Fsessions")


async def test_the_language_chosen_by_hand_is_kept_and_leads_back_to_the_page_of_this_site_only(
    console: Console,
) -> None:
    visitor = console.browser()
    own = await visitor.post("/language", data={"locale": "zh"}, headers={"Referer": f"{console.url}//evil/x?y=1"})
    foreign = await console.browser().post("/language", data={"locale": "zh"}, headers={"Referer": "http://evil/x"})
    unknown = await console.browser().post("/language", data={"locale": "tlh"})

    assert (own.status_code, own.headers["location"]) == (303, "/evil/x?y=1")
    assert foreign.headers["location"] == "/"
    assert unknown.status_code == 400
    assert "没有这个页面" in (await visitor.get("/nowhere")).text


async def test_files_are_sent_packed_and_kept_for_good_and_only_under_the_hash_of_their_content(
    console: Console,
) -> None:
    visitor = console.visitor()
    path = asset_path("style.css")

    async with visitor.stream("GET", path) as answer:
        packed = b"".join([chunk async for chunk in answer.aiter_raw()])
    plain = await visitor.get(path, headers={"Accept-Encoding": "identity"})
    old = await visitor.get(path.replace("/static/", "/static/0"))

    assert "immutable" in answer.headers["cache-control"]
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 2
    assert old.status_code == 404


async def test_every_page_says_how_fresh_the_lists_are(console: Console) -> None:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
        await _complete(connection)

    answer: httpx.Response = await (await console.client("acme", "read")).get("/t/acme/sessions")

    assert re.search(r'<b class="late">Complete to <time[^>]*>2026-11-20 10:42:07</time></b>', answer.text)
    assert "nobody is declared lost meanwhile" in answer.text


async def _complete(connection: object) -> None:
    await connection.execute(  # type: ignore[attr-defined]
        "INSERT INTO sojourn_v1.position (topic, partition, epoch, next_offset, committed_at, complete_to)"
        " VALUES ('sojourn.heartbeats', 0, 1, 1, now(), '2026-11-20 10:42:07+00')"
    )
