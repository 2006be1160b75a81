"""Signing in with a password: the cookie, how long it is good, what ends it, and how often one may try."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio

from sojourn.console.identity.rates import NAME_TRIES_MAX
from sojourn.console.identity.sign_ins import COOKIE, sign_in_id
from sojourn.console.site.site import Site
from tests.integration.identity_steps import site, still
from tests.integration.rows import insert_tenant
from tests.integration.site_steps import PASSWORD, Console

__all__ = ["site"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACTS = "SELECT tenant, actor, action, subject, result FROM sojourn.admin_action ORDER BY at"


class Somebody:
    """Who signs in: somebody else in each test, since tries of one name are counted together."""

    number = 0
    name = ""


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def somebody(site: Console) -> None:
    """Let nobody have an account but somebody of a tenant, who has signed in once."""
    await site.execute("TRUNCATE sojourn.sign_in, sojourn.account, sojourn.admin_action")
    if not Somebody.number:
        async with site.rows() as connection:
            await insert_tenant(connection, "acme")
    Somebody.number += 1
    Somebody.name = f"Ada-{Somebody.number}"
    await site.person("acme", name=Somebody.name)


async def sign_in(
    client: httpx.AsyncClient, name: str | None = None, password: str = PASSWORD, **more: str
) -> httpx.Response:
    return await client.post("/sign-in", data={"name": name or Somebody.name, "password": password, **more})


def cookie(answer: httpx.Response) -> str:
    """Return what the answer sets our cookie to."""
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == COOKIE
    return str(rest.partition(";")[0])


async def test_who_signs_in_gets_a_cookie_that_scripts_and_other_sites_cannot_have(site: Console) -> None:
    answer = await sign_in(site.browser(), next="/t/acme/sessions?search=x")

    assert (answer.status_code, answer.headers["location"]) == (303, "/t/acme/sessions?search=x")
    attributes = answer.headers["set-cookie"].lower().split("; ")[1:]
    assert sorted(attributes) == ["httponly", "path=/", "samesite=lax", "secure"]
    page = await site.browser({COOKIE: cookie(answer)}).get("/t/acme/sessions")
    assert page.status_code == 200
    assert "Ada" in page.text


async def test_only_a_hash_of_the_cookie_is_kept(site: Console) -> None:
    secret = cookie(await sign_in(site.browser()))

    rows = await site.execute("SELECT sign_in_id FROM sojourn.sign_in WHERE origin <> 'test'")
    kept = await site.execute("SELECT s::text FROM sojourn.sign_in s UNION SELECT a::text FROM sojourn.admin_action a")
    assert rows == [(sign_in_id(secret),)]
    assert all(secret not in text and secret.encode().hex() not in text for (text,) in kept)


async def test_a_name_is_the_same_in_whatever_case_it_is_written(site: Console) -> None:
    assert (await sign_in(site.browser(), Somebody.name.swapcase())).status_code == 303


async def test_an_unknown_name_and_a_wrong_password_get_the_same_answer(site: Console) -> None:
    browser = site.visitor({"Origin": site.url, "Accept-Encoding": "identity"})

    wrong = await sign_in(browser, Somebody.name, "not the password")
    nobody = Somebody.name.replace("Ada", "Bob")
    unknown = await sign_in(browser, nobody, "not the password")

    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert still(wrong).replace(Somebody.name, "") == still(unknown).replace(nobody, "")
    assert {k: v for k, v in wrong.headers.items() if k != "date"} == {
        k: v for k, v in unknown.headers.items() if k != "date"
    }


async def test_a_new_sign_in_has_nothing_of_the_one_before_which_ends(site: Console) -> None:
    first = cookie(await sign_in(site.browser()))

    second = cookie(await sign_in(site.browser({COOKIE: first})))

    assert second != first
    assert (await site.browser({COOKIE: first}).get("/account")).status_code == 303
    assert (await site.browser({COOKIE: second}).get("/account")).status_code == 200


async def test_a_cookie_that_somebody_else_chose_signs_nobody_in(site: Console) -> None:
    chosen = "A" * 43

    given = cookie(await sign_in(site.browser({COOKIE: chosen})))

    assert given != chosen
    assert (await site.browser({COOKIE: chosen}).get("/account")).status_code == 303


async def test_who_signs_out_is_out_at_once(site: Console) -> None:
    secret = cookie(await sign_in(site.browser()))

    out = await site.browser({COOKIE: secret}).post("/sign-out")

    assert (out.status_code, out.headers["location"]) == (303, "/sign-in")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await site.browser({COOKIE: secret}).get("/account")).status_code == 303


@pytest.mark.parametrize(
    ("later", "is_in"),
    [
        (timedelta(minutes=29), True),
        (timedelta(minutes=31), False),
    ],
)
async def test_a_sign_in_is_good_for_half_an_hour_without_use(
    site: Console, monkeypatch: pytest.MonkeyPatch, later: timedelta, *, is_in: bool
) -> None:
    secret = cookie(await sign_in(site.browser()))
    at = datetime.now(UTC) + later
    monkeypatch.setattr(Site, "now", lambda _: at)

    assert (await site.browser({COOKIE: secret}).get("/account")).status_code == (200 if is_in else 303)


@pytest.mark.parametrize(
    ("path", "headers", "is_use"),
    [
        ("/t/acme/sessions", {"HX-Request": "true"}, True),
        ("/t/acme/sessions", {"HX-Request": "true", "Sojourn-Unasked": "yes"}, False),
        ("/v1/stream", {}, False),
    ],
)
async def test_what_an_open_page_asks_by_itself_is_no_use_of_a_sign_in(
    site: Console, path: str, headers: dict[str, str], *, is_use: bool
) -> None:
    secret = cookie(await sign_in(site.browser()))
    seen = "UPDATE sojourn.sign_in SET last_seen_at = now() - interval '9 minutes' RETURNING last_seen_at"
    before = {at for (at,) in await site.execute(seen)}

    async with site.browser({COOKIE: secret}).stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200

    after = {at for (at,) in await site.execute("SELECT last_seen_at FROM sojourn.sign_in")}
    assert (after != before) is is_use


async def test_a_sign_in_that_is_used_ends_after_twelve_hours(site: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = cookie(await sign_in(site.browser()))
    began = datetime.now(UTC)
    client = site.browser({COOKIE: secret})
    statuses = []

    for minutes in range(25, 12 * 60 + 25, 25):
        at = began + timedelta(minutes=minutes)
        monkeypatch.setattr(Site, "now", lambda _, at=at: at)
        statuses.append((await client.get("/account")).status_code)

    assert statuses == [200] * 28 + [303]


async def test_the_last_use_is_written_once_a_minute_only(site: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = cookie(await sign_in(site.browser()))
    began = datetime.now(UTC)
    seen = set()

    for second in range(0, 130, 10):
        at = began + timedelta(seconds=second)
        monkeypatch.setattr(Site, "now", lambda _, at=at: at)
        await site.browser({COOKIE: secret}).get("/account")
        seen |= set(await site.execute("SELECT last_seen_at FROM sojourn.sign_in WHERE origin <> 'test'"))

    assert len(seen) == 3  # at the sign-in, and after each full minute


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sojourn.account SET disabled_at = now()",
        "UPDATE sojourn.sign_in SET ended_at = now()",
    ],
)
async def test_what_ends_a_sign_in_holds_from_the_next_request_on(site: Console, change: str) -> None:
    client = site.browser({COOKIE: cookie(await sign_in(site.browser()))})
    assert (await client.get("/t/acme/sessions")).status_code == 200

    await site.execute(change)

    assert (await client.get("/t/acme/sessions")).status_code == 303


async def test_who_is_disabled_cannot_sign_in_and_gets_the_answer_of_a_wrong_password(site: Console) -> None:
    wrong = await sign_in(site.browser(), Somebody.name, "not the password")
    await site.execute("UPDATE sojourn.account SET disabled_at = now()")

    answer = await sign_in(site.browser())

    assert (answer.status_code, still(answer)) == (401, still(wrong))


@pytest.mark.parametrize(
    "after",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
        "evil",
        "",
        "/a b",
        "/x\r\nSet-Cookie: a=b",
    ],
)
async def test_nobody_is_sent_to_another_site_after_signing_in(site: Console, after: str) -> None:
    asked = await site.browser().get("/sign-in", params={"next": after})
    answer = await sign_in(site.browser(), next=after)

    assert 'name="next" value="/"' in asked.text
    assert answer.headers["location"] == "/"


async def test_a_page_without_a_sign_in_leads_to_signing_in_and_back(site: Console) -> None:
    answer = await site.browser().get("/t/acme/sessions?search=ada")

    assert answer.status_code == 303
    place = urlsplit(answer.headers["location"])
    assert (place.path, parse_qs(place.query)) == ("/sign-in", {"next": ["/t/acme/sessions?search=ada"]})


async def test_the_api_without_a_sign_in_answers_with_a_problem(site: Console) -> None:
    answer = await site.browser().get("/v1/freshness")

    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:sojourn:problem:unauthorized"


async def test_who_guesses_passwords_is_told_to_wait_also_with_the_right_one(site: Console) -> None:
    for _ in range(NAME_TRIES_MAX):
        assert (await sign_in(site.browser(), Somebody.name, "guess")).status_code == 401

    limited = await sign_in(site.browser())
    other = await sign_in(site.browser(), "Bob", "guess")

    assert limited.status_code == 429
    assert 1 <= int(limited.headers["retry-after"]) <= 30
    assert other.status_code == 401


async def test_every_attempt_is_written_down_but_not_what_an_unknown_name_was(site: Console) -> None:
    await sign_in(site.browser(), Somebody.name, "guess")
    await sign_in(site.browser(), "a password in the wrong field", "guess")
    secret = cookie(await sign_in(site.browser()))
    await site.browser({COOKIE: secret}).post("/sign-out")

    assert await site.execute(ACTS) == [
        ("acme", "somebody", "sign_in", Somebody.name, "refused: wrong name or password"),
        ("~platform", "somebody", "sign_in", "an unknown name", "refused: wrong name or password"),
        ("acme", Somebody.name, "sign_in", Somebody.name, "done"),
        ("acme", Somebody.name, "sign_out", Somebody.name, "done"),
    ]


async def test_nobody_is_signed_in_when_it_cannot_be_written_down(site: Console) -> None:
    await site.execute("ALTER TABLE sojourn.admin_action ADD CONSTRAINT broken CHECK (action <> 'sign_in')")

    answer = await sign_in(site.browser())
    await site.execute("ALTER TABLE sojourn.admin_action DROP CONSTRAINT broken")

    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers
    assert await site.execute("SELECT FROM sojourn.sign_in WHERE origin <> 'test'") == []


async def test_a_password_for_one_sign_in_allows_nothing_but_choosing_another(site: Console) -> None:
    await site.execute("UPDATE sojourn.account SET password_until = now() + interval '1 day'")

    answer = await sign_in(site.browser(), next="/t/acme/sessions")
    client = site.browser({COOKIE: cookie(answer)})
    page = await client.get("/t/acme/sessions")
    api = await client.get("/v1/freshness")
    form = {"password": PASSWORD, "new": "seven purple elephants", "again": "seven purple elephants", "next": "/x"}
    chosen = await client.post("/account", data=form)

    assert answer.headers["location"] == "/account?next=%2Ft%2Facme%2Fsessions"
    assert (page.status_code, page.headers["location"]) == (303, "/account?next=%2Ft%2Facme%2Fsessions")
    assert (api.status_code, api.json()["type"]) == (403, "urn:sojourn:problem:choose-password")
    assert (chosen.status_code, chosen.headers["location"]) == (303, "/x")
    assert (await site.browser({COOKIE: cookie(chosen)}).get("/t/acme/sessions")).status_code == 200
    assert (await sign_in(site.browser())).status_code == 401
    assert (await sign_in(site.browser(), password="seven purple elephants")).status_code == 303  # noqa: S106


async def test_a_password_for_one_sign_in_is_good_for_some_days_only(site: Console) -> None:
    await site.execute("UPDATE sojourn.account SET password_until = now() - interval '1 second'")

    assert (await sign_in(site.browser())).status_code == 401


async def test_who_changes_the_password_ends_all_other_sign_ins(site: Console) -> None:
    here, elsewhere = [cookie(await sign_in(site.browser())) for _ in range(2)]
    form = {"password": PASSWORD, "new": "seven purple elephants", "again": "seven purple elephants"}

    changed = await site.browser({COOKIE: here}).post("/account", data=form)

    statuses = [
        (await site.browser({COOKIE: secret}).get("/account")).status_code
        for secret in (here, elsewhere, cookie(changed))
    ]
    assert statuses == [303, 303, 200]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"password": "wrong", "new": "seven purple elephants"}, "The password is wrong"),
        ({"password": PASSWORD, "new": "short"}, "12 to 200 characters"),
        ({"password": PASSWORD, "new": "a" * 201}, "12 to 200 characters"),
        ({"password": PASSWORD, "new": "ababababababab"}, "6 different characters"),
        ({"password": PASSWORD, "new": "NAMEPassword123"}, "common word"),
        ({"password": PASSWORD, "new": PASSWORD}, "the old one"),
        ({"password": PASSWORD, "new": "seven purple elephants", "again": "seven"}, "differ"),
    ],
)
async def test_a_password_that_is_no_good_is_refused_with_the_reason(
    site: Console, form: dict[str, str], said: str
) -> None:
    client = site.browser({COOKIE: cookie(await sign_in(site.browser()))})

    form = {name: text.replace("NAME", Somebody.name) for name, text in form.items()}
    answer = await client.post("/account", data={"again": form["new"], **form})

    assert answer.status_code in {400, 403}
    assert said in answer.text
    assert form["new"] not in answer.text
    assert (await sign_in(site.browser())).status_code == 303


async def test_who_shows_again_who_they_are_gets_a_new_cookie(site: Console) -> None:
    first = cookie(await sign_in(site.browser()))

    wrong = await site.browser({COOKIE: first}).post("/confirm", data={"password": "wrong", "next": "/x"})
    right = await site.browser({COOKIE: first}).post("/confirm", data={"password": PASSWORD, "next": "/x"})

    assert wrong.status_code == 403
    assert (right.status_code, right.headers["location"]) == (303, "/x")
    assert cookie(right) != first
    assert (await site.browser({COOKIE: first}).get("/account")).status_code == 303
    assert [row[2:] for row in await site.execute(ACTS)][1:] == [
        ("confirm", Somebody.name, "refused: wrong password"),
        ("confirm", Somebody.name, "done"),
    ]


async def test_people_are_led_to_their_tenant_and_the_platforms_choose_one(site: Console) -> None:
    own = await (await site.person("acme")).get("/")
    platform = await (await site.person("~platform", "platform_admin")).get("/")

    assert (own.status_code, own.headers["location"]) == (303, "/t/acme/sessions")
    assert platform.status_code == 200
    assert 'href="/t/acme/sessions"' in platform.text
