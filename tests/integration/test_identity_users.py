"""Users and their roles over the API: who may give what to whom, and what stands in the trail."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sojourn.console.site.site import Site
from tests.integration.identity_steps import acts_of, new_tenant, signed_in, site
from tests.integration.site_steps import Console

__all__ = ["site"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def administrator(site: Console, tenant: str, *roles: Any) -> httpx.AsyncClient:
    return await site.person(tenant, *(roles or ("tenant_admin",)), name=f"admin-of-{tenant}")


async def add(client: httpx.AsyncClient, name: str, *roles: str, **query: str) -> httpx.Response:
    return await client.post("/v1/users", json={"name": name, "roles": list(roles or ("viewer",))}, params=query)


async def account_id(site: Console, name: str) -> str:
    rows = await site.execute("SELECT account_id FROM sojourn.account WHERE lower(name) = lower(%s)", [name])
    return str(rows[0][0])


async def test_who_is_added_signs_in_with_the_password_that_is_told_once(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await administrator(site, tenant)

    made = await add(admin, f"ada@{tenant}", "viewer", "operator")

    assert made.status_code == 201, made.text
    told = made.json()
    assert told["roles"] == ["viewer", "operator"]
    assert (told["tenant"], told["created_by"]) == (tenant, f"admin-of-{tenant}")
    assert await signed_in(site, f"ADA@{tenant}", told["password"]) == 303
    listed = await admin.get("/v1/users")
    assert told["password"] not in listed.text
    assert "argon2" not in listed.text
    assert [user["name"] for user in listed.json()["users"]] == [f"ada@{tenant}", f"admin-of-{tenant}"]


async def test_a_name_is_taken_in_every_case_and_by_every_tenant(site: Console) -> None:
    tenant, other = await new_tenant(site), await new_tenant(site)
    await add(await administrator(site, other), f"taken-{tenant}")
    admin = await administrator(site, tenant)

    answer = await add(admin, f"TAKEN-{tenant}")

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:sojourn:problem:name-taken")
    assert (await acts_of(site, tenant))[-1][1:] == (
        "user.add",
        f"TAKEN-{tenant}: viewer",
        "refused: the name is taken, and nobody shares one",
    )


@pytest.mark.parametrize(
    ("body", "said", "status"),
    [
        ({"name": "a b", "roles": ["viewer"]}, "letters, digits", 400),
        ({"name": "x" * 101, "roles": ["viewer"]}, "at most 100", 400),
        ({"name": "ok", "roles": []}, "without any role", 400),
        ({"name": "ok", "roles": ["king"]}, "roles", 400),
        ({"name": "ok", "roles": ["platform_admin"]}, "no tenant", 409),
        ({"name": "ok", "roles": ["viewer"], "display_name": "a\nb"}, "control characters", 400),
        ({"name": "ok", "roles": ["viewer"], "is_admin": True}, "is_admin", 400),
        ({"name": "ok"}, "roles", 400),
    ],
)
async def test_what_can_be_no_user_is_refused_and_makes_none(
    site: Console, body: dict[str, Any], said: str, status: int
) -> None:
    tenant = await new_tenant(site)
    admin = await administrator(site, tenant)

    answer = await admin.post("/v1/users", json=body)

    assert answer.status_code == status
    assert said in answer.text
    assert len((await admin.get("/v1/users")).json()["users"]) == 1


async def test_nobody_gives_or_takes_a_role_that_allows_more_than_their_own(site: Console) -> None:
    tenant = await new_tenant(site)
    await administrator(site, tenant)
    token = await site.client(tenant, "administer", "read")

    viewer = await add(token, f"viewer-{tenant}", "viewer")
    operator = await add(token, f"operator-{tenant}", "operator")
    reset = await token.post(f"/v1/users/{await account_id(site, f'admin-of-{tenant}')}/password")
    demoted = await token.patch(f"/v1/users/{await account_id(site, f'admin-of-{tenant}')}", json={"roles": ["viewer"]})

    assert viewer.status_code == 201
    assert [operator.status_code, reset.status_code, demoted.status_code] == [403] * 3
    assert operator.json()["type"] == "urn:sojourn:problem:beyond-own"
    results = [act[3] for act in await acts_of(site, tenant)]
    assert results == ["done", *["refused: nobody gives or takes a role that allows more than their own"] * 3]


async def test_the_accounts_of_other_tenants_and_of_the_platform_are_as_if_there_were_none(site: Console) -> None:
    tenant, other = await new_tenant(site), await new_tenant(site)
    admin = await administrator(site, tenant)
    await add(await administrator(site, other), f"bob-{other}")
    await site.person("~platform", "platform_admin", name=f"root-{tenant}")

    for target in (await account_id(site, f"bob-{other}"), await account_id(site, f"root-{tenant}")):
        for act in ("disable", "enable", "password"):
            theirs = await admin.post(f"/v1/users/{target}/{act}")
            unknown = await admin.post(f"/v1/users/{uuid.uuid4()}/{act}")
            assert (theirs.status_code, theirs.content) == (404, unknown.content)
        roles = await admin.patch(f"/v1/users/{target}", json={"roles": ["viewer"]})
        assert roles.status_code == 404
    assert [user["tenant"] for user in (await admin.get("/v1/users")).json()["users"]] == [tenant]
    for named in (other, "~platform", "nobody"):
        refused = await admin.get("/v1/users", params={"tenant": named})
        assert (refused.status_code, refused.json()["type"]) == (404, "urn:sojourn:problem:no-such-tenant")


async def test_who_is_disabled_is_out_at_once_and_so_are_their_tokens(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await administrator(site, tenant)
    bob = await site.person(tenant, "tenant_admin", name=f"bob-{tenant}")
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = await bob.post("/v1/tokens", json={"name": "t", "scopes": ["read"], "expires_at": until})
    token = site.visitor({"Authorization": f"Bearer {made.json()['token']}"})
    assert (await token.get("/v1/freshness")).status_code == 200

    disabled = await admin.post(f"/v1/users/{await account_id(site, f'bob-{tenant}')}/disable")

    assert disabled.json()["disabled_at"] is not None
    assert (await bob.get("/v1/freshness")).status_code == 401
    assert (await token.get("/v1/freshness")).status_code == 401
    assert await signed_in(site, f"bob-{tenant}") == 401
    await admin.post(f"/v1/users/{await account_id(site, f'bob-{tenant}')}/enable")
    assert await signed_in(site, f"bob-{tenant}") == 303
    assert (await bob.get("/v1/freshness")).status_code == 401  # what ended stays ended
    assert (await token.get("/v1/freshness")).status_code == 200


async def test_roles_that_are_changed_hold_from_the_next_request_on_for_people_and_their_tokens(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await administrator(site, tenant)
    bob = await site.person(tenant, "tenant_admin", name=f"bob-{tenant}")
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    scopes = ["read", "administer"]
    made = await bob.post("/v1/tokens", json={"name": "t", "scopes": scopes, "expires_at": until})
    token = site.visitor({"Authorization": f"Bearer {made.json()['token']}"})
    assert (await token.get("/v1/users")).status_code == 200

    await admin.patch(f"/v1/users/{await account_id(site, f'bob-{tenant}')}", json={"roles": ["viewer"]})

    assert [(await one.get("/v1/users")).status_code for one in (bob, token)] == [403, 403]
    assert [(await one.get("/v1/freshness")).status_code for one in (bob, token)] == [200, 200]


async def test_a_new_password_ends_what_was_before(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await administrator(site, tenant)
    bob = await site.person(tenant, name=f"bob-{tenant}")

    told = (await admin.post(f"/v1/users/{await account_id(site, f'bob-{tenant}')}/password")).json()["password"]

    assert (await bob.get("/v1/freshness")).status_code == 401
    assert await signed_in(site, f"bob-{tenant}") == 401
    assert await signed_in(site, f"bob-{tenant}", told) == 303


async def test_the_last_administrator_cannot_lock_themselves_out(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await administrator(site, tenant)
    own = await account_id(site, f"admin-of-{tenant}")

    disabled = await admin.post(f"/v1/users/{own}/disable")
    demoted = await admin.patch(f"/v1/users/{own}", json={"roles": ["viewer"]})
    await add(admin, f"second-{tenant}", "tenant_admin")
    then = await admin.patch(f"/v1/users/{own}", json={"roles": ["viewer"]})

    assert [disabled.status_code, demoted.status_code, then.status_code] == [409, 409, 200]
    assert disabled.json()["type"] == "urn:sojourn:problem:last-administrator"


async def test_two_administrators_who_disable_each_other_at_once_leave_one(site: Console) -> None:
    for _ in range(5):
        tenant = await new_tenant(site)
        clients = [await site.person(tenant, "tenant_admin", name=f"{one}-{tenant}") for one in ("a", "b")]
        targets = [await account_id(site, f"{one}-{tenant}") for one in ("b", "a")]

        await asyncio.gather(
            *(c.post(f"/v1/users/{t}/disable") for c, t in zip(clients, targets, strict=True)),
        )

        query = "SELECT count(*) FROM sojourn.account WHERE tenant = %s AND disabled_at IS NULL"
        assert await site.execute(query, [tenant]) == [(1,)]


async def test_what_gives_access_needs_a_fresh_password_of_people_and_none_of_tokens(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await new_tenant(site)
    admin = await administrator(site, tenant)
    token = await site.client(tenant)
    at = datetime.now(UTC) + timedelta(minutes=11)
    monkeypatch.setattr(Site, "now", lambda _: at)
    until = (at + timedelta(days=1)).isoformat()
    own = await account_id(site, f"admin-of-{tenant}")
    asked = {
        "/v1/users": {"name": f"x-{tenant}", "roles": ["viewer"]},
        f"/v1/users/{own}/enable": None,
        "/v1/tokens": {"name": "t", "scopes": ["read"], "expires_at": until},
        f"/v1/users/{own}/password": None,
    }

    form = f"/t/{tenant}/users"
    page = await admin.post(form, data={"name": "x"}, headers={"Referer": site.url + form})
    for path, body in asked.items():
        answer = await admin.post(path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:sojourn:problem:confirm-password"), path
        assert (await token.post(path, json=body)).status_code in {200, 201}, path
    assert (page.status_code, page.headers["location"]) == (303, f"/confirm?next=%2Ft%2F{tenant}%2Fusers")


async def test_who_may_not_administer_is_refused_and_that_is_written_down(site: Console) -> None:
    tenant = await new_tenant(site)
    viewer = await site.person(tenant, "operator", "analyst", "auditor", name=f"v-{tenant}")

    answers = [await viewer.get("/v1/users"), await add(viewer, f"x-{tenant}"), await viewer.get(f"/t/{tenant}/users")]

    assert [answer.status_code for answer in answers] == [403] * 3
    assert await acts_of(site, tenant) == [
        (f"v-{tenant}", "POST /v1/users", "/v1/users", "refused: needs the permission administer"),
    ]


async def test_somebody_of_the_platform_looks_after_every_tenant_that_there_is(site: Console) -> None:
    tenant = await new_tenant(site)
    root = await site.person("~platform", "platform_admin", name=f"root-{tenant}")

    unnamed = await root.get("/v1/users")
    unknown = await root.get("/v1/users", params={"tenant": "nobody"})
    made = await add(root, f"ada-{tenant}", "tenant_admin", tenant=tenant)
    peer = await add(root, f"peer-{tenant}", "platform_admin", tenant="~platform")

    assert (unnamed.status_code, unknown.status_code) == (400, 404)
    assert (made.status_code, made.json()["tenant"]) == (201, tenant)
    assert peer.status_code == 201
    assert await acts_of(site, tenant) == [(f"root-{tenant}", "user.add", f"ada-{tenant}: tenant_admin", "done")]
    assert (await root.get("/t/nobody/users")).status_code == 404


async def test_nothing_is_changed_when_it_cannot_be_written_down(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await administrator(site, tenant)
    bob = await site.person(tenant, name=f"bob-{tenant}")
    await site.execute(f"ALTER TABLE sojourn.admin_action ADD CONSTRAINT broken CHECK (tenant <> '{tenant}')")

    try:
        answer = await admin.post(f"/v1/users/{await account_id(site, f'bob-{tenant}')}/disable")
    finally:
        await site.execute("ALTER TABLE sojourn.admin_action DROP CONSTRAINT broken")

    assert answer.status_code == 500
    assert (await bob.get("/v1/freshness")).status_code == 200
