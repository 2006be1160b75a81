"""Signing in at another service: who comes back is who it says, in the tenant and with the roles that it says."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from joserfc.jwk import RSAKey

from sojourn.console.identity.sign_ins import COOKIE
from sojourn.console.site.settings import OidcSettings, SiteSettings
from sojourn.console.site.site import Site
from tests.integration.identity_steps import new_site
from tests.integration.oidc_provider import (
    ADA,
    CLIENT_ID,
    CLIENT_SECRET,
    OidcProvider,
    callback,
    running_provider,
)
from tests.integration.rows import insert_tenant
from tests.integration.site_steps import Console

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCOUNTS: Final = """
    SELECT tenant, name, display_name, roles, disabled_at IS NOT NULL FROM sojourn.account ORDER BY created_at
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[OidcProvider]:
    """Serve a provider for all tests of the module."""
    async with running_provider() as provider:
        yield provider


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    migrated_server: str, tmp_path_factory: pytest.TempPathFactory, running: OidcProvider
) -> AsyncIterator[Console]:
    """Serve a console that sends people there."""
    settings = SiteSettings(oidc=OidcSettings(running.issuer, CLIENT_ID, CLIENT_SECRET))
    async with new_site(migrated_server, tmp_path_factory, settings) as console:
        async with console.rows() as connection:
            for tenant in ("acme", "other"):
                await insert_tenant(connection, tenant)
        yield console


@pytest_asyncio.fixture(loop_scope="module")
async def provider(running: OidcProvider) -> OidcProvider:
    """Let the provider be honest again."""
    running.claims, running.lies = dict(ADA), {}
    running.signing, running.algorithm = running.key, "RS256"
    running.logged_in_at = time.time()
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def site(served: Console) -> Console:
    """Let nobody be known to the console."""
    await served.execute("TRUNCATE sojourn.sign_in, sojourn.account, sojourn.admin_action")
    return served


def cookies(answer: httpx.Response) -> dict[str, str]:
    """Return the cookies that an answer sets, without those that it takes away."""
    pairs = [line.partition(";")[0].partition("=") for line in answer.headers.get_list("set-cookie")]
    return {name: value for name, _, value in pairs if value.strip('"')}


async def begin(site: Console, jar: dict[str, str] | None = None, **query: str) -> httpx.Response:
    return await site.browser(jar or {}).get("/sign-in/oidc", params=query)


async def sign_in(
    site: Console, provider: OidcProvider, jar: dict[str, str] | None = None, **query: str
) -> httpx.Response:
    begun = await begin(site, jar, **query)
    return await site.browser({**(jar or {}), **cookies(begun)}).get(callback(begun, provider))


async def test_who_signs_in_elsewhere_for_the_first_time_gets_an_account(site: Console, provider: OidcProvider) -> None:
    page = await site.browser().get("/sign-in")
    came = await sign_in(site, provider, next="/t/acme/sessions?search=x")

    assert "/sign-in/oidc" in page.text
    assert (came.status_code, came.headers["location"]) == (303, "/t/acme/sessions?search=x")
    assert list(cookies(came)) == [COOKIE]
    assert (await site.browser(cookies(came)).get("/t/acme/sessions")).status_code == 200
    assert await site.execute(ACCOUNTS) == [("acme", "ada", "Ada Byron", ["operator"], False)]
    acts = await site.execute("SELECT tenant, actor, action, subject, result FROM sojourn.admin_action")
    assert acts == [("acme", "ada", "sign_in", f"ada: operator, by {provider.issuer.removeprefix('http://')}", "done")]


async def test_the_next_time_it_is_the_same_account_with_the_roles_of_then(
    site: Console, provider: OidcProvider
) -> None:
    await sign_in(site, provider)
    provider.claims |= {"sojourn_roles": "auditor", "name": "Ada Lovelace"}

    came = await sign_in(site, provider)

    assert await site.execute(ACCOUNTS) == [("acme", "ada", "Ada Lovelace", ["auditor"], False)]
    assert (await site.browser(cookies(came)).get("/v1/admin-actions")).status_code == 200


async def test_the_browser_goes_where_the_provider_says_with_all_that_keeps_an_attempt_its_own(
    site: Console, provider: OidcProvider
) -> None:
    first, second = await begin(site), await begin(site)

    place = urlsplit(first.headers["location"])
    asked = parse_qs(place.query)
    assert f"{place.scheme}://{place.netloc}{place.path}" == f"{provider.issuer}/authorize"
    assert asked["redirect_uri"] == [f"{site.url}/sign-in/oidc/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    other = parse_qs(urlsplit(second.headers["location"]).query)
    assert all(asked[name] != other[name] for name in ("state", "nonce", "code_challenge"))
    attributes = first.headers["set-cookie"].lower()
    assert all(word in attributes for word in ("httponly", "secure", "samesite=lax", "max-age=600"))
    assert asked["state"][0] not in first.headers["set-cookie"]


LIES: Final[dict[str, Any]] = {
    "another nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "for another client": {"aud": "another"},
    "for several, by another": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "for nobody": {"aud": None},
    "of another issuer": {"iss": "http://127.0.0.1:1"},
    "of no issuer": {"iss": None},
    "expired": {"exp": 1},
    "without an end": {"exp": None},
    "of tomorrow": {"iat": 4_000_000_000},
    "about nobody": {"sub": None},
    "about a number": {"sub": 17},
    "about too much": {"sub": "x" * 256},
    "without a tenant": {"sojourn_tenant": None},
    "of what is no tenant": {"sojourn_tenant": "../acme"},
    "of several tenants": {"sojourn_tenant": ["acme", "other"]},
    "without a role": {"sojourn_roles": None},
    "with roles that we do not have": {"sojourn_roles": ["king"]},
    "with the platform's role in a tenant": {"sojourn_roles": ["platform_admin"]},
}


@pytest.mark.parametrize("lies", LIES.values(), ids=LIES)
async def test_a_token_that_is_not_good_signs_nobody_in(
    site: Console, provider: OidcProvider, lies: dict[str, Any]
) -> None:
    provider.lies = lies

    came = await sign_in(site, provider)

    assert came.status_code == 403
    assert "Signing in there did not work" in came.text
    assert cookies(came) == {}
    assert await site.execute(ACCOUNTS) == []
    ((tenant, action, result),) = await site.execute("SELECT tenant, action, result FROM sojourn.admin_action")
    assert (tenant, action, result.partition(":")[0]) == ("~platform", "sign_in", "refused")


def unsigned(provider: OidcProvider) -> None:
    provider.algorithm = "none"


def signed_with_what_everybody_knows(provider: OidcProvider) -> None:
    provider.algorithm = "HS256"


def signed_with_another_key(provider: OidcProvider) -> None:
    provider.signing = RSAKey.generate_key(2048, {"kid": "one"})


@pytest.mark.parametrize("forge", [unsigned, signed_with_what_everybody_knows, signed_with_another_key])
async def test_a_token_that_the_provider_did_not_sign_signs_nobody_in(
    site: Console, provider: OidcProvider, forge: Callable[[OidcProvider], None]
) -> None:
    forge(provider)

    came = await sign_in(site, provider)

    assert (came.status_code, cookies(came)) == (403, {})
    assert await site.execute(ACCOUNTS) == []


async def test_a_key_that_is_new_is_read_when_a_token_names_it(site: Console, provider: OidcProvider) -> None:
    assert (await sign_in(site, provider)).status_code == 303
    provider.key = provider.signing = RSAKey.generate_key(2048, {"kid": "two"})

    assert (await sign_in(site, provider)).status_code == 303


async def test_an_answer_is_taken_once_and_only_by_the_browser_that_asked(
    site: Console, provider: OidcProvider
) -> None:
    begun = await begin(site)
    path = callback(begun, provider)

    without_cookie = await site.browser().get(path)
    others = await site.browser(cookies(await begin(site))).get(path)
    first = await site.browser(cookies(begun)).get(path)
    provider.authorize(begun.headers["location"])  # the provider itself would give the code once more
    replayed = await site.browser(cookies(begun)).get(path)

    assert [one.status_code for one in (without_cookie, others, first, replayed)] == [403, 403, 303, 403]
    assert cookies(replayed) == {}


@pytest.mark.parametrize(
    "changes",
    [{"state": "x"}, {"state": ""}, {"code": "x"}, {"code": ""}, {"iss": "http://evil"}, {"error": "access_denied"}],
)
async def test_an_answer_that_was_changed_on_the_way_signs_nobody_in(
    site: Console, provider: OidcProvider, changes: dict[str, str]
) -> None:
    begun = await begin(site)

    came = await site.browser(cookies(begun)).get(callback(begun, provider, **changes))

    assert (came.status_code, cookies(came)) == (403, {})


async def test_who_was_disabled_here_is_not_let_in_by_the_provider(site: Console, provider: OidcProvider) -> None:
    await sign_in(site, provider)
    await site.execute("UPDATE sojourn.account SET disabled_at = now()")

    came = await sign_in(site, provider)

    assert (came.status_code, cookies(came)) == (403, {})


async def test_who_moves_to_another_tenant_leaves_the_first_one(site: Console, provider: OidcProvider) -> None:
    before = cookies(await sign_in(site, provider))
    provider.claims["sojourn_tenant"] = "other"

    came = await sign_in(site, provider)

    accounts = await site.execute(ACCOUNTS)
    assert [(tenant, off) for tenant, *_, off in accounts] == [("acme", True), ("other", False)]
    assert accounts[1][1].startswith("ada-")
    assert (await site.browser(before).get("/t/acme/sessions")).status_code == 303
    assert (await site.browser(cookies(came)).get("/t/other/sessions")).status_code == 200
    assert (await site.browser(cookies(came)).get("/t/acme/sessions")).status_code == 404


async def test_a_name_that_somebody_has_already_does_not_lead_to_their_account(
    site: Console, provider: OidcProvider
) -> None:
    await site.person("acme", "tenant_admin", name="Ada")

    came = await sign_in(site, provider)

    names = [row[1] for row in await site.execute(ACCOUNTS)]
    assert names[0] == "Ada"
    assert names[1].startswith("ada-")
    assert (await site.browser(cookies(came)).get("/v1/users")).status_code == 403


async def test_who_signs_in_elsewhere_shows_again_there_who_they_are(
    site: Console, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.claims["sojourn_roles"] = ["tenant_admin"]
    jar = cookies(await sign_in(site, provider))
    body = {"name": "t", "scopes": ["read"], "expires_at": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
    monkeypatch.setattr(Site, "now", lambda _: datetime.now(UTC) + timedelta(minutes=11))
    before = await site.browser(jar).post("/v1/tokens", json=body)
    page = await site.browser(jar).get("/confirm?next=/t/acme/tokens")
    monkeypatch.undo()
    provider.logged_in_at = time.time() - 3600
    begun = await begin(site, jar, confirm="yes", next="/t/acme/tokens")

    came = await site.browser({**jar, **cookies(begun)}).get(callback(begun, provider))

    assert before.json()["type"] == "urn:sojourn:problem:confirm-password"
    assert "confirm=yes" in page.text
    assert (came.status_code, came.headers["location"]) == (303, "/t/acme/tokens")
    assert (await site.browser(jar).get("/v1/tokens")).status_code == 401
    assert (await site.browser(cookies(came)).get("/v1/tokens")).status_code == 200


async def test_a_provider_that_asked_for_no_password_and_another_person_confirm_nothing(
    site: Console, provider: OidcProvider
) -> None:
    jar = cookies(await sign_in(site, provider))

    stale = await begin(site, jar, confirm="yes")
    provider.lies = {"auth_time": int(time.time()) - 3600}
    asked_nothing = await site.browser({**jar, **cookies(stale)}).get(callback(stale, provider))
    provider.lies = {"auth_time": None}
    silent = await sign_in(site, provider, jar, confirm="yes")
    provider.lies = {"sub": "18", "preferred_username": "grace"}
    another = await sign_in(site, provider, jar, confirm="yes")

    assert [one.status_code for one in (asked_nothing, silent, another)] == [403] * 3
    assert [cookies(one) for one in (asked_nothing, silent, another)] == [{}] * 3
    assert len(await site.execute(ACCOUNTS)) == 1


async def test_a_provider_that_is_away_or_another_one_is_told_as_such(
    migrated_server: str, tmp_path_factory: pytest.TempPathFactory, provider: OidcProvider
) -> None:
    away = SiteSettings(oidc=OidcSettings("http://127.0.0.1:1", CLIENT_ID, CLIENT_SECRET))
    async with new_site(migrated_server, tmp_path_factory, away) as console:
        answer = await begin(console)
    other = SiteSettings(oidc=OidcSettings(f"{provider.issuer}/", CLIENT_ID, CLIENT_SECRET))
    async with new_site(migrated_server, tmp_path_factory, other) as console:
        another = await begin(console)

    assert (answer.status_code, another.status_code) == (502, 502)
    assert "it does not answer" in answer.text
    assert "another issuer" in another.text
