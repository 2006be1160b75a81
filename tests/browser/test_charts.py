"""History and statistics in a browser: pictures under a strict policy, the drawer, ranges, and without scripts."""

import re

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

from sojourn.console.pages.charts import TOPICS
from sojourn.console.pages.history import PICTURES
from tests.browser.conftest import MARKS, NARROW, Site, destroyed, established

pytestmark = [*MARKS, pytest.mark.slow]

HISTORY = "/t/acme/history"
STATISTICS = "/t/acme/statistics"
OURS = "search=Lovelace"  # the demonstration has sessions of others


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def lived(site: Site) -> None:
    """Let three sessions have been, two of them until now, and one be open."""
    for number, terminal in enumerate(("thin_client", "browser", "browser"), start=1):
        data = {"type": terminal, "os": "Linux", "version": "7.1", "name": ""}
        event = established(f"lived-{number}", user="Ada Lovelace", ago=number * 3000, terminal=data)
        await site.publish(event, *([destroyed(f"lived-{number}")] if number > 1 else []))


async def drawn(page: Page, count: int) -> None:
    """Wait until all pictures of a page are drawn."""
    for picture in await page.locator("[data-chart]").all():
        await picture.scroll_into_view_if_needed()
    await expect(page.locator("[data-chart]:is(:has(svg), .figure)")).to_have_count(count)


async def never_sideways(page: Page) -> bool:
    """Tell whether a page is as narrow as its window."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


async def serious(page: Page) -> list[str]:
    """Return what hinders people who cannot see or point."""
    results = await Axe().run(page)
    return [found["id"] for found in results.response["violations"] if found["impact"] in {"serious", "critical"}]


async def test_four_pictures_follow_the_filter_and_open_to_their_tables(site: Site) -> None:
    async with site.page("viewer") as page:
        await page.goto(f"{HISTORY}?{OURS}")
        await drawn(page, len(PICTURES))
        figure = page.locator("figure", has=page.locator('[data-chart*="/terminals.json"]'))

        await expect(figure.locator(".says")).to_have_text("67 % of the sessions: Browser.")
        await expect(figure.locator("[role=img]")).to_have_attribute("aria-label", re.compile("^Terminals. 67 %"))
        await figure.locator("a").first.click()

        await expect(page.locator("#terminals tbody tr").first).to_contain_text("Browser")
        await expect(page.locator("#search")).to_have_value("Lovelace")
        await drawn(page, len(TOPICS["terminals"].draws))


async def test_who_points_at_a_picture_is_told_its_numbers(site: Site) -> None:
    async with site.page("viewer") as page:
        await page.goto(f"{STATISTICS}/terminals?{OURS}")
        await drawn(page, 2)

        await page.locator('[data-chart*="/terminals.json"] .point_marks path').first.hover()

        await expect(page.locator(".tip")).to_have_text("Browser\n2 sessions · 2 users")


@pytest.mark.parametrize("dark", [False, True])
async def test_all_statistics_are_drawn_and_hinder_nobody(site: Site, dark: bool) -> None:  # noqa: FBT001
    async with site.page("viewer", dark=dark) as page:
        await page.goto(f"{STATISTICS}?range=30d")
        await expect(page.locator("figure")).to_have_count(8)
        assert await serious(page) == []

        for topic in TOPICS.values():
            await page.goto(f"{STATISTICS}/{topic.name}?range=30d")
            await drawn(page, await page.locator("[data-chart]").count())
            assert await serious(page) == []


async def test_colours_of_pictures_follow_the_readers_preference(site: Site) -> None:
    fill = "getComputedStyle(document.querySelector('[data-chart] .layer_1_marks path')).fill"
    async with site.page("viewer") as page:
        await page.goto(f"{STATISTICS}/terminals?{OURS}")
        await drawn(page, 2)
        light = await page.evaluate(fill)

        await page.emulate_media(color_scheme="dark")

        assert await page.evaluate(fill) != light


async def test_a_session_opens_beside_the_list_and_keys_go_through_it(site: Site) -> None:
    async with site.page("viewer") as page:
        await page.goto(f"{HISTORY}?{OURS}")
        await page.locator(".history tbody tr").first.locator("td").last.click()
        await expect(page.locator("#drawer")).to_contain_text("Timeline")

        await page.keyboard.press("Escape")
        await expect(page.locator("#drawer")).to_be_hidden()
        await page.keyboard.press("j")

        await expect(page.locator(".history tbody tr").nth(1).locator(".a a")).to_be_focused()


async def test_a_range_between_two_instants_is_filled_in_and_stands_in_the_url(site: Site) -> None:
    async with site.page("viewer") as page:
        await page.goto(f"{HISTORY}?{OURS}")
        await page.select_option("#range", "between")
        await expect(page.locator("#from")).to_have_value(re.compile(r"\d{4}-\d{2}-\d{2}"))

        await page.fill("#from", "2019-12-31")
        await page.fill("#to", "2020-01-01")
        await page.click(".between button")

        await expect(page.locator(".empty")).to_contain_text("No session matches “Lovelace”")
        assert "from=2019-12-31&to=2020-01-01" in page.url


async def test_a_picture_that_cannot_be_drawn_says_so_and_the_table_is_there(site: Site) -> None:
    async with site.page("viewer") as page:
        await page.route("**/charts/*.json*", lambda route: route.fulfill(body="[]"))

        await page.goto(f"{STATISTICS}/terminals?{OURS}")

        await expect(page.locator(".canvas").first).to_contain_text("The picture could not be drawn")
        await expect(page.locator("#terminals tbody tr").first).to_contain_text("Browser")


async def test_without_scripts_pictures_are_links_to_tables_and_the_range_is_a_form(site: Site) -> None:
    async with site.page("viewer", scripts=False) as page:
        await page.goto(f"{HISTORY}?{OURS}")
        await page.select_option("#range", "30d")
        await page.click("noscript button")
        await page.get_by_role("link", name="Show as a table").first.click()

        await expect(page.locator("#sessions tbody tr")).to_have_count(30)
        assert "search=Lovelace" in page.url
        assert "range=30d" in page.url


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_on_a_phone_rows_have_two_lines_and_nothing_scrolls_sideways(site: Site, locale: str) -> None:
    async with site.page("viewer", size=NARROW, locale=locale) as page:
        await page.goto(f"{HISTORY}?{OURS}")
        await drawn(page, len(PICTURES))
        rows = page.locator(".history tbody tr")

        assert await never_sideways(page)
        assert [await cell.is_visible() for cell in await rows.first.locator(".a, .b, .c").all()] == [True, True, True]
        for topic in TOPICS:
            await page.goto(f"{STATISTICS}/{topic}?range=30d")
            assert await never_sideways(page)
