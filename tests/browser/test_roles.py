"""People of each role: an administrator adds them on the page, and they see what they may do and nothing else."""

import uuid
from collections.abc import Mapping
from typing import Final, NamedTuple

import pytest
from playwright.async_api import Page, expect

from sojourn.console.site.principal import Role
from tests.browser.conftest import MARKS, Site, established
from tests.integration.site_steps import PASSWORD

pytestmark = MARKS

CHOSEN: Final = "three more words of theirs"
FORBIDDEN: Final = 403
LISTS: Final = ["Current sessions", "Historical sessions", "Statistics"]


class May(NamedTuple):
    """What a role shows on its pages."""

    menu: list[str]
    disconnects: bool = False
    exports: bool = False
    looks_after: tuple[str, ...] = ()


ROLES: Final[Mapping[Role, May]] = {
    "viewer": May(LISTS),
    "operator": May(LISTS, disconnects=True),
    "analyst": May([*LISTS, "Exports"], exports=True),
    "auditor": May([*LISTS, "Audit"]),
    "tenant_admin": May([*LISTS, "Exports", "Audit"], disconnects=True, exports=True, looks_after=("Users", "Tokens")),
}
PAGES: Final = ("exports", "audit", "users", "tokens")


async def add(page: Page, name: str, role: Role) -> str:
    """Add somebody on the page of users, and return the password that it shows."""
    await page.fill("#name", name)
    await page.locator("#add-head ~ form").get_by_label("viewer").uncheck()
    await page.locator("#add-head ~ form").get_by_label(role).check()
    await page.get_by_role("button", name="Add, and show a password").click()
    return await page.get_by_role("status").locator("code").inner_text()


async def enter(page: Page, name: str, password: str) -> None:
    """Sign in with a password that was given, and choose another."""
    await page.goto("/")
    await page.fill("#name", name)
    await page.fill("#password", password)
    await page.keyboard.press("Enter")
    await page.fill("#new", CHOSEN)
    await page.fill("#again", CHOSEN)
    await page.fill("#password", password)
    await page.keyboard.press("Enter")


@pytest.mark.parametrize("role", ROLES)
async def test_a_person_of_a_role_sees_what_it_allows_and_nothing_else(site: Site, role: Role) -> None:
    name, may = f"{role}-{uuid.uuid4().hex[:6]}", ROLES[role]
    await site.publish(established(f"role-{role}"))
    async with site.page("tenant_admin") as page:
        await page.goto("/t/acme/users")
        password = await add(page, name, role)
    async with site.page() as page:
        await enter(page, name, password)
        await expect(page.get_by_role("heading", name="Current sessions")).to_be_visible()

        await expect(page.get_by_role("navigation", name="Main").get_by_role("link")).to_have_text(
            may.menu, use_inner_text=True
        )
        await expect(page.locator("#disconnect")).to_have_count(int(may.disconnects))
        await expect(page.locator(".tools summary", has_text="Export")).to_have_count(int(may.exports))
        await page.locator(".who summary").first.click()
        await expect(page.locator(".who details[open] a")).to_have_text(may.looks_after)
        await page.keyboard.press("Escape")
        await page.goto(f"/t/acme/sessions?search=u-role-{role}")
        await page.click("#live tbody .b")
        await expect(page.locator("#drawer")).to_contain_text("Timeline")
        await expect(page.locator("#drawer button")).to_have_count(int(may.disconnects))

        seen = [*may.menu, *may.looks_after]
        for path in PAGES:
            answer = await page.request.get(f"/t/acme/{path}", headers={"Accept": "text/html"})
            assert (answer.status == FORBIDDEN) is (path.title() not in seen), path


async def test_who_may_not_is_told_which_permission_it_needs_and_who_gives_it(site: Site) -> None:
    async with site.page("viewer", problems=True) as page:
        await page.goto("/t/acme/users")

        await expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
        await expect(page.locator("main")).to_contain_text("An administrator of your tenant can change that")
        await page.get_by_role("main").get_by_role("link", name="Current sessions").click()
        await expect(page.get_by_role("heading", name="Current sessions")).to_be_visible()


async def test_an_administrator_of_the_platform_goes_through_all_tenants_and_looks_after_the_platform(
    site: Site,
) -> None:
    async with site.page("platform_admin", tenant="~platform") as page:
        await page.goto("/")
        for tenant in ("acme", "globex"):
            await page.get_by_role("link", name=tenant).click()
            await expect(page.locator(".who summary").first).to_have_text(tenant)
            await expect(page.locator("#disconnect")).to_be_visible()
            await page.locator(".who summary").first.click()
            await page.get_by_role("link", name="All tenants").click()
        await page.locator("[data-help]").click()
        await expect(page.get_by_role("dialog")).to_contain_text("next and previous row")
        await page.keyboard.press("Escape")
        await page.get_by_role("link", name="Users of the platform").click()
        await expect(page.locator("tbody", has_text="platform_admin").first).to_be_visible()


async def test_who_is_disabled_is_out_and_in_again_when_enabled(site: Site) -> None:
    name = f"grace-{uuid.uuid4().hex[:6]}"
    async with site.page("tenant_admin") as admin, site.page("viewer", name=name, problems=True) as page:
        await page.goto("/t/acme/history")
        await admin.goto("/t/acme/users")
        row = admin.locator("tbody tr", has_text=name)
        await row.locator("summary").click()
        await row.get_by_role("button", name="Disable").click()
        await expect(row).to_contain_text("disabled")

        await page.get_by_role("link", name="Statistics", exact=True).click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await row.locator("summary").click()
        await row.get_by_role("button", name="Enable").click()
        await expect(row).not_to_contain_text("disabled")
        await page.fill("#name", name)
        await page.fill("#password", PASSWORD)
        await page.keyboard.press("Enter")

        await expect(page.get_by_role("heading", name="Statistics")).to_be_visible()


async def test_a_sign_in_that_is_over_leads_back_to_where_one_was(site: Site) -> None:
    name = f"lise-{uuid.uuid4().hex[:6]}"
    async with site.page("viewer", name=name, problems=True) as page:  # of what the page asks for meanwhile
        await page.goto("/t/acme/history?range=30d")
        await site.console.execute(
            "DELETE FROM sojourn.sign_in WHERE account_id IN (SELECT account_id FROM sojourn.account WHERE name = %s)",
            [name],
        )
        await page.get_by_role("link", name="Statistics of these").click()
        await page.fill("#name", name)
        await page.fill("#password", PASSWORD)
        await page.keyboard.press("Enter")

        await expect(page.get_by_role("heading", name="Statistics")).to_be_visible()
        await expect(page.locator("#range")).to_have_value("30d")
