"""The pictures in docs/screens: what people will look at, made by the full profile of the tests."""

import asyncio
import re
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.conftest import MARKS, NARROW, WIDE, Site
from tests.browser.demo import progress
from tests.integration.command import POLL_SECONDS, WAIT_SECONDS_MAX
from tests.unit.tree import ROOT

pytestmark = [*MARKS, pytest.mark.slow]

SCREENS: Final = ROOT / "docs" / "screens"
PAGES: Final = {  # by name of the file: path, size, dark, language
    "sessions": ("sessions", WIDE, False, "en"),
    "sessions-dark": ("sessions", WIDE, True, "en"),
    "sessions-phone": ("sessions", NARROW, True, "en"),
    "sessions-chinese": ("sessions", WIDE, False, "zh"),
    "history": ("history?range=7d", WIDE, False, "en"),
    "history-phone": ("history?range=7d", NARROW, False, "en"),
    "statistics": ("statistics?range=7d", WIDE, False, "en"),
    "work-hours": ("statistics/work-hours?range=7d", WIDE, False, "en"),
    "exports": ("exports", WIDE, False, "en"),
    "audit": ("audit", WIDE, False, "en"),
    "users": ("users", WIDE, False, "en"),
    "tokens": ("tokens", WIDE, False, "en"),
    "help": ("help", WIDE, False, "en"),
}
PEOPLE: Final = [
    "ada",
    "emmy",
    "hedy",
    "joan",
    "lise",
    "maria",
    "radia",
    "sophie",
    "vera",
    "annie",
    "dorothy",
    "frances",
    "rosalind",
]
BUSIEST: Final = """
    SELECT tenant FROM sojourn_v1.live_session WHERE tenant <> 'acme' GROUP BY tenant ORDER BY count(*) DESC LIMIT 1
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tenant(site: Site) -> str:
    """Return a tenant that other tests leave alone, in which somebody did something."""
    await progress(site)
    [(found,)] = await site.console.execute(BUSIEST)
    client, path = await site.console.person(found, "tenant_admin", name="mary"), f"/t/{found}"
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while 'id="complete-to"' not in (await client.get(f"{path}/sessions")).text:  # noqa: ASYNC110 - a page
            await asyncio.sleep(POLL_SECONDS)
    sessions = re.findall(r'name="session" id="[^"]+" value="([^"]+)"', (await client.get(f"{path}/sessions")).text)
    for where, data in (
        ("disconnect", {"session": sessions[:3], "reason": "maintenance tonight", "send": "yes"}),
        ("exports", {"dataset": "history", "format": "csv", "range": "7d"}),
        ("tokens", {"name": "reporting", "scope": "read", "days": "90"}),
        ("users", {"name": "grace", "display_name": "Grace", "role": ["operator", "analyst"]}),
    ):
        assert not (await client.post(f"{path}/{where}", data=data)).is_error
    return str(found)


@pytest.mark.parametrize("name", PAGES)
async def test_every_page_has_its_picture_in_the_documentation(site: Site, tenant: str, name: str) -> None:
    path, size, is_dark, locale = PAGES[name]
    person = PEOPLE[list(PAGES).index(name)]
    async with site.page("tenant_admin", tenant=tenant, size=size, dark=is_dark, locale=locale, name=person) as page:
        await page.goto(f"/t/{tenant}/{path}")
        if path == "exports":
            await expect(page.get_by_role("link", name="Download")).to_be_visible()
        await expect(page.locator("[data-chart][aria-busy]")).to_have_count(0)
        await page.screenshot(path=SCREENS / f"{name}.png")


async def test_the_page_to_sign_in_on_has_its_picture(site: Site) -> None:
    async with site.page() as page:
        await page.goto("/sign-in")
        await page.screenshot(path=SCREENS / "sign-in.png")


async def test_a_session_and_a_disconnect_have_their_pictures(site: Site, tenant: str) -> None:
    async with site.page("tenant_admin", tenant=tenant, name="barbara") as page:
        await page.goto(f"/t/{tenant}/sessions")
        await page.locator("tbody tr a").first.click()
        await expect(page.locator("#drawer")).to_be_visible()
        await page.screenshot(path=SCREENS / "session.png")
        await page.keyboard.press("Escape")
        await page.click("#pause")
        for place in (0, 1, 2):
            await page.locator("tbody input[type=checkbox]").nth(place).check()
        await page.get_by_role("button", name="Disconnect").first.click()
        await expect(page.get_by_label("Reason")).to_be_visible()
        await page.screenshot(path=SCREENS / "disconnect.png")
