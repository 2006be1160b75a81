"""A real `sojourn up --demo` for all browser tests of a worker, and Debian's Chromium; needs the package `chromium`."""

import asyncio
import json
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from sojourn.console.opening import opened
from sojourn.console.site.principal import Role
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.publisher import Publisher
from tests.conftest import open_folder
from tests.integration.command import POLL_SECONDS, WAIT_SECONDS_MAX, Command, patient
from tests.integration.site_steps import Console

CHROMIUM: Final = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS: Final = (  # nothing that asks the world, and no sandbox, which root has none of
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
STATUS: Final = "Failed to load resource: the server responded with a status of 4"
WIDE: Final = (1280, 800)
NARROW: Final = (390, 844)
EXPIRES_SECONDS: Final = 8  # of the sixty in which a command may be carried out: the demo's brokers take three
HASTY: Final = patient(
    "from msgspec.structs import replace",
    "from sojourn.consumers import commands",
    "from sojourn.console.pages import disconnecting",
    "commands.CONFIRM_SECONDS = 1",
    "asked = disconnecting._asked",
    f"disconnecting._asked = lambda form: replace(asked(form), expires_seconds={EXPIRES_SECONDS})",
)
# One browser and one server for all of them; a disconnect that nobody answers takes its time.
MARKS: Final = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(300),
]
PATIENCE_MS: Final = 30_000  # everything here takes a tenth of a second; the machine may be busy


@dataclass
class Site:
    """What browser tests need: the command line, the console, the browser, and the password that `up` printed."""

    command: Command
    console: Console
    publisher: Publisher
    browser: Browser
    password: str

    @asynccontextmanager
    async def page(
        self,
        *roles: Role,
        tenant: str = "acme",
        size: tuple[int, int] = WIDE,
        dark: bool = False,
        locale: str = "en-GB",
        scripts: bool = True,
        name: str | None = None,
        problems: bool = False,
    ) -> AsyncIterator[Page]:
        """Open a browser in which somebody with these roles is signed in, nobody if there are none.

        Whatever a page complains about in its console fails the test; where `problems` are looked at, the browser
        complains of their status.
        """
        context = await self.browser.new_context(
            base_url=self.console.url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            locale=locale,
            java_script_enabled=scripts,
        )
        context.set_default_timeout(PATIENCE_MS)
        if roles:
            await self.sign_in(context, tenant, *roles, name=name)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        yield page
        await context.close()
        assert [text for text in complaints if not (problems and text.startswith(STATUS))] == []

    async def sign_in(self, context: BrowserContext, tenant: str, *roles: Role, name: str | None = None) -> None:
        """Let the browser show the cookie of somebody who has just signed in."""
        client = await self.console.person(tenant, *roles, name=name or f"ada-{uuid.uuid4().hex[:6]}")
        name, _, value = client.headers["Cookie"].partition("=")
        await context.add_cookies(
            [
                {
                    "name": name,
                    "value": value,
                    "url": self.console.url.replace("http:", "https:"),
                    "secure": True,
                    "httpOnly": True,
                }
            ]
        )

    async def publish(self, *events: dict[str, Any]) -> None:
        """Publish events, and wait until they are in the lists."""
        await self.publisher.publish([json.dumps(event).encode() for event in events])
        ids = [event["id"] for event in events]
        await self.until(
            "SELECT count(*) >= %s FROM sojourn_v1.session_history WHERE event_id = ANY (%s)", len(ids), ids
        )

    async def until(self, condition: str, *values: Any) -> None:
        """Wait until a query gives true."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while (await self.console.execute(condition, values)) != [(True,)]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(POLL_SECONDS)


def established(session_id: str, **fields: Any) -> dict[str, Any]:
    """Return the event that a session of acme was opened just now, over broker eu-1."""
    user, desktop = fields.pop("user", "Ada Byron"), fields.pop("desktop", "CAD-204")
    at = datetime.now(UTC) - timedelta(seconds=fields.pop("ago", 1))
    data = {
        "user": {"id": f"u-{session_id}", "name": user},
        "desktop": {"id": f"d-{session_id}", "name": desktop, "pool": "cad"},
        "terminal": {"type": "thin_client", "os": "Linux", "version": "7.1", "name": "TC-0042"},
        "client_ip": "10.4.2.17",
        "access": "internal",
        "protocol": "blast",
        **fields,
    }
    return _event("established", session_id, at, data)


def destroyed(session_id: str) -> dict[str, Any]:
    """Return the event that it was closed."""
    return _event("destroyed", session_id, datetime.now(UTC), {"reason": "logoff"})


def _event(kind: str, session_id: str, at: datetime, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{kind}/{session_id}",
        "source": "/brokers/eu-1",
        "type": f"sojourn.session.{kind}.v1",
        "time": at.isoformat().replace("+00:00", "Z"),
        "tenant": "acme",
        "subject": session_id,
        "data": data,
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    """Run everything once for all tests; each of them uses its own sessions, people and windows."""
    if not Path(CHROMIUM).exists():  # noqa: ASYNC240 - before anything runs
        reason = "no Chromium: apt-get install chromium fonts-noto-cjk"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    expect.set_options(timeout=PATIENCE_MS)
    with open_folder() as folder:
        command = Command(folder / "data")
        with command.up("--demo", program=HASTY) as process:
            assert process.stdout is not None
            printed = iter(process.stdout.readline, "")
            port = next(found[1] for line in printed if (found := re.search(r"http://127\.0\.0\.1:(\d+)/", line)))
            password = next(found[1] for line in printed if (found := re.search("with the password (.+)", line)))
            async with opened(command.data_dir) as parts:
                assert isinstance(parts.log, EmbeddedLog)
                console = Console(parts.database, parts.log, int(port))
                async with async_playwright() as playwright:
                    browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
                    made = Site(command, console, Publisher(parts.log), browser, password)
                    await made.until("SELECT count(*) > 50 FROM sojourn_v1.live_session WHERE tenant = 'acme'")
                    yield made
                    await browser.close()
                await console.close()
