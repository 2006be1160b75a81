"""The pictures in docs/screens: what people will look at, made by the full profile of the tests."""

from typing import Final

import pytest
from playwright.async_api import expect

from tests.browser.conftest import MARKS, NARROW, WIDE, Site
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


@pytest.mark.parametrize("name", PAGES)
async def test_every_page_has_its_picture_in_the_documentation(site: Site, name: str) -> None:
    path, size, is_dark, locale = PAGES[name]
    async with site.page("tenant_admin", size=size, dark=is_dark, locale=locale) as page:
        await page.goto(f"/t/acme/{path}")
        await expect(page.locator("[data-chart][aria-busy]")).to_have_count(0)
        await page.screenshot(path=SCREENS / f"{name}.png")


async def test_the_page_to_sign_in_on_has_its_picture(site: Site) -> None:
    async with site.page() as page:
        await page.goto("/sign-in")
        await page.screenshot(path=SCREENS / "sign-in.png")


async def test_a_session_and_a_disconnect_have_their_pictures(site: Site) -> None:
    async with site.page("tenant_admin") as page:
        await page.goto("/t/acme/sessions")
        await page.locator("tbody tr a").first.click()
        await expect(page.locator("#drawer")).to_be_visible()
        await page.screenshot(path=SCREENS / "session.png")
        await page.keyboard.press("Escape")
        for place in (1, 2, 3):
            await page.locator("tbody input[type=checkbox]").nth(place).check()
        await page.get_by_role("button", name="Disconnect").first.click()
        await expect(page.get_by_label("Reason")).to_be_visible()
        await page.screenshot(path=SCREENS / "disconnect.png")
