"""What holds for every operation of the API: strict bodies, exact paths, named methods, pages, a true description."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from sojourn.console.identity import accounts
from tests.integration.identity_steps import new_site, new_tenant
from tests.integration.rows import insert_history, insert_live
from tests.integration.site_steps import Console

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE: Final = Path(accounts.__file__).parents[1]
DOCS: Final = Path(__file__).parents[2] / "docs" / "api.md"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(migrated_server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """Serve a console for all tests of this module."""
    async with new_site(migrated_server, tmp_path_factory) as console:
        yield console


async def document(site: Console) -> dict[str, Any]:
    found: dict[str, Any] = (await site.visitor().get("/v1/openapi.json")).json()
    return found


async def walked(client: httpx.AsyncClient, path: str, name: str) -> list[list[str]]:
    """Return the names on each page of a list, walked by the links of the header."""
    pages = [await client.get(path, params={"limit": 2})]
    while "next" in pages[-1].links:
        pages.append(await client.get(pages[-1].links["next"]["url"]))
    back = await client.get(pages[-1].links["prev"]["url"])
    assert back.json()[name] == pages[-2].json()[name]
    return [[one["name"] for one in page.json()[name]] for page in pages]


async def test_users_are_walked_page_by_page_by_name(site: Console) -> None:
    tenant = await new_tenant(site)
    for name in ("Bob", "ada", "cy", "王伟"):
        await site.person(tenant, name=f"{name}-{tenant}")
    await site.person(await new_tenant(site), name=f"bea-{tenant}")

    pages = await walked(await site.client(tenant), "/v1/users", "users")

    assert pages == [[f"ada-{tenant}", f"Bob-{tenant}"], [f"cy-{tenant}", f"王伟-{tenant}"]]


async def test_tokens_are_walked_page_by_page_and_those_that_were_revoked_come_last(site: Console) -> None:
    admin = await site.person(await new_tenant(site), "tenant_admin")
    made = {
        name: (await admin.post("/v1/tokens", json={"name": name, "scopes": ["read"]})).json()["token_id"]
        for name in ("c", "a", "B")
    }
    await admin.post(f"/v1/tokens/{made['a']}/revoke")

    assert await walked(admin, "/v1/tokens", "tokens") == [["B", "c"], ["a"]]


@pytest.mark.parametrize("path", ["/v1/users", "/v1/tokens", "/v1/admin-actions", "/v1/stream", "/v1/exports"])
async def test_a_parameter_that_no_operation_has_is_refused_everywhere(site: Console, path: str) -> None:
    client = await site.client(await new_tenant(site))

    answer = await client.get(path, params={"limits": 1})

    assert (answer.status_code, answer.json()["type"]) == (400, "urn:sojourn:problem:bad-parameter")
    assert answer.json()["detail"].startswith("limits: ")


async def test_a_filter_of_nothing_is_refused_where_it_would_show_everybody(site: Console) -> None:
    client = await site.client(await new_tenant(site))

    refused = [await client.get("/v1/sessions", params={"state": text}) for text in ("null", "NULL")]
    called_so = await client.get("/v1/sessions", params={"user": "null"})

    assert [answer.status_code for answer in refused] == [400, 400]
    assert called_so.status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/disconnects", {"session_ids": ["s"], "reason": "r", "dry_run": 0}, "dry_run"),
        ("/v1/disconnects", {"session_ids": ["s"], "reason": "r", "expires_seconds": "60"}, "expires_seconds"),
        ("/v1/disconnects", {"session_ids": ["s\n"], "reason": "r"}, "session_ids"),
        ("/v1/exports", {"dataset": "history", "format": "csv", "neutralised": "true"}, "neutralised"),
        ("/v1/exports", {"dataset": "current", "format": "csv", "filter": {"outcome": "normal"}}, "outcome"),
        ("/v1/exports", {"dataset": "history", "format": "csv", "filter": {"terminal": "abacus"}}, "filter.terminal"),
        ("/v1/users", {"name": "ada", "roles": ["viewer"], "display_name": ""}, "name that is shown"),
        ("/v1/tokens", {"name": "x", "scopes": ["read"], "expires_at": "null"}, "expires_at"),
    ],
)
async def test_a_body_that_means_something_else_is_not_guessed_at(
    site: Console, path: str, body: dict[str, Any], name: str
) -> None:
    client = await site.client(await new_tenant(site))

    answer = await client.post(path, json=body)

    assert answer.status_code == 400, answer.text
    assert name in answer.json()["detail"]


async def test_a_whole_number_may_be_written_as_json_writes_it(site: Console) -> None:
    client = await site.client(await new_tenant(site))
    body = b'{"session_ids": ["s"], "reason": "r", "dry_run": true, "expires_seconds": 60.0}'

    answer = await client.post("/v1/disconnects", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({}, b"{}", 415),
        ({"Content-Type": "application/json; charset=latin-1"}, b"{}", 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"{}", 415),
        ({"Content-Type": "application/json"}, b"", 400),
        ({"Content-Type": "application/json"}, b"{", 400),
        ({"Content-Type": "application/json"}, b"\xff", 400),
        ({"Content-Type": "application/json"}, b"[" * 100_000, 400),
        ({"Content-Type": "application/json"}, b" " * (2 << 20), 413),
    ],
)
async def test_what_is_no_json_is_told_so(site: Console, headers: dict[str, str], content: bytes, status: int) -> None:
    client = await site.client(await new_tenant(site))

    answer = await client.post("/v1/users", content=content, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_path_names_all_its_methods(site: Console) -> None:
    client = await site.client(await new_tenant(site))
    person = await site.person(tenant := await new_tenant(site), "tenant_admin")

    for path, methods in (await document(site))["paths"].items():
        real = re.sub(r"\{number\}", "1", re.sub(r"\{\w+_id\}", "00000000-0000-4000-8000-000000000000", path))
        for answer in (await client.options(real), await client.request("PUT", real)):
            told = {name.strip() for name in answer.headers["allow"].split(",")}
            assert told == {*(name.upper() for name in methods), "OPTIONS"}, path
    page = await person.options(f"/t/{tenant}/exports")
    assert page.headers["allow"] == "GET, OPTIONS, POST"


IDS: Final = ("a/b", "/", "a//", "a/timeline", "..", ".", "%2F", "a b", "王伟", "?#&=", "x" * 200, "\\", "é́")


def encoded(name: str) -> str:
    """Return a name as it stands in a path, every byte of it."""
    return "".join(f"%{byte:02X}" for byte in name.encode())


async def test_a_session_of_any_id_is_found_and_so_is_its_timeline(site: Console) -> None:
    tenant = await new_tenant(site)
    async with site.rows() as connection:
        for number, session_id in enumerate(IDS):
            await insert_live(connection, tenant, session_id, offset=number)
            begun = {"state": "active", "logout_at": None, "revision": 1}
            await insert_history(connection, tenant, session_id, offset=number, **begun)
    client = await site.client(tenant, "read")

    for session_id in IDS:
        for rest in ("", "/timeline"):
            answer = await client.get(
                httpx.URL(site.url, raw_path=f"/v1/sessions/{encoded(session_id)}{rest}".encode())
            )
            assert (answer.status_code, answer.json().get("session_id")) == (200, session_id), answer.text


@pytest.mark.parametrize("sent", ["%00", "a%00b", "a%1Fb", "a%1Fb%2F", "%FF", "x" * 5000, "%2F", "%2F%2F", "%2E%2E"])
async def test_the_id_of_no_session_is_told_so_whatever_it_holds(site: Console, sent: str) -> None:
    tenant = await new_tenant(site)
    async with site.rows() as connection:
        await insert_live(connection, tenant, "a/b")
        await insert_live(connection, tenant, "a\ufffd", offset=1)
    client = await site.client(tenant, "read")

    for rest in ("", "/timeline"):
        answer = await client.get(httpx.URL(site.url, raw_path=f"/v1/sessions/{sent}{rest}".encode()))
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:sojourn:problem:no-such-session"), sent


async def test_nothing_below_the_api_is_answered_with_a_page(site: Console) -> None:
    for path in ("/v1/nowhere", "/v1/sessions/a/b/c", "/v1/swagger"):
        answer = await site.browser().get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path


# What gives access to somebody else, each with the body that it takes; `disable` takes access away, at once.
GIVING: Final[dict[tuple[str, str], Any]] = {
    ("post", "/v1/users"): {"name": "x", "roles": ["viewer"]},
    ("patch", "/v1/users/{account_id}"): {"roles": ["viewer"]},
    ("post", "/v1/users/{account_id}/enable"): None,
    ("post", "/v1/users/{account_id}/password"): None,
    ("post", "/v1/tokens"): {"name": "x", "scopes": ["read"]},
}


async def test_a_person_shows_again_who_they_are_where_the_description_says_so_and_a_token_need_not(
    site: Console,
) -> None:
    tenant = await new_tenant(site)
    person, token = await site.person(tenant, "tenant_admin"), await site.client(tenant)
    long_ago = datetime.now(UTC) - timedelta(minutes=11)
    await site.execute("UPDATE sojourn.sign_in SET confirmed_at = %s WHERE tenant = %s", [long_ago, tenant])
    paths = (await document(site))["paths"]

    said = {
        (method, path)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "confirm-password" in operation["responses"]["403"]["description"]
    }
    assert said == {*GIVING, ("post", "/v1/disconnects")}
    for (method, path), body in GIVING.items():
        real = path.format(account_id="00000000-0000-4000-8000-000000000000")
        refused = await person.request(method, real, json=body)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:sojourn:problem:confirm-password"), path
        assert (await token.request(method, real, json=body)).status_code in {201, 404}, path


async def test_every_operation_is_described_to_a_stranger(site: Console) -> None:
    described = await document(site)

    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["security"] == [{"token": []}], where
            assert {"400", "401", "403", "404", "429", "500", "503"} <= operation["responses"].keys(), where
            assert ("413" in operation["responses"]) == ("requestBody" in operation), where
            if not path.startswith("/v1/statistics/"):
                assert operation.get("description"), where
    for name, schema in described["components"]["schemas"].items():
        assert schema.get("description"), name
        if name.endswith(("Request", "Export", "Filter")):
            assert schema["additionalProperties"] is False, name


async def test_every_problem_has_a_row_in_the_docs() -> None:
    known = set(re.findall(r"`([a-z-]+)`", DOCS.read_text().partition("## What goes wrong")[2]))
    of_pages = {"signing_in.py", "oidc.py"}
    paths = [path for folder in ("api", "identity", "jobs", "site") for path in (BASE / folder).glob("*.py")]
    sources = [path.read_text() for path in paths if path.name not in of_pages]
    sources.append((BASE / "http" / "problems.py").read_text())

    raised = r"(?:Problem\(\s*\d+,|Refused\()\s*\"([a-z-]+)\""
    kinds = {kind for text in sources for kind in re.findall(raised, text)} | {"unsupported-media-type"}

    assert len(kinds) > 30
    assert sorted(kinds - known) == []
