"""The walk of an administrator through the console, from the first screen on."""

import csv
import io
import re
import zipfile
from pathlib import Path
from typing import Final

from playwright.async_api import expect

from tests.browser.conftest import MARKS, Site, destroyed, established
from tests.browser.demo import IGNORES, OBEYS, REFUSES, lasting, progress

pytestmark = MARKS

CONCLUDED_MS: Final = 60_000  # a command that nobody answers takes ten seconds here
CHOSEN: Final = "a few good words for acme"


def row(session_id: str) -> str:
    """Return the selector of a session's row."""
    return f'tr[data-session="{session_id}"]'


async def test_the_first_administrator_signs_in_as_up_said_and_finds_the_tenants(site: Site) -> None:
    async with site.page() as page:
        await page.goto("/")
        await expect(page.locator("#name")).to_be_focused()
        await page.keyboard.type("admin")
        await page.fill("#password", site.password)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Choose a password")).to_be_visible()
        await page.fill("#password", site.password)
        await page.fill("#new", CHOSEN)
        await page.fill("#again", CHOSEN)
        await page.get_by_role("button", name="Keep this password").click()

        await expect(page.get_by_role("heading", name="Tenants")).to_be_visible()
        await expect(page.get_by_role("navigation", name="Main").get_by_role("link")).to_have_count(0)
        await page.get_by_role("link", name="acme").click()
        await expect(page.get_by_role("heading", name="Current sessions")).to_be_visible()
        await expect(page.locator("#live tbody tr").first).to_be_visible()
        await page.locator(".who summary", has_text="acme").click()
        await page.get_by_role("link", name="All tenants").click()
        await page.locator(".who summary", has_text="Administrator").click()
        await page.get_by_role("link", name="Account and password").click()
        await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        await page.get_by_role("main").get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_somebody_is_found_by_a_part_of_the_name_a_filter_and_an_order(site: Site) -> None:
    await site.publish(
        established("find-1", user="Sophie Germain", desktop="MATH-2", access="public", client_ip="203.0.113.9"),
        established("find-2", user="Sophie Kowalevski", desktop="MATH-1", ago=5),
    )
    async with site.page("viewer") as page:
        await page.goto("/t/acme/sessions")
        await page.fill("#search", "sophie")
        await page.keyboard.press("Enter")
        names = page.locator("#live td.a a")
        await expect(names).to_have_text(["Sophie Germain", "Sophie Kowalevski"])
        await expect(page.locator("#counts")).to_contain_text(re.compile("^2 of .* match"))

        await page.locator("thead").get_by_role("link", name="Desktop").click()
        await expect(names).to_have_text(["Sophie Kowalevski", "Sophie Germain"])
        await page.locator("thead").get_by_role("link", name="Desktop").click()
        await expect(names).to_have_text(["Sophie Germain", "Sophie Kowalevski"])
        await expect(page.locator("th[aria-sort=descending]")).to_contain_text("Desktop")

        await page.select_option("select[name=access]", "public")
        await expect(names).to_have_text(["Sophie Germain"])
        await expect(page).to_have_url(re.compile("search=sophie.*access=public|access=public.*search=sophie"))
        await page.go_back()
        await expect(names).to_have_count(2)
        await page.fill("#search", "sophie nobody")
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Clear filters").click()
        await expect(page.locator("#search")).to_have_value("")


async def test_three_are_disconnected_one_is_confirmed_one_refused_and_one_not_confirmed(site: Site) -> None:
    tenant, sessions = await lasting(site)
    async with site.page("operator", "auditor", tenant=tenant) as page:
        await page.goto(f"/t/{tenant}/sessions")
        for broker in (OBEYS, REFUSES, IGNORES):
            await page.check(f"{row(sessions[broker])} input")
        await expect(page.locator("#picked-count")).to_have_text("3 selected")
        gone = await page.locator(f"{row(sessions[OBEYS])} td.a a").text_content() or ""
        await page.get_by_role("button", name="Disconnect…").click()
        dialogue = page.get_by_role("dialog")
        await expect(dialogue.get_by_role("heading")).to_have_text("Disconnect 3 sessions?")
        await expect(dialogue).to_contain_text(gone)
        await page.keyboard.type("maintenance of the walk")  # the reason has the focus
        await dialogue.get_by_role("button", name="Disconnect", exact=True).click()

        strip = page.locator("#strip")
        await expect(strip).to_contain_text("Disconnect by you, “maintenance of the walk”")
        await expect(strip.locator("b.confirmed")).to_have_count(1, timeout=CONCLUDED_MS)
        await expect(strip.locator("li", has=page.locator("b.refused"))).to_contain_text(
            "the desktop is in maintenance"
        )
        await expect(page.locator(row(sessions[OBEYS]))).to_have_count(0)
        await expect(strip.locator("b.not_confirmed")).to_have_text("not confirmed", timeout=CONCLUDED_MS)
        await expect(page.locator(row(sessions[IGNORES]))).to_have_count(1)
        await expect(strip).not_to_contain_text("not concluded")

        await strip.locator("li", has=page.locator("b.confirmed")).get_by_role("link").click()
        await expect(page.get_by_role("heading", name=f"Disconnect of {gone}")).to_be_visible()
        await expect(page.locator(".timeline li")).to_have_count(3)
        await page.get_by_role("link", name="Historical sessions").click()
        await page.fill("#search", gone)
        await page.keyboard.press("Enter")
        await expect(page.locator(row(sessions[OBEYS]))).to_contain_text("maintenance of the walk")
        await page.get_by_role("link", name="Audit").click()
        await expect(page.locator("tbody tr", has_text="maintenance of the walk").first).to_be_visible()


async def test_an_export_has_the_rows_of_the_list(site: Site, tmp_path: Path) -> None:
    await site.publish(*(established(f"take-{number}", user=f'Export {number}, "=1+1"') for number in range(3)))
    async with site.page("analyst") as page:
        await page.goto("/t/acme/sessions?search=take-")
        shown = await page.locator("#live td.a").all_inner_texts()
        await page.locator("summary", has_text="Export").click()
        await expect(page.locator("details[open]")).to_contain_text("All 3 rows of this list")
        await page.get_by_role("button", name="CSV for spreadsheets").click()
        await expect(page.get_by_role("heading", name="Exports")).to_be_visible()
        async with page.expect_download() as taken:
            await page.locator("tbody tr").first.get_by_role("link", name="Download").click()  # the newest of them all
        path = tmp_path / "export"
        await (await taken.value).save_as(path)

    assert sorted(text.split("\n")[0] for text in shown) == sorted(record["user_name"] for record in records(path))
    assert len(shown) == 3


def records(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV, or of all in a zip."""
    if not zipfile.is_zipfile(path):
        return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    with zipfile.ZipFile(path) as files:
        texts = [files.read(name).decode("utf-8-sig") for name in files.namelist() if name.endswith(".csv")]
    return [record for text in texts for record in csv.DictReader(io.StringIO(text, newline=""))]


async def test_history_has_a_range_pictures_of_it_and_the_life_of_each_session(site: Site) -> None:
    await progress(site)
    await site.publish(established("life-1", user="Emmy Noether", ago=90), destroyed("life-1"))
    async with site.page("viewer") as page:
        await page.goto("/t/acme/history")
        await expect(page.locator(".pictures svg")).to_have_count(4, timeout=CONCLUDED_MS)
        sessions = page.locator(".pictures .says").first
        week = await sessions.inner_text()
        await page.select_option("#range", "30d")
        await expect(page).to_have_url(re.compile("range=30d"))
        await expect(page.locator(".pictures svg")).to_have_count(4, timeout=CONCLUDED_MS)
        await expect(sessions).not_to_have_text(week)
        await page.fill("#search", "noether")
        await page.keyboard.press("Enter")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await expect(page.locator("tbody tr")).to_contain_text("logoff")

        await page.click("tbody tr .b")
        await expect(page.locator("#drawer .timeline li p b")).to_have_text(["Connected", "Ended"])
        await page.keyboard.press("Escape")
        await expect(page.locator("#drawer")).to_be_hidden()
        await page.locator(".pictures figcaption a").first.click()
        await expect(page.locator("section svg").first).to_be_visible()
        await expect(page.locator("table.numbers").first).to_be_visible()


async def test_the_way_with_tab_begins_with_the_content_and_shows_where_one_is(site: Site) -> None:
    async with site.page("operator") as page:
        await page.goto("/t/acme/sessions")
        places = []
        for _ in range(20):
            await page.keyboard.press("Tab")
            places.append(
                await page.evaluate(
                    """() => {
                        const at = document.activeElement, style = getComputedStyle(at);
                        const seen = style.outlineStyle !== "none" || at.matches(".skip");
                        return [at.id || at.name || at.textContent.trim() || at.className, seen];
                    }"""
                )
            )

        assert [name for name, is_seen in places if not is_seen] == []
        names = [name for name, _ in places]
        assert names[0] == "Skip to the content"
        assert len(set(names)) > 10
        assert names.index("search") < names.index("pause") < names.index("pick-all")
