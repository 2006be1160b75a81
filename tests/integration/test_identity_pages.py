"""Forms about people and tokens as no page sends them: nothing is done that was not asked for."""

import pytest

from tests.integration.identity_steps import acts_of, new_tenant, site
from tests.integration.site_steps import PASSWORD_HASH, Console

__all__ = ["site"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "nobodys-tenant"


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("users", {"name": "lost-1", "role": "viewer"}),
        ("users/00000000-0000-4000-8000-000000000000/disable", {}),
        ("tokens", {"name": "lost-2", "scope": "read", "days": "7"}),
        ("tokens/0123456789abcdef/revoke", {}),
    ],
)
async def test_nobody_and_no_act_comes_to_be_in_a_tenant_that_does_not_exist(
    site: Console, path: str, form: dict[str, str]
) -> None:
    root = await site.person("~platform", "platform_admin")

    answer = await root.post(f"/t/{NOBODY}/{path}", data=form)

    assert answer.status_code == 404
    assert await acts_of(site, NOBODY) == []
    assert await site.execute("SELECT FROM sojourn.account WHERE tenant = %s", [NOBODY]) == []
    assert await site.execute("SELECT FROM sojourn.api_token WHERE tenant = %s", [NOBODY]) == []


async def test_what_is_to_be_done_with_somebody_is_one_of_what_the_page_offers(site: Console) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin")
    ((account_id,),) = await site.execute("SELECT account_id FROM sojourn.account WHERE tenant = %s", [tenant])

    answer = await admin.post(f"/t/{tenant}/users/{account_id}/delete")

    assert answer.status_code == 404
    kept = await site.execute("SELECT password_hash FROM sojourn.account WHERE tenant = %s", [tenant])
    assert kept == [(PASSWORD_HASH,)]


@pytest.mark.parametrize("days", ["", "0", "-7", "366", "7.0"])
async def test_a_token_is_good_for_as_long_as_the_page_offers_and_for_no_longer_by_mistake(
    site: Console, days: str
) -> None:
    tenant = await new_tenant(site)
    admin = await site.person(tenant, "tenant_admin")

    answer = await admin.post(f"/t/{tenant}/tokens", data={"name": "reports", "scope": "read", "days": days})

    assert answer.status_code == 400
    assert await site.execute("SELECT FROM sojourn.api_token WHERE tenant = %s", [tenant]) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "history?user=a%00b"),
        ("GET", "audit?actor=%00"),
        ("GET", "sessions/%00"),
        ("GET", "%00"),
        ("POST", "disconnect"),
        ("POST", "tokens/%00/revoke"),
        ("POST", "views"),
    ],
)
async def test_a_nul_in_a_path_a_query_or_a_form_is_the_senders_mistake(site: Console, method: str, path: str) -> None:
    tenant = await new_tenant(site)
    person = await site.person(tenant, "tenant_admin")

    answer = await person.request(method, f"/t/{tenant}/{path}", data={"session": "a\0", "name": "\0", "page": "x"})

    assert answer.status_code in {400, 404}, answer.text


async def test_somebody_of_the_platform_who_types_a_nul_for_a_tenant_is_told_that_there_is_none(site: Console) -> None:
    root = await site.person("~platform", "platform_admin")

    answers = [await root.get(path) for path in ("/t/%00/users", "/v1/freshness?tenant=%00")]

    assert all(answer.status_code in {400, 404} for answer in answers)
