"""What holds for every page: no complaints, accessible, narrow, small, in one language, and plain HTML beneath."""

import re
from collections.abc import Mapping
from typing import Final

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

from sojourn.console.site.principal import Role
from tests.browser.conftest import MARKS, NARROW, Site, destroyed, established
from tests.browser.demo import progress

pytestmark = [*MARKS, pytest.mark.slow]

EVERYTHING: Final[tuple[Role, ...]] = ("tenant_admin",)
PAGES: Final = (  # lists of one row each, since the time that axe takes grows with them
    "sessions?search=agnesi",
    "sessions?search=nobody-at-all",
    "sessions/every-1",
    "history?range=30d&search=agnesi",
    "history?range=between",
    "statistics?range=today",
    "statistics/work-hours?search=agnesi",
    "statistics/concurrency?search=agnesi",
    "exports",
    "audit",
    "users",
    "tokens",
    "help",
)
OTHER_PAGES: Final = ("/account",)
EVERY_RULE: Final = {"resultTypes": ["violations"]}
RULE_OF_COLOURS: Final = {**EVERY_RULE, "runOnly": ["color-contrast"]}  # all that the dark scheme changes
GRAVE: Final = {"serious", "critical"}
TRANSFER_BYTES_MAX: Final = 100_000  # two seconds on a slow line of a phone
# Names, ids and what brokers say are in no language of ours.
FOREIGN: Final = (
    "bdi, code, pre, kbd, [lang=en], [translate=no], option, .brand, th[scope=row], .a small, .b small, td small,"
    " dd small, svg, script, style"
)
PHRASE: Final = re.compile(r"[A-Za-z]{2,}(?:[ ,]+[A-Za-z]{2,})+")


async def visit(page: Page, path: str) -> None:
    """Open a page and wait until its pictures are drawn."""
    await page.goto(path if path.startswith("/") else f"/t/acme/{path}")
    await expect(page.locator("[data-chart][aria-busy]")).to_have_count(0)


async def test_axe_finds_nothing_grave_on_any_page_light_or_dark(site: Site) -> None:
    await site.publish(
        established("every-1", user="Maria Agnesi"), established("every-2", user="Luca Agnesi"), destroyed("every-2")
    )
    found = []
    async with site.page(*EVERYTHING) as page:
        for path in (*PAGES, *OTHER_PAGES):
            await visit(page, path)
            for is_dark in (False, True):
                await page.emulate_media(color_scheme="dark" if is_dark else "light")
                judged = await Axe().run(page, options=RULE_OF_COLOURS if is_dark else EVERY_RULE)
                found += [
                    f"{path}{' in the dark' if is_dark else ''}: {violation['id']}: {violation['nodes'][0]['html']}"
                    for violation in judged.response["violations"]
                    if violation["impact"] in GRAVE
                ]

    assert found == []


async def test_on_a_phone_no_page_scrolls_sideways(site: Site) -> None:
    await site.publish(
        established("every-1", user="Maria Agnesi"), established("every-2", user="Luca Agnesi"), destroyed("every-2")
    )
    wide = []
    async with site.page(*EVERYTHING, size=NARROW) as page:
        for path in (*PAGES, *OTHER_PAGES):
            await visit(page, path)
            width = await page.evaluate("document.documentElement.scrollWidth")
            if width > NARROW[0]:
                wide.append(f"{path}: {width}")

    assert wide == []


async def test_a_page_of_a_hundred_rows_takes_less_than_a_hundred_kilobytes(site: Site) -> None:
    await progress(site)
    async with site.page(*EVERYTHING) as page:
        browser = await page.context.new_cdp_session(page)
        await browser.send("Network.enable")
        paths: dict[str, str] = {}
        taken: dict[str, float] = {}
        browser.on(
            "Network.requestWillBeSent", lambda event: paths.update({event["requestId"]: event["request"]["url"]})
        )
        browser.on(
            "Network.loadingFinished", lambda event: taken.update({event["requestId"]: event["encodedDataLength"]})
        )
        await page.goto("/t/acme/history?range=any")
        await expect(page.locator("tbody tr")).to_have_count(100)
        await page.wait_for_load_state("load")

        sizes = {paths[number]: size for number, size in taken.items() if "vega" not in paths[number]}
        assert 0 < sum(sizes.values()) < TRANSFER_BYTES_MAX, sizes


async def test_in_chinese_no_english_is_left(site: Site) -> None:
    await site.publish(
        established("every-1", user="Maria Agnesi"), established("every-2", user="Luca Agnesi"), destroyed("every-2")
    )
    left: dict[str, set[str]] = {}
    async with site.page(*EVERYTHING, locale="zh-CN") as page:
        for path in (*PAGES, *OTHER_PAGES):
            await visit(page, path)
            english = {found for text in await texts(page) for found in PHRASE.findall(text)}
            if english:
                left[path] = english

    assert left == {}


async def texts(page: Page) -> list[str]:
    """Return what stands on a page and what a screen reader says, but for what is in no language of ours."""
    found: list[str] = await page.evaluate(
        """foreign => {
            const texts = [];
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const node = walker.currentNode;
                if (!node.parentElement.closest(foreign)) texts.push(node.textContent.trim());
            }
            for (const at of document.querySelectorAll("[aria-label]:not(.pick *), [placeholder]"))
                texts.push(at.getAttribute("aria-label") ?? "", at.getAttribute("placeholder") ?? "");
            return texts;
        }""",
        FOREIGN,
    )
    return found


async def test_without_scripts_one_reads_filters_and_turns_pages(site: Site) -> None:
    await progress(site)
    async with site.page(*EVERYTHING, scripts=False) as page:
        await page.goto("/t/acme/history?range=any")
        await expect(page.locator("tbody tr")).to_have_count(100)
        first = await page.locator("tbody tr").first.get_attribute("id")
        await page.get_by_role("link", name="older").click()
        await expect(page.locator("tbody tr").first).not_to_have_attribute("id", first or "")
        await page.select_option("select[name=terminal]", "mobile")
        await page.locator("form[role=search]").get_by_role("button", name="Apply").click()
        await expect(page.locator("tbody tr").first).to_contain_text("Mobile")

        await page.locator("summary", has_text="Export").click()
        await page.get_by_role("button", name="Parquet").click()
        await expect(page.get_by_role("heading", name="Exports")).to_be_visible()
        await page.goto("/t/acme/statistics/terminals")
        await expect(page.locator("table.numbers").first).to_contain_text("Mobile")


async def test_another_tenant_and_what_is_not_there_look_the_same(site: Site) -> None:
    told: Mapping[str, str] = {}
    async with site.page(*EVERYTHING) as page:
        for path in ("/t/globex/sessions", "/t/nowhere/sessions"):
            answer = await page.request.get(path, headers={"Accept": "text/html"})
            assert answer.status == 404
            told = {**told, path: await answer.text()}

    assert all("There is no such page" in text for text in told.values())
    assert "CAD-" not in told["/t/globex/sessions"]
    shown = {re.sub(r"request \w+|globex|nowhere|data-now=\S+", "", text) for text in told.values()}
    assert len(shown) == 1
