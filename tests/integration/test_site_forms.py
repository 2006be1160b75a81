"""Forms that were opened before something changed, or were tampered with; and where the console listens at all."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from sojourn.console.health import listen
from tests.integration.command import free_port
from tests.integration.identity_steps import acts_of, new_tenant, site
from tests.integration.rows import insert_live
from tests.integration.site_steps import Console

__all__ = ["site"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What each page of a tenant sends, filled in.
FORMS: Final[dict[str, dict[str, Any]]] = {
    "disconnect": {"session": "s-1", "reason": "reclaim", "key": "k", "send": "yes"},
    "exports": {"dataset": "history", "format": "csv"},
    "exports/schedules": {"name": "daily", "every": "day", "time_of_day": "01:00", "format": "csv"},
    "tokens": {"name": "mine", "scope": "read", "days": "7"},
    "users": {"name": "friend", "role": "viewer"},
    "views": {"page": "sessions", "name": "mine", "query": "state=active"},
}
DONE: Final = """
    SELECT (SELECT count(*) FROM sojourn.outbox) + (SELECT count(*) FROM sojourn.export_job)
        + (SELECT count(*) FROM sojourn.export_schedule) + (SELECT count(*) FROM sojourn.api_token)
        + (SELECT count(*) FROM sojourn.saved_view) + (SELECT count(*) FROM sojourn.account WHERE name = 'friend')
"""
LOST: Final = "UPDATE sojourn.account SET roles = '{}' WHERE tenant = %s"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (LOST, 403),
        ("UPDATE sojourn.account SET disabled_at = now() WHERE tenant = %s", 401),
        ("UPDATE sojourn.sign_in SET ended_at = now() WHERE tenant = %s", 401),
        ("UPDATE sojourn.sign_in SET last_seen_at = now() - interval '31 minutes' WHERE tenant = %s", 401),
    ],
)
async def test_a_form_that_lies_open_does_nothing_when_who_opened_it_may_no_longer(
    site: Console, change: str, status: int
) -> None:
    tenant = await new_tenant(site)
    async with site.rows() as connection:
        await insert_live(connection, tenant, "s-1")
    person = await site.person(tenant, "tenant_admin")
    await site.execute(change, [tenant])
    before = await site.execute(DONE)

    answers = [await person.post(f"/t/{tenant}/{path}", data=form) for path, form in FORMS.items()]

    assert [answer.status_code for answer in answers] == [status] * len(FORMS)
    assert await site.execute(DONE) == before
    refused = [f"/t/{tenant}/{path}" for path in FORMS] if change == LOST else []
    assert [act[2] for act in await acts_of(site, tenant)] == refused


async def test_a_form_that_is_sent_to_another_tenant_does_nothing_there(site: Console) -> None:
    tenant, other = await new_tenant(site), await new_tenant(site)
    async with site.rows() as connection:
        await insert_live(connection, other, "s-1")
    person = await site.person(tenant, "tenant_admin")
    before = await site.execute(DONE)

    for path, form in FORMS.items():
        for tampered in ({}, {"tenant": other}):
            answer = await person.post(f"/t/{other}/{path}", data={**form, **tampered}, params={"tenant": tenant})
            assert answer.status_code == 404, path

    assert await site.execute(DONE) == before
    assert await acts_of(site, other) == []


async def test_over_the_api_a_person_ends_many_sessions_only_after_showing_again_who_they_are(site: Console) -> None:
    tenant = await new_tenant(site)
    person, token = await site.person(tenant, "operator"), await site.client(tenant, "disconnect")
    long_ago = datetime.now(UTC) - timedelta(minutes=11)
    await site.execute("UPDATE sojourn.sign_in SET confirmed_at = %s WHERE tenant = %s", [long_ago, tenant])

    async def asked(client: Any, count: int) -> int:
        body = {"session_ids": [f"s-{number}" for number in range(count)], "reason": "reclaim"}
        return int((await client.post("/v1/disconnects", json=body)).status_code)

    assert [await asked(person, 5), await asked(person, 6), await asked(token, 6)] == [200, 403, 200]


async def test_what_serves_listens_on_this_machine_only() -> None:
    with listen(free_port()) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
