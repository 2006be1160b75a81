"""`GET /v1/commands` and the answers: a broker gets its own commands and nobody else's, and answers only those."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from sojourn.console.http import commands as commands_module
from sojourn.console.http import polls as polls_module
from sojourn.console.http.database import COMMANDS_MAX, Pending
from sojourn.events.errors import Unreachable
from sojourn.events.topics import LIFECYCLE, PARTITIONS_DEFAULT, session_partition
from sojourn.events.types import DisconnectDelivered
from tests.integration.gateway_steps import WAIT_SECONDS_MAX, Served, served, serving, source, until

__all__ = ["served", "source"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW: Final = datetime.now(UTC)


def ids(commands: list[dict[str, Any]]) -> list[str]:
    return [command["data"]["command"] for command in commands]


async def test_a_broker_gets_the_very_event_that_was_requested_and_the_log_hears_that_it_has_it(
    served: Served, source: str
) -> None:
    token = await served.token(source, tenants=["acme"])
    command_id = await served.command(source, session_id="s-9")

    commands = await served.poll(token)

    (command,) = commands
    assert command["type"] == "sojourn.session.disconnect_requested.v1"
    assert (command["source"], command["tenant"], command["subject"]) == ("/sojourn", "acme", "s-9")
    assert command["data"]["command"] == command_id
    (record,) = await served.records(source)
    assert (record.topic, record.partition) == (LIFECYCLE, session_partition("acme", "s-9", PARTITIONS_DEFAULT))
    (event,) = await served.appended(source)
    assert isinstance(event, DisconnectDelivered)
    assert (event.source, event.tenant, event.subject, event.data.command) == (source, "acme", "s-9", command_id)


async def test_a_command_is_listed_until_it_is_answered_but_told_as_delivered_only_while_it_is_not(
    served: Served, source: str
) -> None:
    token = await served.token(source)
    command_id = await served.command(source, state="delivered", delivered_at=NOW)

    found = [ids(await served.poll(token)) for _ in range(2)]

    assert found == [[command_id], [command_id]]
    assert await served.records(source) == []


async def test_no_broker_sees_commands_to_another_or_about_a_tenant_that_is_not_its_own(
    served: Served, source: str
) -> None:
    others = f"{source}/other"
    own = await served.command(source)
    of_other = await served.command(others)
    of_tenant = await served.command(source, tenant="globex")
    tokens = {
        "own": await served.token(source, tenants=["acme"]),
        "other": await served.token(others),
        "tenant": await served.token(source, tenants=["globex", "initech"]),
        "both": await served.token(source, others),
        "none": await served.token(f"{source}/none"),
    }

    polls = await asyncio.gather(*(served.poll(token) for token in tokens.values()))

    assert dict(zip(tokens, map(ids, polls), strict=True)) == {
        "own": [own],
        "other": [of_other],
        "tenant": [of_tenant],
        "both": [own, of_other, of_tenant],
        "none": [],
    }


@pytest.mark.parametrize(
    "columns",
    [
        {"expires_at": NOW - timedelta(seconds=1)},
        {"state": "acknowledged", "acknowledged_at": NOW},
        {"state": "failed", "concluded_at": NOW},
        {"state": "confirmed", "acknowledged_at": NOW, "concluded_at": NOW},
    ],
    ids=["expired", "acknowledged", "failed", "confirmed"],
)
async def test_a_command_that_needs_nothing_more_is_not_listed(
    served: Served, source: str, columns: dict[str, Any]
) -> None:
    token = await served.token(source)
    await served.command(source, **columns)
    open_one = await served.command(source)

    assert ids(await served.poll(token)) == [open_one]


async def test_more_commands_than_one_answer_holds_come_with_the_next(served: Served, source: str) -> None:
    token = await served.token(source)
    made = [await served.command(source) for _ in range(COMMANDS_MAX + 1)]

    first = ids(await served.poll(token))
    await served.execute("UPDATE sojourn_v1.command SET delivered_at = now() WHERE command_id = ANY (%s)", [first])
    second = ids(await served.poll(token))

    assert first == made[:-1]
    assert second[0] == made[-1]


async def test_a_poll_that_waits_is_answered_as_soon_as_there_is_a_command(served: Served, source: str) -> None:
    token = await served.token(source)
    other = await served.token(f"{source}/other")
    waiting = asyncio.create_task(served.poll(token, 60))
    of_other = asyncio.create_task(served.poll(other, 60))
    await until(lambda: len(served.gateway.polls._waiting) == 2)

    command_id = await served.command(source)

    async with asyncio.timeout(WAIT_SECONDS_MAX / 2):
        assert ids(await waiting) == [command_id]
    assert not of_other.done()
    of_other.cancel()
    await until(lambda: not served.gateway.polls._waiting)


async def test_a_poll_without_a_command_ends_empty_when_its_time_is_over(served: Served, source: str) -> None:
    token = await served.token(source)

    assert await served.poll(token, 1) == []


async def test_a_poll_is_not_answered_again_at_once_with_what_the_last_one_brought(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls_module, "AGAIN_SECONDS", 1e9)
    token = await served.token(source)
    first = await served.command(source)
    assert ids(await served.poll(token, 60)) == [first]

    waiting = asyncio.create_task(served.poll(token, 60))
    await until(lambda: len(served.gateway.polls._waiting) == 1)
    second = await served.command(source)

    assert sorted(ids(await waiting)) == sorted([first, second])
    assert ids(await served.poll(token, 0)) == [first, second]
    monkeypatch.setattr(polls_module, "AGAIN_SECONDS", 0.0)
    assert ids(await served.poll(token, 60)) == [first, second]


async def test_all_polls_that_wait_share_one_query(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [await served.token(source) for _ in range(5)]
    asked: list[int] = []
    pending = served.gateway.database.pending

    async def count_asked(token_ids: Collection[str]) -> dict[str, list[Pending]]:
        asked.append(len(token_ids))
        return await pending(token_ids)

    monkeypatch.setattr(served.gateway.polls, "_find", count_asked)
    waiting = [asyncio.create_task(served.poll(token, 60)) for token in tokens]
    await until(lambda: len(served.gateway.polls._waiting) == len(tokens))
    await until(lambda: asked[-1:] == [len(tokens)])

    await served.command(source)

    assert [len(await poll) for poll in waiting] == [1] * len(tokens)
    assert asked[-1] == len(tokens)


@pytest.mark.parametrize(("error", "status"), [(Unreachable(), 503), (RuntimeError("secret"), 500)])
async def test_a_query_that_fails_is_told_to_all_that_wait_and_the_next_poll_asks_again(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    headers = {"Authorization": f"Bearer {await served.token(source)}"}

    async def fail(_: Collection[str]) -> dict[str, list[Pending]]:
        raise error

    with monkeypatch.context() as patch, capture_logs():
        patch.setattr(served.gateway.polls, "_find", fail)
        async with asyncio.timeout(WAIT_SECONDS_MAX / 2):
            answers = await asyncio.gather(
                *(served.client.get("/v1/commands?wait=60", headers=headers) for _ in range(2))
            )
    command_id = await served.command(source)

    assert [answer.status_code for answer in answers] == [status] * 2
    assert "secret" not in answers[0].text
    assert ("retry-after" in answers[0].headers) == (status == 503)
    assert ids(await served.poll(headers["Authorization"].partition(" ")[2])) == [command_id]


@pytest.mark.parametrize("change", ["revoked_at = now()", "expires_at = now()"])
async def test_a_token_that_ends_while_its_poll_waits_gets_nothing_more(
    served: Served, source: str, change: str
) -> None:
    token = await served.token(source)
    waiting = asyncio.create_task(served.poll(token, 2))
    await until(lambda: len(served.gateway.polls._waiting) == 1)

    await served.execute(f"UPDATE sojourn.broker_token SET {change} WHERE %s = ANY (sources)", [source])  # noqa: S608 - ours
    await served.command(source)

    assert await waiting == []


async def test_a_client_that_goes_frees_its_place_and_is_handed_nothing(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.gateway.waiting, "_most", 1)
    token = await served.token(source)
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"GET /v1/commands?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    await until(lambda: len(served.gateway.polls._waiting) == 1)
    headers = {"Authorization": f"Bearer {token}"}
    refused = await served.client.get("/v1/commands?wait=0", headers=headers)

    writer.close()
    await until(lambda: not served.gateway.waiting._taken)

    await served.command(source)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["type"] == "urn:sojourn:problem:too-many-requests"
    assert await served.records(source) == []
    assert len(await served.poll(token)) == 1


async def test_polls_end_at_once_when_the_server_stops(migrated_server: str) -> None:
    async with serving(migrated_server) as served:
        token = await served.token("/b")
        waiting = asyncio.create_task(served.poll(token, 60))
        await until(lambda: len(served.gateway.polls._waiting) == 1)

        served.gateway.stop()

        async with asyncio.timeout(WAIT_SECONDS_MAX / 2):
            assert await waiting == []
            assert await served.poll(token, 60) == []


@pytest.mark.parametrize("wait", ["61", "-1", "x", "", "1&wait=2", "١"])  # noqa: RUF001 - a digit, but none of ours
async def test_a_poll_that_wants_to_wait_for_no_good_time_is_malformed(served: Served, source: str, wait: str) -> None:
    headers = {"Authorization": f"Bearer {await served.token(source)}"}

    refused = await served.client.get(f"/v1/commands?wait={wait}", headers=headers)

    assert refused.status_code == 400
    assert refused.json()["detail"] == "wait is a whole number of seconds from 0 to 60"


async def test_a_log_that_is_away_holds_no_command_back(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_module, "DELIVERED_SECONDS_MAX", 0.2)
    token = await served.token(source)
    command_id = await served.command(source)

    async with await served.database.connect() as connection:
        await connection.execute("LOCK TABLE sojourn_log.log_head IN EXCLUSIVE MODE")
        with capture_logs() as lines:
            commands = await served.poll(token)

    assert ids(commands) == [command_id]
    assert [line["event"] for line in lines] == ["http.delivered_untold"]
