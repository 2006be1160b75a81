"""More than five sessions: the password again, the number typed, and what was chosen is still chosen."""

import re
import uuid
from typing import Final

from playwright.async_api import Page, expect

from tests.browser.conftest import MARKS, Site, established
from tests.integration.site_steps import PASSWORD

pytestmark = MARKS

MANY: Final = 6
DUE: Final = """
    UPDATE sojourn.sign_in SET confirmed_at = now() - interval '11 minutes'
    WHERE account_id IN (SELECT account_id FROM sojourn.account WHERE name = %s)
"""


async def choose(page: Page, site: Site, prefix: str, count: int) -> None:
    """Let there be sessions, and select them."""
    await site.publish(
        *(established(f"{prefix}-{number}", user=f"{prefix.title()} {number}") for number in range(count))
    )
    await page.goto(f"/t/acme/sessions?search=u-{prefix}-")
    await expect(page.locator("#live tbody tr")).to_have_count(count)
    await page.check("#pick-all")
    await expect(page.locator("#picked-count")).to_have_text(f"{count} selected")


async def test_who_ends_many_types_the_password_again_and_their_number(site: Site) -> None:
    name = f"mary-{uuid.uuid4().hex[:6]}"
    async with site.page("operator", name=name, problems=True) as page:  # which leads to the password
        await choose(page, site, "many", MANY)
        await site.console.execute(DUE, [name])
        await page.click("#disconnect")
        await expect(page.get_by_role("heading", name="Type your password again")).to_be_visible()
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.locator("#picked-count")).to_have_text(f"{MANY} selected")
        await page.click("#disconnect")

        dialogue = page.get_by_role("dialog")
        await expect(dialogue.locator(".names li")).to_have_count(MANY)
        await page.keyboard.type("the licence is needed")
        await dialogue.get_by_label(f"Type {MANY} to confirm").fill("5")
        await dialogue.get_by_role("button", name="Disconnect", exact=True).click()
        await expect(dialogue.locator("#typed")).to_be_focused()  # the browser itself says what it wants
        await dialogue.locator("#typed").fill(str(MANY))
        await dialogue.get_by_role("button", name="Disconnect", exact=True).click()

        strip = page.locator("#strip")
        await expect(strip.locator("li")).to_have_count(MANY)
        await expect(strip).to_contain_text(re.compile(f"{MANY} failed"))  # the demo's broker knows none of them


async def test_without_scripts_a_wrong_number_ends_nobody_and_says_what_to_type(site: Site) -> None:
    async with site.page("operator", scripts=False, problems=True) as page:
        await site.publish(*(established(f"typed-{number}") for number in range(MANY)))
        await page.goto("/t/acme/sessions?search=u-typed-")
        for box in await page.locator("#live input[name=session]").all():
            await box.check()
        await page.click("#disconnect")
        await page.fill("#reason", "a slip")
        await page.evaluate("document.getElementById('typed').removeAttribute('pattern')")
        await page.fill("#typed", "7")
        await page.click("button[name=send]")

        await expect(page.get_by_role("alert")).to_contain_text(f"Type {MANY}, the number of sessions")
        await expect(page.locator("#reason")).to_have_value("a slip")
        await page.get_by_role("link", name="Cancel").click()
        await expect(page.locator("#live tbody tr")).to_have_count(MANY)


async def test_one_person_is_named_with_the_desktop_and_a_change_of_mind_ends_nobody(site: Site) -> None:
    async with site.page("operator") as page:
        await choose(page, site, "once", 1)
        await page.click("#disconnect")
        dialogue = page.get_by_role("dialog")

        await expect(dialogue).to_contain_text("This person will be cut off")
        await expect(dialogue.locator(".names li")).to_have_text("Once 0CAD-204")
        await dialogue.get_by_role("link", name="Cancel").click()
        await expect(dialogue).to_have_count(0)
        await expect(page.locator("#picked-count")).to_have_text("1 selected")
        await expect(page.locator("#strip")).to_be_hidden()
