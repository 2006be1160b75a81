"""Disconnecting over HTTP: each session's result, repeats, and what a command has come to."""

import json
from typing import Any

import httpx
import pytest

from sojourn.events.topics import LIFECYCLE
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant
from tests.integration.site_steps import Console


@pytest.fixture
async def acme(console: Console) -> httpx.AsyncClient:
    """Ask as acme, which has open sessions; globex has one of its own."""
    async with console.rows() as connection:
        for tenant in ("acme", "globex"):
            await insert_tenant(connection, tenant)
        for number in range(3):
            await insert_live(connection, "acme", f"s-{number}", offset=number)
        await insert_live(connection, "globex", "theirs")
    return await console.client("acme")


def body(*session_ids: str, **more: Any) -> dict[str, Any]:
    return {"session_ids": session_ids, "reason": "reclaim", **more}


async def outbox(console: Console) -> list[dict[str, Any]]:
    rows = await console.execute("SELECT value FROM sojourn.outbox WHERE topic = %s ORDER BY outbox_id", [LIFECYCLE])
    return [json.loads(value) for (value,) in rows]


async def test_each_session_has_its_own_result_and_anothers_is_as_unknown_as_none(
    acme: httpx.AsyncClient, console: Console
) -> None:
    answer = await acme.post("/v1/disconnects", json=body("s-0", "theirs", "nobody"))

    assert answer.status_code == 200, answer.text
    first, theirs, nobody = answer.json()["results"]
    assert (first["session_id"], first["status"], first["broker"]) == ("s-0", "requested", "/brokers/eu-1")
    assert {**theirs, "session_id": "nobody"} == nobody == {
        "session_id": "nobody", "status": "refused", "detail": "no such session",
    }  # fmt: skip
    (event,) = await outbox(console)
    assert event["data"]["command"] == first["command_id"]
    assert event["data"]["requested_by"].startswith("token ")


async def test_a_dry_run_tells_what_would_come_of_it_and_changes_nothing(
    acme: httpx.AsyncClient, console: Console
) -> None:
    answer = await acme.post("/v1/disconnects", json=body("s-0", "nobody", dry_run=True))
    listed = await acme.get("/v1/disconnects")

    document = answer.json()
    assert (document["disconnect_id"], document["dry_run"]) == (None, True)
    assert [result["status"] for result in document["results"]] == ["requested", "refused"]
    assert listed.json()["disconnects"] == []
    assert await outbox(console) == []


async def test_a_repeat_under_the_same_key_asks_once_and_another_request_is_refused(
    acme: httpx.AsyncClient, console: Console
) -> None:
    key = {"Idempotency-Key": "k-1"}

    first = await acme.post("/v1/disconnects", json=body("s-0"), headers=key)
    again = await acme.post("/v1/disconnects", json=body("s-0"), headers=key)
    other = await acme.post("/v1/disconnects", json=body("s-1"), headers=key)

    assert again.json() == first.json()
    assert (other.status_code, other.json()["type"]) == (422, "urn:sojourn:problem:key-taken")
    assert len(await outbox(console)) == 1


async def test_a_request_shows_every_step_of_its_commands(acme: httpx.AsyncClient, console: Console) -> None:
    made = (await acme.post("/v1/disconnects", json=body("s-0", "nobody", message="Save your work"))).json()
    command_id = made["results"][0]["command_id"]
    waiting = await acme.get(f"/v1/disconnects/{made['disconnect_id']}")
    async with console.rows() as connection:
        await connection.execute(
            """
            INSERT INTO sojourn_v1.command (
                tenant, command_id, session_id, broker, kind, state, reason, requested_by, requested_at, expires_at,
                partition, "offset", appended_at, event)
            VALUES ('acme', %s, 's-0', '/brokers/eu-1', 'disconnect', 'requested', 'reclaim', 'x', now(), now(), 0, 9,
                %s, '')
            """,
            [command_id, HISTORY_DAY],
        )
        await insert_history(
            connection, "acme", "s-0", offset=9, event_id=f"requested/{command_id}", source="/sojourn",
            event_type="disconnect_requested", revision=None, logout_at=None,
        )  # fmt: skip

    shown = await acme.get(f"/v1/disconnects/{made['disconnect_id']}")
    unknown = await acme.get("/v1/disconnects/00000000-0000-4000-8000-000000000000")
    foreign = await (await console.client("globex")).get(f"/v1/disconnects/{made['disconnect_id']}")

    assert [(one["state"], one["steps"]) for one in waiting.json()["results"]] == [("requested", []), ("refused", [])]
    document = shown.json()
    assert (document["reason"], document["message"]) == ("reclaim", "Save your work")
    assert [step["event_type"] for step in document["results"][0]["steps"]] == ["disconnect_requested"]
    assert document["results"][1]["detail"] == "no such session"
    assert (unknown.status_code, foreign.status_code, foreign.content) == (404, 404, unknown.content)


async def test_requests_are_listed_the_newest_first_page_by_page(acme: httpx.AsyncClient, console: Console) -> None:
    for number in range(3):
        await acme.post("/v1/disconnects", json=body(f"s-{number}", "nobody", reason=f"r-{number}"))

    first = await acme.get("/v1/disconnects", params={"limit": 2})
    second = await acme.get(first.links["next"]["url"])
    foreign = await (await console.client("globex")).get("/v1/disconnects")

    reasons = [[one["reason"] for one in page.json()["disconnects"]] for page in (first, second)]
    assert reasons == [["r-2", "r-1"], ["r-0"]]
    assert [(one["requested"], one["refused"]) for one in second.json()["disconnects"]] == [(1, 1)]
    assert foreign.json()["disconnects"] == []


@pytest.mark.usefixtures("acme")
async def test_who_may_only_read_disconnects_nobody(console: Console) -> None:
    reader = await console.client("acme", "read")

    answers = [await reader.post("/v1/disconnects", json=body("s-0")), await reader.get("/v1/disconnects")]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert await outbox(console) == []


async def test_a_body_that_is_no_good_is_refused_by_name(acme: httpx.AsyncClient, console: Console) -> None:
    bad = [
        (body(), "session_ids"),
        (body("s\n0"), "session_ids"),
        (body("s-0", reason=" "), "reason"),
        (body("s-0", reason="a\0b"), "reason"),
        (body("s-0", kind="destroy"), "kind"),
        (body("s-0", expires_seconds=0), "expires_seconds"),
        ({"session_ids": ["s-0"]}, "reason"),
        (body("s-0", force=True), "force"),
    ]
    for document, name in bad:
        answer = await acme.post("/v1/disconnects", json=document)
        assert answer.status_code == 400, (document, answer.text)
        assert name in answer.json()["detail"]
    blank = await acme.post("/v1/disconnects", json=body("s-0", kind="send_message"))
    no_json = await acme.post("/v1/disconnects", content=b"{", headers={"Content-Type": "application/json"})

    assert (blank.status_code, blank.json()["type"]) == (409, "urn:sojourn:problem:contradiction")
    assert no_json.status_code == 400
    assert await outbox(console) == []
