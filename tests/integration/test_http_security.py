"""Who may publish over HTTP, how much, and what a request that is wrong is told: a test for each way to try."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

import pytest
from structlog.testing import capture_logs

from sojourn.console.http import bodies, limits
from sojourn.console.http.credentials import new_token
from sojourn.console.http.problems import Problem
from tests.integration.gateway_steps import BATCH, STRUCTURED, WAIT_SECONDS_MAX, Served, served, source, until
from tests.unit.events import destroyed, established, to_bytes

__all__ = ["served", "source"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAST: Final = datetime(2026, 1, 1, tzinfo=UTC)

CREDENTIALS: Final[dict[str, Callable[[Served], Awaitable[list[str]]]]] = {}


def credential(make: Callable[[Served], Awaitable[list[str]]]) -> Callable[[Served], Awaitable[list[str]]]:
    CREDENTIALS[make.__name__] = make
    return make


@credential
async def none(_: Served) -> list[str]:
    return []


@credential
async def unknown(_: Served) -> list[str]:
    return [f"Bearer {new_token().token}"]


@credential
async def no_token(_: Served) -> list[str]:
    return ["Bearer sjb_x_y"]


@credential
async def other_scheme(served: Served) -> list[str]:
    return [f"Basic {await served.token('/b')}"]


@credential
async def wrong_secret(served: Served) -> list[str]:
    token, other = await served.token("/b"), new_token().token
    return [f"Bearer {token.rsplit('_', 1)[0][:20]}_{other[-43:]}"]


@credential
async def expired(served: Served) -> list[str]:
    return [f"Bearer {await served.token('/b', expires_at=datetime.now(UTC) - timedelta(seconds=1))}"]


@credential
async def revoked(served: Served) -> list[str]:
    return [f"Bearer {await served.token('/b', revoked_at=PAST)}"]


@credential
async def two_headers(served: Served) -> list[str]:
    token = f"Bearer {await served.token('/b')}"
    return [token, token]


@credential
async def two_in_one_header(served: Served) -> list[str]:
    token = f"Bearer {await served.token('/b')}"
    return [f"{token}, {token}"]


@pytest.mark.parametrize("name", CREDENTIALS)
@pytest.mark.parametrize("path", ["/v1/events", "/v1/commands?wait=0", "/v1/commands/c-1/answers"])
async def test_every_credential_that_is_not_good_gets_the_same_answer(served: Served, name: str, path: str) -> None:
    given = [("Authorization", value) for value in await CREDENTIALS[name](served)]
    expected = await served.client.get("/v1/commands")

    answer = await served.client.request("GET" if "wait" in path else "POST", path, headers=given)

    assert answer.status_code == 401
    assert answer.content == expected.content
    assert answer.json()["type"] == "urn:sojourn:problem:unauthorized"
    changing = {"date"}
    assert {k: v for k, v in answer.headers.items() if k not in changing} == {
        k: v for k, v in expected.headers.items() if k not in changing
    }
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_that_is_revoked_while_it_is_used_is_refused_from_then_on(served: Served, source: str) -> None:
    token = await served.token(source, expires_at=datetime.now(UTC) + timedelta(hours=1))
    before = await served.post(token, to_bytes(established(source=source)))

    await served.execute("UPDATE sojourn.broker_token SET revoked_at = now() WHERE %s = ANY (sources)", [source])

    after = await served.post(token, to_bytes(destroyed(source=source)))
    assert (before.status_code, after.status_code) == (202, 401)
    assert len(await served.records(source)) == 1
    used = "SELECT last_used_at FROM sojourn.broker_token WHERE %s = ANY (sources)"
    assert (await served.execute(used, [source]))[0][0] is not None


PROBLEMS: Final = {
    "no media type": (415, "unsupported-media-type", b"{}", "", {}),
    "another media type": (415, "unsupported-media-type", b"{}", "application/json", {}),
    "xml in binary mode": (415, "unsupported-media-type", b"<x/>", "application/xml", {"ce-id": "1"}),
    "protobuf batch": (415, "unsupported-media-type", b"", "application/cloudevents-batch+protobuf", {}),
    "another charset": (415, "unsupported-media-type", b"{}", f"{STRUCTURED}; charset=utf-16", {}),
    "compressed": (415, "unsupported-media-type", b"{}", STRUCTURED, {"Content-Encoding": "gzip"}),
    "no array": (400, "malformed", b"{}", BATCH, {}),
    "cut array": (400, "malformed", b"[{}", BATCH, {}),
    "deep batch": (400, "malformed", b"[" * 100_000, BATCH, {}),
    "many items": (413, "too-many-items", b"[" + b"1," * bodies.ITEMS_MAX + b"1]", BATCH, {}),
    "large body": (413, "body-too-large", b" " * (bodies.BODY_BYTES_MAX + 1), STRUCTURED, {}),
}


@pytest.mark.parametrize("name", PROBLEMS)
async def test_a_request_that_is_no_events_is_a_problem_of_a_stable_type(
    served: Served, source: str, name: str
) -> None:
    status, kind, content, content_type, headers = PROBLEMS[name]
    token = await served.token(source)

    answer = await served.post(token, content, content_type, **headers)

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["status"]) == (f"urn:sojourn:problem:{kind}", status)
    assert problem["title"]
    assert await served.records(source) == []


async def test_unknown_paths_and_wrong_methods_are_problems_that_show_nothing_of_the_inside(served: Served) -> None:
    answers = [
        await served.client.get("/v2/events"),
        await served.client.get("/v1/commands/c-1"),
        await served.client.put("/v1/events"),
        await served.client.post("/v1/commands"),
        await served.client.get("/v1/events", headers={"Host": "a b"}),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 405, 405, 400]
    kinds = ["not-found", "not-found", "method-not-allowed", "method-not-allowed", "malformed"]
    assert [answer.json()["type"].rpartition(":")[2] for answer in answers] == kinds
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in answers)
    assert "POST" in answers[2].headers["allow"]


async def test_an_error_of_ours_tells_the_client_nothing_of_itself(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await served.token(source)

    async def fail(*_: object) -> None:
        raise RuntimeError("an inner secret")

    monkeypatch.setattr(served.gateway, "append", fail)
    with capture_logs() as lines:
        answer = await served.post(token, to_bytes(established(source=source)))

    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:sojourn:problem:internal"
    assert "secret" not in answer.text + str(answer.headers) + str(lines)
    assert [(line["event"], line["error"]) for line in lines] == [("http.failed", "RuntimeError")]


async def exchange(served: Served, *pieces: bytes) -> bytes:
    """Send raw bytes and return all that comes back until the server closes, or has answered once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        for piece in pieces:
            writer.write(piece)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        body = await reader.readexactly(length)
    writer.close()
    return head + body


def request(token: str, *headers: str, path: str = "/v1/events") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def test_a_body_that_says_its_length_in_two_ways_is_refused(served: Served, source: str) -> None:
    token = await served.token(source)
    content = to_bytes(established(source=source))
    kind = f"Content-Type: {STRUCTURED}"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)

    both = request(token, kind, f"Content-Length: {len(content)}", "Transfer-Encoding: chunked")
    twice = request(token, kind, "Content-Length: 5", f"Content-Length: {len(content)}")
    types = request(token, kind, "Content-Type: application/json", f"Content-Length: {len(content)}")
    answers = [
        await exchange(served, both, chunks),
        await exchange(served, twice, content),
        await exchange(served, types, content),
    ]

    assert [answer.split(b" ", 2)[1] for answer in answers] == [b"400"] * 3
    assert await served.records(source) == []
    assert b" 202 " in await exchange(served, request(token, kind, "Transfer-Encoding: chunked"), chunks)


async def test_a_body_without_an_end_is_refused_at_the_limit(served: Served, source: str) -> None:
    token = await served.token(source)
    head = request(token, f"Content-Type: {STRUCTURED}", "Transfer-Encoding: chunked")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"

    answer = await exchange(served, head, *[piece] * (bodies.BODY_BYTES_MAX // 0x10000 + 1))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"urn:sojourn:problem:body-too-large" in answer


async def test_a_body_that_is_said_to_be_too_large_is_refused_before_it_comes(served: Served, source: str) -> None:
    token = await served.token(source)

    answer = await exchange(served, request(token, f"Content-Type: {STRUCTURED}", "Content-Length: 99999999999"))

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_comes_too_slowly_is_given_up_and_frees_its_place(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS_MAX", 0.2)
    token = await served.token(source)

    answer = await exchange(served, request(token, f"Content-Type: {STRUCTURED}", "Content-Length: 100"), b"{")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert b"urn:sojourn:problem:slow-body" in answer
    assert not served.gateway.bodies._taken


async def test_a_token_that_asks_too_often_is_told_when_to_come_back_and_others_are_not(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUESTS_AT_ONCE_MAX", 2)
    monkeypatch.setattr(limits, "REQUESTS_PER_SECOND_MAX", 0.1)
    token, other = await served.token(source), await served.token(source)

    answers = [await served.post(token, to_bytes(established(source=source))) for _ in range(3)]
    of_other = await served.post(other, to_bytes(established(source=source)))

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["type"] == "urn:sojourn:problem:too-many-requests"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 10
    assert of_other.status_code == 202


async def test_a_bucket_fills_with_time_and_no_further_than_its_size() -> None:
    now = 0.0
    rate = limits.Rate(lambda: now)

    def spend_all() -> int:
        for spent in count():
            try:
                rate.spend("a")
            except Problem:
                return spent
        raise AssertionError

    at_first = spend_all()
    now = 1.0
    after_a_second = spend_all()
    now = 1000.0

    assert at_first == spend_all() == limits.REQUESTS_AT_ONCE_MAX
    assert after_a_second == limits.REQUESTS_PER_SECOND_MAX


async def test_one_token_cannot_hold_more_bodies_than_its_share(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.gateway.bodies, "_most", 1)
    token, other = await served.token(source), await served.token(source)
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(request(token, f"Content-Type: {STRUCTURED}", "Content-Length: 100"))
    await until(lambda: bool(served.gateway.bodies._taken))

    refused = await served.post(token, to_bytes(established(source=source)))
    of_other = await served.post(other, to_bytes(established(source=source)))
    writer.close()
    await until(lambda: not served.gateway.bodies._taken)

    assert (refused.status_code, of_other.status_code) == (429, 202)
    assert (await served.post(token, to_bytes(established(source=source)))).status_code == 202


async def test_no_token_is_logged_whatever_happens_to_it(
    served: Served, source: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    good, revoked = await served.token(source), await served.token(source, revoked_at=PAST)
    caplog.set_level(0)

    with capture_logs() as lines:
        for token in (good, revoked, new_token().token):
            await served.post(token, b"{")
            await served.client.get(f"/v1/commands?wait=0&token={token}", headers={"Authorization": token})
            await exchange(served, request(token, "Content-Length: x"))

    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    said = str(lines) + str(ours) + "".join(capfd.readouterr())
    assert all(token.rsplit("_", 1)[1] not in said for token in (good, revoked))
