"""Tokens of the API, the trail of acts, and the pages about both."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from sojourn.console.site.site import Site
from tests.integration.identity_steps import acts_of, new_tenant, signed_in, site
from tests.integration.site_steps import Console

__all__ = ["site"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def good_for(**time: int) -> str:
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


def asked(name: str = "t", **changes: Any) -> dict[str, Any]:
    return {"name": name, "scopes": ["read"], "expires_at": good_for(days=1), **changes}


async def test_a_token_is_told_once_and_only_a_hash_of_its_secret_is_kept(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin")

    made = await admin.post("/v1/tokens", json=asked("dashboards"))

    token = made.json()["token"]
    secret = token.split("_", 2)[2]
    assert re.fullmatch(r"sja_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", token)
    client = site.visitor({"Authorization": f"Bearer {token}"})
    assert (await client.get("/v1/freshness")).status_code == 200
    listed = await admin.get("/v1/tokens")
    kept = await site.execute(
        "SELECT t::text FROM sojourn.api_token t UNION SELECT a::text FROM sojourn.admin_action a"
    )
    assert secret not in listed.text
    assert all(secret not in text for (text,) in kept)
    assert listed.json()["tokens"][0]["last_used_at"] is not None


async def test_a_token_that_is_revoked_or_has_expired_is_refused(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin")
    revoked, expiring = [(await admin.post("/v1/tokens", json=asked(name))).json() for name in ("a", "b")]
    clients = [site.visitor({"Authorization": f"Bearer {one['token']}"}) for one in (revoked, expiring)]
    assert [(await client.get("/v1/freshness")).status_code for client in clients] == [200, 200]

    done = await admin.post(f"/v1/tokens/{revoked['token_id']}/revoke")
    at = datetime.now(UTC) + timedelta(days=1, seconds=1)
    before = (await clients[0].get("/v1/freshness")).status_code
    monkeypatch.setattr(Site, "now", lambda _: at)

    assert done.json()["revoked_at"] is not None
    assert before == 401
    assert (await clients[1].get("/v1/freshness")).status_code == 401


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a b"}, "letters, digits"),
        ({"scopes": []}, "a scope is one of"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"expires_at": good_for(days=-1)}, "within a year"),
        ({"expires_at": good_for(days=400)}, "within a year"),
        ({"expires_at": "2027-01-01T00:00:00"}, "offset"),
        ({"expires_at": "soon"}, "expires_at"),
    ],
)
async def test_what_can_be_no_token_is_refused_and_makes_none(
    site: Console, changes: dict[str, Any], said: str
) -> None:
    admin = await site.person(await new_tenant(site), "tenant_admin")

    answer = await admin.post("/v1/tokens", json=asked(**changes))

    assert answer.status_code == (409 if said == "within a year" else 400)
    assert said in answer.text
    assert (await admin.get("/v1/tokens")).json()["tokens"] == []


async def test_a_token_allows_no_more_than_who_makes_it_may_do(site: Console) -> None:
    tenant = await new_tenant(site)
    narrow = await site.client(tenant, "read", "administer")
    admin = await site.person(tenant, "tenant_admin")
    root = await site.person("~platform", "platform_admin")

    answers = [
        await narrow.post("/v1/tokens", json=asked(scopes=["export"])),
        await admin.post("/v1/tokens", json=asked(scopes=["platform"])),
        await root.post("/v1/tokens", json=asked(scopes=["platform"]), params={"tenant": tenant}),
    ]
    reaching = await root.post(
        "/v1/tokens", json=asked(f"all-{tenant}", scopes=["platform", "read"]), params={"tenant": "~platform"}
    )

    assert [answer.status_code for answer in answers] == [403] * 3
    assert reaching.status_code == 201
    client = site.visitor({"Authorization": f"Bearer {reaching.json()['token']}"})
    assert (await client.get("/v1/freshness", params={"tenant": tenant})).status_code == 200
    assert (await client.get("/v1/freshness")).json()["type"] == "urn:sojourn:problem:tenant-missing"


async def test_the_tokens_of_other_tenants_are_as_if_there_were_none(site: Console) -> None:
    tenant, other = await new_tenant(site), await new_tenant(site)
    admin, theirs = [await site.person(one, "tenant_admin") for one in (tenant, other)]
    token_id = (await theirs.post("/v1/tokens", json=asked())).json()["token_id"]

    revoked = await admin.post(f"/v1/tokens/{token_id}/revoke")
    unknown = await admin.post("/v1/tokens/0000000000000000/revoke")
    same_name = await admin.post("/v1/tokens", json=asked())

    assert (revoked.status_code, revoked.content) == (404, unknown.content)
    assert (await theirs.get("/v1/tokens")).json()["tokens"][0]["revoked_at"] is None
    assert same_name.status_code == 201
    assert (await admin.post("/v1/tokens", json=asked())).status_code == 409


async def test_a_token_beside_a_cookie_is_refused(site: Console) -> None:
    tenant = await new_tenant(site)
    both = await site.person(tenant)
    token = await site.token(tenant)

    answer = await both.get("/v1/freshness", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 400


async def test_the_trail_is_read_a_page_at_a_time_and_narrowed(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin", name=f"Ada-{tenant}")
    for number in range(5):
        await admin.post("/v1/tokens", json=asked(f"t-{number}"))
    await admin.post("/v1/tokens", json=asked("t-0"))
    auditor = await site.person(tenant, "auditor")

    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await auditor.get("/v1/admin-actions", params={"limit": 4, **cursor})).json()
        pages.append([act["subject"].partition(":")[0] for act in page["admin_actions"]])
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    refused = (await auditor.get("/v1/admin-actions", params={"limit": 1})).json()["admin_actions"][0]
    none = await auditor.get("/v1/admin-actions", params={"actor": "nobody"})
    by_name = await auditor.get("/v1/admin-actions", params={"actor": f"ada-{tenant}", "action": "token.add"})
    late = await auditor.get("/v1/admin-actions", params={"from": good_for(minutes=1)})
    wrong = await auditor.get("/v1/admin-actions", params={"actor": "x", **cursor})

    assert pages == [["t-0", "t-4", "t-3", "t-2"], ["t-1", "t-0"]]
    assert (refused["outcome"], refused["actor"], refused["origin"]) == ("refused", f"Ada-{tenant}", "127.0.0.1")
    assert none.json()["admin_actions"] == late.json()["admin_actions"] == []
    assert len(by_name.json()["admin_actions"]) == 6
    assert wrong.json()["type"] == "urn:sojourn:problem:bad-cursor"


async def test_the_trail_of_another_tenant_is_not_shown(site: Console) -> None:
    tenant, other = await new_tenant(site), await new_tenant(site)
    theirs = await site.person(other, "tenant_admin")
    await theirs.post("/v1/tokens", json=asked())
    auditor = await site.person(tenant, "auditor")

    assert (await auditor.get("/v1/admin-actions")).json()["admin_actions"] == []
    assert (await auditor.get("/v1/admin-actions", params={"tenant": other})).status_code == 404
    assert (await auditor.get(f"/t/{other}/audit")).status_code == 404


@pytest.mark.parametrize("role", ["sojourn_console", "sojourn_gatekeeper", "sojourn_reader", "sojourn_projector"])
@pytest.mark.parametrize(
    "statement", ["UPDATE sojourn.admin_action SET result = 'done'", "DELETE FROM sojourn.admin_action"]
)
async def test_nobody_who_serves_can_change_what_stands_in_the_trail(site: Console, role: str, statement: str) -> None:
    async with site.rows() as connection, connection.transaction(force_rollback=True):
        await connection.execute(f"SET LOCAL ROLE {role}".encode())

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_the_page_of_users_adds_somebody_and_shows_the_password_once(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin")
    form = {"name": f"bob-{tenant}", "display_name": "Bob <b>", "role": ["viewer", "analyst"]}

    added = await admin.post(f"/t/{tenant}/users", data=form)
    again = await admin.post(f"/t/{tenant}/users", data=form)
    later = await admin.get(f"/t/{tenant}/users")

    assert added.status_code == 200
    shown = re.search(r'<code class="secret">([^<]+)</code>', added.text)
    assert shown is not None
    assert await signed_in(site, f"bob-{tenant}", shown[1]) == 303
    assert shown[1] not in later.text
    assert "Bob &lt;b&gt;" in later.text
    assert again.status_code == 400
    assert "the name is taken" in again.text
    (found,) = await site.execute("SELECT roles FROM sojourn.account WHERE name = %s", [f"bob-{tenant}"])
    assert found == (["viewer", "analyst"],)


async def test_the_page_of_users_changes_roles_disables_and_lets_in_again(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin", name=f"admin-{tenant}")
    await site.person(tenant, name=f"bob-{tenant}")
    query = "SELECT account_id, roles, disabled_at IS NOT NULL FROM sojourn.account WHERE name = %s"
    ((bob, _, _),) = await site.execute(query, [f"bob-{tenant}"])
    seen = []

    for act, form in (("roles", {"role": ["operator"]}), ("disable", {}), ("enable", {}), ("password", {})):
        answer = await admin.post(f"/t/{tenant}/users/{bob}/{act}", data=form)
        seen.append((answer.status_code, *(await site.execute(query, [f"bob-{tenant}"]))[0][1:]))

    assert seen == [(200, ["operator"], False), (200, ["operator"], True), *[(200, ["operator"], False)] * 2]
    assert [act[1] for act in await acts_of(site, tenant)] == [
        "user.set_roles",
        "user.disable",
        "user.enable",
        "user.reset_password",
    ]


async def test_the_pages_of_tokens_and_of_the_trail_show_what_was_done_and_refused(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin")
    form = {"name": "reports", "scope": ["read"], "days": "30"}

    made = await admin.post(f"/t/{tenant}/tokens", data=form)
    again = await admin.post(f"/t/{tenant}/tokens", data=form)
    ((token_id,),) = await site.execute("SELECT token_id FROM sojourn.api_token WHERE tenant = %s", [tenant])
    revoked = await admin.post(f"/t/{tenant}/tokens/{token_id}/revoke")
    trail = await admin.get(f"/t/{tenant}/audit")
    narrowed = await admin.get(f"/t/{tenant}/audit", params={"action": "token.revoke"})
    unreadable = await admin.get(f"/t/{tenant}/audit", params={"from": "yesterday"})

    assert re.search(r'<code class="secret">sja_', made.text)
    assert again.status_code == 400
    assert "revoked" in revoked.text
    assert "token.add" in trail.text
    assert "a token of this name was made before" in trail.text
    assert "token.add" not in narrowed.text.partition("<table")[2]
    assert unreadable.status_code == 400


async def test_the_pages_of_the_platform_are_for_its_people(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin")
    root = await site.person("~platform", "platform_admin")

    for page in ("users", "tokens", "audit"):
        assert (await root.get(f"/t/~platform/{page}")).status_code == 200
        assert (await root.get(f"/t/{tenant}/{page}")).status_code == 200
        assert (await admin.get(f"/t/~platform/{page}")).status_code == 404
