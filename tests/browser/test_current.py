"""Current sessions in a browser: the list lives, and nothing that somebody does there is lost to it."""

import asyncio
import re

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

from tests.browser.conftest import MARKS, NARROW, Site, destroyed, established

pytestmark = MARKS

PAGE = "/t/acme/sessions"
OPEN = re.compile(r"\bopen\b")


def row(session_id: str) -> str:
    """Return the selector of a session's row."""
    return f'#live tr[data-session="{session_id}"]'


async def test_who_connects_appears_by_itself_is_marked_and_leaves_again(site: Site) -> None:
    async with site.page("viewer") as page:
        await page.goto(PAGE)
        await expect(page.locator("#lively")).to_have_text("live")

        async with page.expect_request(lambda request: request.headers.get("sojourn-unasked") == "yes"):
            await asyncio.gather(  # it is marked for some seconds, in which a busy machine may not yet know of it
                expect(page.locator(row("live-1"))).to_have_class(re.compile("new")),
                site.publish(established("live-1", user="Katherine Johnson")),
            )
        await expect(page.locator(row("live-1"))).to_contain_text("Katherine Johnson")
        await site.publish(destroyed("live-1"))

        await expect(page.locator(row("live-1"))).to_have_count(0)


async def test_durations_of_open_sessions_tick(site: Site) -> None:
    await site.publish(established("tick-1"))
    async with site.page("viewer") as page:
        await page.goto(f"{PAGE}?search=u-tick-1")
        duration = page.locator(".tick[data-since]")
        before = await duration.text_content() or ""

        await expect(duration).not_to_have_text(before)


async def test_while_rows_are_selected_changes_wait_and_the_selection_outlives_them(site: Site) -> None:
    await site.publish(established("held-1"))
    async with site.page("operator") as page:
        await page.goto(PAGE)
        await page.check(f"{row('held-1')} input[name=session]")
        await expect(page.locator("#picked-count")).to_have_text("1 selected")

        await site.publish(established("held-2"))
        await expect(page.locator("#behind")).to_contain_text(re.compile(r"changes? · show"))
        assert await page.locator(row("held-2")).count() == 0
        await page.click("#show")

        await expect(page.locator(row("held-2"))).to_be_visible()
        assert await page.is_checked(f"{row('held-1')} input[name=session]")


async def test_while_the_list_is_paused_changes_wait(site: Site) -> None:
    async with site.page("viewer") as page:
        await page.goto(PAGE)
        await expect(page.locator("#lively")).to_have_text("live")
        await page.click("#pause")

        await site.publish(established("paused-1"))
        await expect(page.locator("#behind")).to_be_visible()
        assert await page.locator(row("paused-1")).count() == 0
        await page.click("#pause")

        await expect(page.locator(row("paused-1"))).to_be_visible()


async def test_focus_and_the_open_drawer_outlive_changes_of_the_list(site: Site) -> None:
    await site.publish(established("focus-1"))
    async with site.page("viewer") as page:
        await page.goto(PAGE)
        await page.click(f"{row('focus-1')} .b")
        await expect(page.locator("#drawer")).to_contain_text("Timeline")
        await expect(page.locator(row("focus-1"))).to_have_class(OPEN)
        await page.focus(f"{row('focus-1')} .a a")

        await site.publish(established("focus-2"))
        await expect(page.locator(row("focus-2"))).to_be_visible()

        assert await page.evaluate("document.activeElement.id") == "a-focus-1"
        await expect(page.locator("#drawer")).to_contain_text("Connected")
        await expect(page.locator(row("focus-1"))).to_have_class(OPEN)
        await expect(page.locator("#live tr.open")).to_have_count(1)


async def test_a_drawer_tells_what_happens_to_its_session_meanwhile(site: Site) -> None:
    await site.publish(established("drawn-1"))
    async with site.page("viewer") as page:
        await page.goto(PAGE)
        await page.click(f"{row('drawn-1')} .b")
        await expect(page.locator("#drawer .timeline")).to_contain_text("Connected")

        await site.publish(destroyed("drawn-1"))

        await expect(page.locator("#drawer .timeline")).to_contain_text("Ended")


async def test_the_keyboard_alone_finds_opens_selects_and_asks(site: Site) -> None:
    await site.publish(established("keys-1", user="Zzyzx Keys"))
    async with site.page("operator") as page:
        await page.goto(PAGE)
        await page.keyboard.press("/")
        await page.keyboard.type("zzyzx")
        await page.keyboard.press("Enter")
        await expect(page.locator("#live tbody tr")).to_have_count(1)

        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await expect(page.locator("#drawer")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#drawer")).to_be_hidden()
        assert await page.evaluate("document.activeElement.id") == "a-keys-1"
        await page.keyboard.press("x")
        await expect(page.locator("#picked-count")).to_have_text("1 selected")
        await page.keyboard.press("?")
        await expect(page.locator("dialog[open]")).to_contain_text("next and previous row")
        await page.keyboard.press("Escape")
        await page.click("#disconnect")

        await expect(page.locator("dialog[open]")).to_contain_text("Zzyzx Keys")


async def test_a_disconnect_is_asked_for_and_followed_to_its_end(site: Site) -> None:
    await site.publish(*(established(f"ended-{number}") for number in range(3)))
    async with site.page("operator") as page:
        await page.goto(f"{PAGE}?search=u-ended-")
        await expect(page.locator("#live tbody tr")).to_have_count(3)
        await page.check("#pick-all")
        await page.click("#disconnect")
        await expect(page.locator("dialog[open] .names li")).to_have_count(3)
        await page.click("dialog button[name=send]")  # the browser itself asks for the reason
        await page.fill("#reason", "reclaim before maintenance")
        await page.keyboard.press("Enter")

        await expect(page.locator("#strip li")).to_have_count(3)
        await expect(page.locator("#strip")).to_contain_text("reclaim before maintenance")
        await expect(page.locator("#strip")).to_contain_text(re.compile("confirmed|refused|failed|acknowledged"))


async def test_everything_can_be_read_and_asked_without_scripts(site: Site) -> None:
    await site.publish(established("plain-1", user="Plain Person"))
    async with site.page("operator", scripts=False) as page:
        await page.goto(PAGE)
        await page.fill("#search", "plain person")
        await page.keyboard.press("Enter")
        await page.check("#live input[name=session]")
        await page.click("#disconnect")
        await page.fill("#reason", "without scripts")
        await page.click("button[name=send]")

        await expect(page.locator("#strip li")).to_contain_text("Plain Person")
        await page.click("#live .a a")
        await expect(page.locator("main")).to_contain_text("Timeline")


async def test_a_phone_shows_two_lines_of_three_facts_and_scrolls_nothing_sideways(site: Site) -> None:
    await site.publish(established("phone-1", user="Maximiliana Constantinopolitanska-Wolfeschlegelsteinhausen"))
    async with site.page("operator", size=NARROW) as page:
        await page.goto(PAGE)
        await expect(page.locator(row("phone-1"))).to_be_visible()

        assert await page.evaluate("document.documentElement.scrollWidth") == NARROW[0]
        assert await page.locator(f"{row('phone-1')} td:visible:not(.pick)").count() == 3
        await page.click("label.fold")
        await expect(page.locator("select[name=state]")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "dark"),
    [
        ("en-GB", False),
        ("zh-CN", True),
        pytest.param("en-GB", True, marks=pytest.mark.slow),
        pytest.param("zh-CN", False, marks=pytest.mark.slow),
    ],
)
async def test_axe_finds_nothing_in_the_list_the_drawer_and_the_dialogue(
    site: Site,
    locale: str,
    dark: bool,  # noqa: FBT001 - pytest gives it
) -> None:
    async with site.page("operator", "analyst", dark=dark, locale=locale) as page:
        await page.goto(PAGE)
        await _judge(page)
        await page.click("#live tbody tr .b")
        await expect(page.locator("#drawer")).to_be_visible()
        await _judge(page)
        await page.keyboard.press("Escape")
        await page.check("#live tbody tr:first-child input[name=session]")
        await page.click("#disconnect")
        await expect(page.locator("dialog[open]")).to_be_visible()
        await _judge(page)


async def _judge(page: Page) -> None:
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
