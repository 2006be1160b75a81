"""Answers to commands over HTTP: appended for the broker that got the command, and refused from every other."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import pytest

from sojourn.console.http import commands as commands_module
from sojourn.events.decision_data import DisconnectFailedData
from sojourn.events.topics import PARTITIONS_DEFAULT, session_partition
from sojourn.events.types import DisconnectAcknowledged, DisconnectFailed
from tests.integration.gateway_steps import BATCH, Served, batch, served, source
from tests.unit.events import established

__all__ = ["served", "source"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW: Final = datetime.now(UTC)


async def answer(served: Served, token: str, command_id: str, **said: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return await served.client.post(f"/v1/commands/{command_id}/answers", json=said, headers=headers)


async def acknowledged(served: Served, source: str) -> None:
    (event,) = await served.appended(source)
    assert isinstance(event, DisconnectAcknowledged)


async def refused(served: Served, source: str) -> None:
    (event,) = await served.appended(source)
    assert isinstance(event, DisconnectFailed)
    assert event.data == DisconnectFailedData(event.data.command, "refused", "an operator is logged in – žádný")


async def failed(served: Served, source: str) -> None:
    (event,) = await served.appended(source)
    assert isinstance(event, DisconnectFailed)
    assert (event.data.outcome, event.data.detail) == ("failed", None)


@pytest.mark.parametrize(
    ("said", "check"),
    [
        ({"status": "acknowledged", "detail": None}, acknowledged),
        ({"status": "refused", "detail": "an operator is logged in – žádný"}, refused),
        ({"status": "failed"}, failed),
    ],
    ids=["acknowledged", "refused", "failed"],
)
async def test_an_answer_is_appended_for_the_commands_broker_and_session(
    served: Served, source: str, said: dict[str, Any], check: Callable[[Served, str], Awaitable[None]]
) -> None:
    token = await served.token(f"{source}/also", source, tenants=["acme"])
    command_id = await served.command(source, session_id="s-7")

    told = await answer(served, token, command_id, **said)

    assert (told.status_code, told.json()) == (202, {"id": command_id, "status": said["status"]})
    await check(served, source)
    (event,) = await served.appended(source)
    assert (event.source, getattr(event, "subject", None)) == (source, "s-7")
    assert (await served.records(source))[0].partition == session_partition("acme", "s-7", PARTITIONS_DEFAULT)


async def test_an_answer_that_is_repeated_once_it_is_known_is_taken_and_appends_nothing(
    served: Served, source: str
) -> None:
    token = await served.token(source)
    command_id = await served.command(source, state="acknowledged", acknowledged_at=NOW)

    again = await answer(served, token, command_id, status="acknowledged")

    assert again.status_code == 202
    assert await served.records(source) == []


async def test_another_brokers_command_cannot_be_answered_and_looks_like_none(served: Served, source: str) -> None:
    command_id = await served.command(source)
    of_other = await served.token(f"{source}/other")
    of_tenant = await served.token(source, tenants=["globex"])

    answers = [
        await answer(served, of_other, command_id, status="acknowledged"),
        await answer(served, of_tenant, command_id, status="acknowledged"),
        await answer(served, of_other, "no-such-command", status="acknowledged"),
    ]

    assert [one.status_code for one in answers] == [404] * 3
    assert len({one.content for one in answers}) == 1
    assert answers[0].json()["type"] == "urn:sojourn:problem:no-such-command"
    assert await served.records(source) == []


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"status": "done"}', "application/json", 400),
        (b'{"detail": "x"}', "application/json", 400),
        (b'{"status": "failed", "detail": "%s"}' % (b"x" * 1001), "application/json", 400),
        (b'{"status": "failed", "detail": "\\u0000"}', "application/json", 400),
        (b'{"status": "failed", "detail": "\xff"}', "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b'{"status": "failed", "x": %s}' % (b"[" * 5_000 + b"]" * 5_000), "application/json", 400),
        (b" " * (commands_module.ANSWER_BYTES_MAX + 1), "application/json", 413),
        (b"status=failed", "application/x-www-form-urlencoded", 415),
    ],
)
async def test_an_answer_that_says_nothing_known_is_a_problem(
    served: Served, source: str, content: bytes, content_type: str, status: int
) -> None:
    token = await served.token(source)
    command_id = await served.command(source)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}

    refused = await served.client.post(f"/v1/commands/{command_id}/answers", content=content, headers=headers)

    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert await served.records(source) == []


async def test_answers_among_events_are_only_taken_for_the_brokers_own_commands(served: Served, source: str) -> None:
    token = await served.token(source, f"{source}/too", tenants=["acme", "globex"])
    own = await served.command(source)
    of_too = await served.command(f"{source}/too")
    of_other = await served.command(f"{source}/other")

    def event(name: str, command: str, **fields: Any) -> dict[str, Any]:
        kind = "sojourn.session.disconnect_acknowledged.v1"
        return {**established(id=name, source=source), "type": kind, "data": {"command": command}, **fields}

    sent = [
        event("own", own),
        event("other's", of_other),
        event("its other's", of_too),
        event("unknown", "c-0"),
        event("other session", own, subject="s-2"),
        event("other tenant", own, tenant="globex"),
        event("own too", of_too, source=f"{source}/too"),
    ]
    told = await served.post(token, batch(*sent), BATCH)

    assert {result["id"]: result.get("reason") for result in told.json()["results"]} == {
        "own": None,
        "other's": "wrong_source",
        "its other's": "wrong_source",
        "unknown": "wrong_source",
        "other session": "wrong_source",
        "other tenant": "wrong_source",
        "own too": None,
    }
    assert [event.id for event in await served.appended(source)] == ["own"]
