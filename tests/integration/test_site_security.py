"""What keeps other sites and other machines out: headers on every answer, hosts, forged requests, streams, logs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
import structlog

from sojourn.console.api import stream
from sojourn.console.identity.sign_ins import COOKIE
from sojourn.console.pages.assets import asset_path
from sojourn.console.site.settings import SiteSettings
from tests.integration.identity_steps import cookie_of, new_site, new_tenant, site
from tests.integration.site_steps import PASSWORD, Console

__all__ = ["site"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN: Final = "https://sojourn.example.com"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(migrated_server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """Serve a console that is behind a proxy."""
    async with new_site(migrated_server, tmp_path_factory, SiteSettings(origin=ORIGIN)) as console:
        yield console


def assert_guarded(answer: httpx.Response) -> None:
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"]


async def test_every_answer_tells_the_browser_to_trust_nothing_else_whatever_it_is(site: Console) -> None:
    tenant = await new_tenant(site)
    person = await site.person(tenant)
    answers = {
        "page": await person.get(f"/t/{tenant}/sessions"),
        "redirect": await site.browser().get(f"/t/{tenant}/sessions"),
        "sign-in": await site.browser().get("/sign-in"),
        "no such page": await person.get("/nowhere"),
        "no such tenant": await person.get("/t/nobody/sessions"),
        "problem": await site.visitor().get("/v1/freshness"),
        "no such path of the API": await person.get("/v1/nowhere"),
        "other method": await person.delete("/v1/freshness"),
        "options": await person.options("/v1/freshness"),
        "refused": await person.get("/v1/users"),
        "foreign": await person.post("/sign-out", headers={"Sec-Fetch-Site": "cross-site"}),
        "other host": await site.visitor().get("/sign-in", headers={"Host": "evil.example"}),
        "unreadable": await person.post("/account", content=b"\xff", headers={"Content-Type": "application/json"}),
        "file": await site.visitor().get(asset_path("style.css")),
        "no such file": await site.visitor().get("/static/0/style.css"),
        "description": await site.visitor().get("/v1/openapi.json"),
        "events of brokers": await site.visitor().post("/v1/events"),
    }

    for name, answer in answers.items():
        assert answer.status_code != 500, name
        assert_guarded(answer)
    assert answers["file"].headers["cache-control"].startswith("public")
    async with person.stream("GET", "/v1/stream") as opened:
        assert opened.status_code == 200
        assert_guarded(opened)


async def test_an_error_of_ours_is_guarded_too_and_shows_nothing_of_itself(site: Console) -> None:
    tenant = await new_tenant(site)
    person = await site.person(tenant)
    await site.execute("ALTER TABLE sojourn.sign_in RENAME COLUMN origin TO gone")
    try:
        answer = await site.browser().post("/sign-in", data={"name": "x", "password": "y"})
        await site.execute("ALTER TABLE sojourn.account RENAME COLUMN locale TO gone")
        try:
            failed = await person.get("/v1/freshness")
        finally:
            await site.execute("ALTER TABLE sojourn.account RENAME COLUMN gone TO locale")
    finally:
        await site.execute("ALTER TABLE sojourn.sign_in RENAME COLUMN gone TO origin")

    assert (answer.status_code, failed.status_code) == (401, 500)
    assert_guarded(failed)
    for word in ("SELECT", "locale", "psycopg", "Traceback", "account"):
        assert word not in failed.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", "localhost.", "", "[::2]", "10.0.0.1"]
)
async def test_a_name_that_leads_here_but_is_not_ours_gets_nothing(site: Console, host: str) -> None:
    tenant = await new_tenant(site)
    person = await site.person(tenant)
    token = await site.client(tenant)

    answers = [await one.get("/v1/freshness", headers={"Host": host}) for one in (person, token)]
    page = await person.get(f"/t/{tenant}/sessions", headers={"Host": host})

    assert [answer.status_code for answer in [*answers, page]] == [421] * 3
    assert tenant not in page.text.replace(f"/t/{tenant}", "")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9999", "127.0.0.1:1", "[::1]:8787"])
async def test_every_name_of_this_machine_is_ours_at_whatever_port(site: Console, host: str) -> None:
    token = await site.client(await new_tenant(site))

    assert (await token.get("/v1/freshness", headers={"Host": host})).status_code == 200


FOREIGN: Final[list[dict[str, str]]] = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_what_a_page_of_another_site_sends_changes_nothing(site: Console, headers: dict[str, str]) -> None:
    tenant = await new_tenant(site)
    name = f"admin-{tenant}"
    person = await site.person(tenant, "tenant_admin", name=name)
    cookie = person.headers["cookie"]
    given = {name: site.url if value == "OWN" else value for name, value in headers.items()}
    visitor = site.visitor({"Accept": "text/html", **given})
    credentials = {"name": name, "password": PASSWORD}

    signed_in = await visitor.post("/sign-in", data=credentials)
    signed_out = await visitor.post("/sign-out", headers={"Cookie": cookie})
    added = await visitor.post("/v1/users", json={"name": "x", "roles": ["viewer"]}, headers={"Cookie": cookie})
    page = await visitor.post(f"/t/{tenant}/users", data={"name": "x", "role": "viewer"}, headers={"Cookie": cookie})

    assert [one.status_code for one in (signed_in, signed_out, added, page)] == [403] * 4
    assert "set-cookie" not in signed_in.headers
    assert (await person.get("/v1/users")).json()["users"][0]["name"] == name
    assert len((await person.get("/v1/users")).json()["users"]) == 1


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "OWN"}], ids=str)
async def test_what_our_own_pages_send_is_taken(site: Console, headers: dict[str, str]) -> None:
    name = f"ada-{await new_tenant(site)}"
    await site.person("acme", name=name)
    given = {name: site.url if value == "OWN" else value for name, value in headers.items()}

    answer = await site.visitor(given).post("/sign-in", data={"name": name, "password": PASSWORD})

    assert answer.status_code == 303


async def test_no_reading_changes_anything(site: Console) -> None:
    """What signs out, disables, revokes or makes something is never a GET, which links and pictures can send."""
    document = (await site.visitor().get("/v1/openapi.json")).json()
    tenant = await new_tenant(site)
    person = await site.person(tenant, "tenant_admin")

    for path in ("/sign-out", "/v1/users/x/disable", f"/t/{tenant}/tokens/x/revoke"):
        assert (await person.get(path)).status_code in {404, 405}, path
    written = ("create", "update", "disable", "enable", "reset", "revoke", "cancel", "set")
    reading = [one["get"]["operationId"] for one in document["paths"].values() if "get" in one]
    assert not [name for name in reading if name.startswith(written)]


async def test_a_cookie_that_is_given_twice_is_none(site: Console) -> None:
    tenant = await new_tenant(site)
    person = await site.person(tenant)
    own = person.headers["cookie"]

    twice = await site.visitor().get("/v1/freshness", headers={"Cookie": f"{own}; {COOKIE}={'A' * 43}"})
    beside = await site.visitor().get("/v1/freshness", headers={"Cookie": f"other=1; {own}"})

    assert (twice.status_code, beside.status_code) == (401, 200)


@pytest.mark.parametrize("value", ["", "x", "A" * 42, "A" * 44, "A" * 42 + "=", '"' + "A" * 43 + '"', "A" * 43])
async def test_what_looks_like_no_cookie_of_ours_signs_nobody_in(site: Console, value: str) -> None:
    answer = await site.visitor().get("/v1/freshness", headers={"Cookie": f"{COOKIE}={value}"})

    assert answer.status_code == 401


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE sojourn.sign_in SET ended_at = now() WHERE tenant = %s",
        "UPDATE sojourn.account SET disabled_at = now() WHERE tenant = %s",
        "UPDATE sojourn.account SET roles = '{}' WHERE tenant = %s",
        "UPDATE sojourn.sign_in SET last_seen_at = now() - interval '31 minutes' WHERE tenant = %s",
    ],
)
async def test_who_may_no_longer_read_loses_the_streams_that_are_open(
    site: Console, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.05)
    tenant = await new_tenant(site)
    person = await site.person(tenant)

    async with person.stream("GET", "/v1/stream") as opened:
        lines = opened.aiter_lines()
        await anext(lines)
        await site.execute(end, [tenant])

        async for _ in lines:  # it ends by itself, or the test is too late
            pass


async def test_a_stream_that_lies_open_keeps_nobody_signed_in(site: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = asyncio.Event()
    may_still_read = stream._may_still_read

    async def noted(*arguments: Any) -> bool:
        may = await may_still_read(*arguments)
        judged.set()
        return may

    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(stream, "_may_still_read", noted)
    tenant = await new_tenant(site)
    person = await site.person(tenant)
    seen = "SELECT last_seen_at < now() - interval '10 minutes' FROM sojourn.sign_in WHERE tenant = %s"

    async with person.stream("GET", "/v1/stream") as opened:
        lines = opened.aiter_lines()
        await anext(lines)
        await site.execute(
            "UPDATE sojourn.sign_in SET last_seen_at = now() - interval '20 minutes' WHERE tenant = %s", [tenant]
        )
        judged.clear()
        await judged.wait()

        assert await site.execute(seen, [tenant]) == [(True,)]


async def test_behind_a_proxy_the_origin_is_the_one_that_browsers_know(behind: Console) -> None:
    tenant = await new_tenant(behind)
    name = f"ada-{tenant}"
    await behind.person(tenant, name=name)
    outside = {"Host": "sojourn.example.com", "X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    form = {"name": name, "password": PASSWORD}

    own = await behind.visitor({**outside, "Origin": ORIGIN}).post("/sign-in", data=form)
    plain = await behind.visitor({**outside, "Origin": "http://sojourn.example.com"}).post("/sign-in", data=form)
    local = await behind.visitor({"Origin": behind.url, "X-Forwarded-For": "203.0.113.9"}).post("/sign-in", data=form)

    assert [one.status_code for one in (own, plain, local)] == [303, 403, 303]
    origins = await behind.execute("SELECT origin FROM sojourn.admin_action WHERE tenant = %s ORDER BY at", [tenant])
    assert origins == [("198.51.100.7",), ("127.0.0.1",)]


async def test_without_a_proxy_nobody_chooses_the_address_that_is_written_down(site: Console) -> None:
    tenant = await new_tenant(site)
    name = f"ada-{tenant}"
    await site.person(tenant, name=name)

    spoofed = site.visitor({"Origin": site.url, "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"})
    await spoofed.post("/sign-in", data={"name": name, "password": PASSWORD})

    assert await site.execute("SELECT origin FROM sojourn.admin_action WHERE tenant = %s", [tenant]) == [("127.0.0.1",)]


async def test_no_secret_stands_in_the_log(site: Console, capfd: pytest.CaptureFixture[str]) -> None:
    tenant = await new_tenant(site)
    name = f"ada-{tenant}"
    client = await site.person(tenant, "tenant_admin", name=name)
    token = await site.token(tenant)
    wrong = "a password that is wrong"
    with structlog.testing.capture_logs() as told:
        answer = await site.browser().post("/sign-in", data={"name": name, "password": PASSWORD})
        await site.browser().post("/sign-in", data={"name": wrong, "password": wrong})
        await site.visitor({"Authorization": f"Bearer {token}"}).get("/v1/nowhere")
        await site.browser({COOKIE: cookie_of(answer)}).get("/nowhere")
        made = await client.post("/v1/users", json={"name": f"bob-{tenant}", "roles": ["viewer"]})
        await client.post("/v1/users", content=wrong, headers={"Content-Type": "application/json"})

    written: Any = [str(told), *capfd.readouterr()]
    for secret in (PASSWORD, wrong, token, cookie_of(answer), made.json()["password"]):
        assert not any(secret in text for text in written)
