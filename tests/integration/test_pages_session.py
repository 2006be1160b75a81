"""The page of one session and the page of one command: what happened, in the order of the log, and nothing left out."""

import re
from datetime import timedelta
from typing import Any

import pytest

from sojourn.console.pages import drawer
from sojourn.projections import timeline
from tests.integration.rows import insert_history
from tests.integration.site_steps import Console
from tests.integration.test_pages_current import NOW, PAGE, acme, opened, text_of

__all__ = ["acme"]

COMMAND = """
    INSERT INTO sojourn_v1.command (tenant, command_id, session_id, broker, kind, state, reason, requested_by,
        requested_at, expires_at, acknowledged_at, concluded_at, partition, "offset", appended_at, event)
    VALUES ('acme', 'c-1', 's-1', '/brokers/eu-1', 'disconnect', 'confirmed', 'reclaim', 'mary',
        %(at)s, %(at)s, %(acknowledged)s, %(ended)s, 0, 9, %(ended)s, '')
"""


async def test_a_session_tells_its_life_on_a_page_of_its_own(acme: Console) -> None:
    await opened(acme, "s-1")
    async with acme.rows() as connection:
        await insert_history(
            connection, "acme", "s-1", event_id="x", event_type="destroyed", offset=7, appended_at=NOW, event_time=NOW
        )
    client = await acme.client("acme", "read")

    page = text_of(await client.get(f"{PAGE}/s-1"))
    unknown, others = await client.get(f"{PAGE}/s-2"), await (await acme.client("globex", "read")).get(f"{PAGE}/s-1")

    assert re.search(r"Timeline Connected .* partition 0, offset 0 .* Ended .* Logout: .* partition 0, offset 7", page)
    assert (unknown.status_code, others.status_code) == (404, 404)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("told", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
async def test_a_time_that_no_clock_has_breaks_no_page(acme: Console, zone: str, told: str) -> None:
    await opened(acme, "s-1")
    await acme.execute("UPDATE sojourn_v1.session_history SET event_time = %s", [told])
    await acme.execute("UPDATE sojourn_v1.tenant_config SET time_zone = %s", [zone])

    answer = await (await acme.client("acme", "read")).get(f"{PAGE}/s-1")

    assert answer.status_code == 200
    assert f'datetime="{told[:19]}' in answer.text


async def test_repeats_without_end_hide_nothing_that_happened_to_a_session(
    acme: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "ENTRIES_MAX", 3)
    monkeypatch.setattr(drawer, "ENTRIES_MAX", 3)
    await opened(acme, "s-1")
    async with acme.rows() as connection:
        for offset in range(1, 5):
            repeat = {"event_type": "established", "disposition": "duplicate", "revision": None}
            at = NOW + timedelta(seconds=offset)
            await insert_history(
                connection, "acme", "s-1", event_id=f"e-{offset}", offset=offset, appended_at=at, **repeat
            )
        end = {"event_type": "destroyed", "appended_at": NOW + timedelta(minutes=1)}
        await insert_history(connection, "acme", "s-1", event_id="end", offset=9, **end)

    page = text_of(await (await acme.client("acme", "read")).get(f"{PAGE}/s-1"))

    assert [int(offset) for offset in re.findall(r"offset (\d+)", page)] == [0, 4, 9]
    assert "There are more events than are shown" in page


async def test_a_correction_says_why(acme: Console) -> None:
    await opened(acme, "s-1")
    async with acme.rows() as connection:
        between: dict[str, Any] = {"ended_after": NOW, "ended_before": NOW + timedelta(seconds=90)}
        lost = {"event_type": "lost_ended", "cause": "stayed_lost", "reason": "lost", **between}
        for offset, columns in enumerate((lost, {"event_type": "destroyed", "cause": "end_found"}), 1):
            place = {"offset": offset, "revision": offset + 1, "appended_at": NOW + timedelta(minutes=offset)}
            await insert_history(connection, "acme", "s-1", event_id=f"e-{offset}", **place, **columns)

    page = text_of(await (await acme.client("acme", "read")).get(f"{PAGE}/s-1"))

    assert "Revision 3 corrects revision 2: its end was told after it had been taken for lost" in page


async def test_the_trace_of_a_confirmed_command_ends_with_the_end_of_its_session(acme: Console) -> None:
    await opened(acme, "s-1")
    acknowledged, ended = NOW + timedelta(seconds=1), NOW + timedelta(seconds=2)
    steps: list[dict[str, Any]] = [
        {"event_type": "disconnect_requested", "event_id": "requested/c-1", "source": "/sojourn", "appended_at": NOW},
        {"event_type": "disconnect_acknowledged", "event_id": "acknowledged/c-1", "appended_at": acknowledged},
    ]
    async with acme.rows() as connection:
        for offset, step in enumerate(steps, 7):
            await insert_history(connection, "acme", "s-1", offset=offset, **{"revision": None, **step})
        end = {"event_type": "destroyed", "command": "c-1", "reason": "admin_disconnect", "appended_at": ended}
        await insert_history(connection, "acme", "s-1", event_id="end", offset=9, **end)
    await acme.execute(COMMAND, {"at": NOW, "acknowledged": acknowledged, "ended": ended})
    client = await acme.client("acme", "read")

    trace = text_of(await client.get("/t/acme/commands/c-1")).partition("Trace")[2]
    life = text_of(await client.get(f"{PAGE}/s-1"))

    end_of_trace = (
        rf"Acknowledged by the broker .* offset 8 Confirmed: the session ended (\S+ )?{ended:%H:%M:%S} .* offset 9 "
    )
    assert re.search(end_of_trace, trace)
    assert re.search(r"Ended .* By mary: “reclaim” · confirmed .* Reason: admin_disconnect", life)
