"""What holds for every page: no complaints, accessible, narrow, small, in one language, and plain HTML beneath."""

import re
import uuid
from collections.abc import Mapping
from typing import Final

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

from sojourn.console.site.principal import Role
from tests.browser.conftest import MARKS, NARROW, WIDE, Site, destroyed, established
from tests.browser.demo import progress

pytestmark = MARKS

EVERYTHING: Final[tuple[Role, ...]] = ("tenant_admin",)
PAGES: Final = (  # lists of one row each, since the time that axe takes grows with them
    "sessions?search=agnesi",
    "sessions?search=nobody-at-all",
    "sessions/every-1",
    "history?range=30d&search=agnesi",
    "history?range=between",
    "statistics/concurrency?search=agnesi",  # the others are looked at in test_charts.py
    "exports",
    "audit?action=disconnect",
    "audit?actor=nobody-at-all",
    "users",
    "tokens",
    "help",
    "/account",
    "/confirm",
    "/sign-in",
)
PLATFORM_PAGES: Final = ("/", "/t/~platform/users", "/t/~platform/audit?actor=nobody-at-all", "/t/~platform/help")
PROBLEMS: Final = (
    "nothing",
    "users",
    "sessions/nothing",
    "sessions?sort=nothing",
    "history?cursor=x",
    "/t/nowhere/help",
)
EVERY_RULE: Final = {"resultTypes": ["violations"]}
GRAVE: Final = {"serious", "critical"}
TRANSFER_BYTES_MAX: Final = 100_000  # two seconds on a slow line of a phone
# Names, ids and what brokers say are in no language of ours.
FOREIGN: Final = (
    "bdi, code, pre, kbd, [lang=en], [translate=no], option, .brand, th[scope=row], .a small, .b small, td small,"
    " dd small, svg, script, style"
)
PHRASE: Final = re.compile(r"[A-Za-z]{2,}(?:[ ,]+[A-Za-z]{2,})+")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def command(site: Site) -> str:
    """Let two sessions be, and return the page of a command to one of them."""
    await site.publish(
        established("every-1", user="Maria Agnesi"), established("every-2", user="Luca Agnesi"), destroyed("every-2")
    )
    client = await site.console.person("acme", "operator")
    asked = await client.post("/t/acme/disconnect", data={"session": "every-1", "reason": "reclaim", "send": "yes"})
    followed = (await client.get(asked.headers["Location"])).text
    found = re.search(r"/t/acme/commands/[^\"]+", followed)
    assert found is not None
    return found[0]


async def visit(page: Page, path: str) -> None:
    """Open a page and wait until its pictures are drawn."""
    await page.goto(path if path.startswith("/") else f"/t/acme/{path}")
    await expect(page.locator("[data-chart][aria-busy]")).to_have_count(0)


async def faults(page: Page) -> list[str]:
    """Return what hinders people on a page: who cannot see or point, in a small window, or without English."""
    judged = await Axe().run(page, options=EVERY_RULE)
    found = [
        f"{violation['id']}: {violation['nodes'][0]['html']}"
        for violation in judged.response["violations"]
        if violation["impact"] in GRAVE
    ]
    if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append("wider than the window")
    if await page.locator("html").get_attribute("lang") == "zh":
        found += sorted({english for text in await texts(page) for english in PHRASE.findall(text)})
    return [f"{page.url}: {fault}" for fault in found]


@pytest.mark.parametrize(
    ("size", "locale", "dark"),
    [
        pytest.param(NARROW, "zh-CN", True, id="narrow, Chinese, dark"),
        pytest.param(NARROW, "en-GB", False, id="narrow", marks=pytest.mark.slow),
        pytest.param(WIDE, "zh-CN", False, id="wide, Chinese", marks=pytest.mark.slow),
        pytest.param(WIDE, "en-GB", True, id="wide, dark", marks=pytest.mark.slow),
    ],
)
async def test_no_page_hinders_anybody(
    site: Site,
    command: str,
    size: tuple[int, int],
    locale: str,
    dark: bool,  # noqa: FBT001 - pytest gives it
) -> None:
    found = []
    async with site.page(*EVERYTHING, size=size, locale=locale, dark=dark) as page:
        for path in (*PAGES, command):
            await visit(page, path)
            found += await faults(page)
    async with site.page("platform_admin", tenant="~platform", size=size, locale=locale, dark=dark) as page:
        for path in PLATFORM_PAGES:
            await visit(page, path)
            found += await faults(page)
    async with site.page("viewer", size=size, locale=locale, dark=dark, problems=True) as page:
        for path in PROBLEMS:
            await visit(page, path)
            found += await faults(page)

    assert found == []


@pytest.mark.parametrize(("size", "locale"), [(NARROW, "zh-CN"), pytest.param(WIDE, "en-GB", marks=pytest.mark.slow)])
async def test_the_way_in_hinders_nobody(site: Site, size: tuple[int, int], locale: str) -> None:
    name = f"new-{uuid.uuid4().hex[:6]}"
    client = await site.console.person("acme", *EVERYTHING)
    shown = await client.post("/t/acme/users", data={"name": name, "role": "viewer"})
    password = re.search(r'class="secret">([^<]+)<', shown.text)
    assert password is not None
    async with site.page(size=size, locale=locale, problems=True) as page:
        await page.goto("/")
        found = await faults(page)
        for typed, before in (("not the password", "[role=alert]"), (password[1], "#new")):
            await page.fill("#name", name)
            await page.fill("#password", typed)
            await page.keyboard.press("Enter")
            await expect(page.locator(before)).to_be_visible()
            found += await faults(page)
        await page.fill("#password", password[1])
        await page.fill("#new", "password1234")
        await page.fill("#again", "password1234")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_be_focused()
        found += await faults(page)

    assert found == []


@pytest.mark.slow
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


@pytest.mark.slow
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
