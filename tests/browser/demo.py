"""What the demo's brokers will do: which of their sessions last, so that a test can ask for their end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from sojourn.events.simulator.demo import PROGRESS_FILE, Progress, demo_plan
from sojourn.events.simulator.plan import milliseconds
from tests.browser.conftest import Site

OBEYS: Final = "/brokers/eu-1"
REFUSES: Final = "/brokers/ap-1"
IGNORES: Final = "/brokers/eu-2"

LASTS: Final = timedelta(minutes=3)  # no test takes so long
CAUGHT_UP: Final = timedelta(seconds=20)  # the demo says every five how far it is
POLL_SECONDS: Final = 0.1


async def progress(site: Site) -> Progress:
    """Wait until the demo's two weeks are published, and return since when it runs."""
    path = site.command.data_dir / PROGRESS_FILE
    async with asyncio.timeout(60):
        while True:
            if path.exists():
                found = msgspec.json.decode(path.read_bytes(), type=Progress)
                if datetime.now(UTC) - found.published_to < CAUGHT_UP:
                    return found
            await asyncio.sleep(POLL_SECONDS)


async def lasting(site: Site) -> tuple[str, dict[str, str]]:
    """Return a tenant and for each of its brokers its newest session that is open and lasts.

    It is the tenant where those began last: somewhere it is office time.
    """
    origin = (await progress(site)).origin
    await asyncio.to_thread(site.command.wait_applied)
    now = datetime.now(UTC)
    found: dict[str, dict[str, tuple[int, str]]] = {}
    for session in demo_plan(origin).sessions(milliseconds(now)):
        if session.login > milliseconds(now - CAUGHT_UP):
            break
        if session.logout > milliseconds(now + LASTS):
            found.setdefault(session.tenant, {})[session.seat.broker] = session.order
    whole = {tenant: newest for tenant, newest in found.items() if newest.keys() >= {OBEYS, REFUSES, IGNORES}}
    tenant = max(whole, key=lambda tenant: min(whole[tenant].values()))
    return tenant, {broker: session_id for broker, (_, session_id) in whole[tenant].items()}
