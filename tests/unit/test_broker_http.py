"""The SDK over HTTP against a server that says odd things: nothing is taken for acknowledged that was not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from sojourn.events.broker import connections, over_http
from sojourn.events.broker.transport import TryLater
from sojourn.events.broker.transports import Transport, http_transport
from sojourn.events.codec import encode
from sojourn.events.errors import Unreachable, UsageError
from tests.contract.broker_ways import SOURCE, requested

TOKEN = "sjb_0123456789abcdef_secret"  # noqa: S105 - nobody's

Reply = tuple[int, dict[str, str], Any]
Handler = Callable[[str, dict[str, str], bytes], Awaitable[Reply]]


def value(number: int) -> bytes:
    return msgspec.json.encode({"id": f"{number}"})


def results(*statuses: str, **fields: str) -> dict[str, Any]:
    listed = [{"id": f"{number}", "status": status, **fields} for number, status in enumerate(statuses)]
    return {"accepted": statuses.count("accepted"), "rejected": statuses.count("rejected"), "results": listed}


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve HTTP/1.1 as a handler says; `Connection: drop` in its reply closes the connection afterwards, unsaid."""
    tasks = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await read_head(reader):
                line, headers = head
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, said, document = await handler(line, headers, body)
                drop = said.pop("Connection", None) == "drop"
                content = document if isinstance(document, bytes) else msgspec.json.encode(document)
                lines = [f"HTTP/1.1 {status} Some", *(f"{name}: {text}" for name, text in said.items())]
                writer.write("\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content)
                await writer.drain()
                if drop:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    line, *fields = head.decode().split("\r\n")[:-2]
    return line, {name.lower(): text for name, _, text in (field.partition(": ") for field in fields)}


@asynccontextmanager
async def talking(handler: Handler, path: str = "") -> AsyncIterator[Transport]:
    async with serving(handler) as url:
        transport = http_transport(url + path, TOKEN)
        try:
            yield transport
        finally:
            await transport.close()


def always(status: int, document: Any, **headers: str) -> Handler:
    async def handler(_line: str, _headers: dict[str, str], _body: bytes) -> Reply:
        return status, dict(headers), document

    return handler


async def test_a_batch_is_posted_with_the_token_below_the_servers_path() -> None:
    asked = list[tuple[str, dict[str, str], bytes]]()

    async def handler(line: str, headers: dict[str, str], body: bytes) -> Reply:
        asked.append((line, headers, body))
        return 202, {}, results("accepted", "accepted")

    async with talking(handler, "/sojourn/") as transport:
        assert await transport.publish([value(0), value(1)]) == []

    ((line, headers, body),) = asked
    assert line == "POST /sojourn/v1/events HTTP/1.1"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["content-type"] == "application/cloudevents-batch+json"
    assert body == b"[" + value(0) + b"," + value(1) + b"]"


@pytest.mark.parametrize("status", [202, 422])
async def test_rejected_items_are_told_apart_from_accepted_ones(status: int) -> None:
    said = results("rejected", "accepted", "rejected", reason="tenant_mismatch", detail="not yours")

    async with talking(always(status, said)) as transport:
        rejections = await transport.publish([value(0), value(1), value(2)])

    assert rejections == [(value(0), "tenant_mismatch", "not yours"), (value(2), "tenant_mismatch", "not yours")]


async def test_a_body_that_is_refused_is_halved_down_to_the_event_to_blame() -> None:
    sizes = list[int]()

    async def handler(_line: str, _headers: dict[str, str], body: bytes) -> Reply:
        items = msgspec.json.decode(body)
        sizes.append(len(items))
        if any(item["id"] == "5" for item in items):
            return 413, {}, {"title": "too large", "detail": "a body may have 9 bytes"}
        return 202, {}, {"results": [{"id": item["id"], "status": "accepted"} for item in items]}

    async with talking(handler) as transport:
        rejections = await transport.publish([value(number) for number in range(8)])

    assert rejections == [(value(5), "request_entity_too_large", "a body may have 9 bytes")]
    assert sizes == [8, 4, 4, 2, 1, 1, 2]


@pytest.mark.parametrize(
    ("status", "document", "headers", "told"),
    [
        (401, {"title": "no valid token"}, {}, "401: no valid token"),
        (403, b"<html>", {}, "403: Forbidden"),
        (404, {}, {}, "404: Not Found"),
        (301, b"", {"Location": "https://elsewhere.example/"}, "301: Moved Permanently"),
        (500, {"title": "an error", "detail": "where"}, {}, "500: where"),
        (200, results("accepted"), {}, "200: OK"),
        (202, b"not JSON", {}, "not what Sojourn would say"),
        (202, {"results": [{"id": "0", "status": "perhaps"}]}, {}, "not what Sojourn would say"),
        (202, results(), {}, "answers for 0 events, and was sent: 1"),
        (202, {"results": [{"id": "9", "status": "rejected"}]}, {}, "rejects an event that it was not sent: '9'"),
    ],
)
async def test_nothing_else_is_an_acknowledgement(
    status: int, document: Any, headers: dict[str, str], told: str
) -> None:
    async with talking(always(status, document, **headers)) as transport:
        with pytest.raises(Unreachable) as raised:
            await transport.publish([value(0)])

    assert told in str(raised.value)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(("status", "header", "seconds"), [(429, "7", 7.0), (503, "86400", 300.0)])
async def test_a_server_that_asks_for_patience_gets_some(status: int, header: str, seconds: float) -> None:
    async with talking(always(status, {"title": "later"}, **{"Retry-After": header})) as transport:
        with pytest.raises(TryLater) as raised:
            await transport.publish([value(0)])

    assert raised.value.seconds == seconds


async def test_an_idle_connection_that_the_server_closed_costs_no_error() -> None:
    async with talking(always(202, results("accepted"), Connection="drop")) as transport:
        for _ in range(5):
            assert await transport.publish([value(0)]) == []


async def test_an_answer_that_is_cut_off_or_endless_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER_BYTES_MAX", 10)

    async with talking(always(202, results("accepted"))) as transport:
        with pytest.raises(Unreachable, match="more than 10 bytes"):
            await transport.publish([value(0)])


async def test_a_server_that_is_not_there_is_told_by_its_address() -> None:
    async with serving(always(202, {})) as url:
        pass
    transport = http_transport(url, TOKEN)

    with pytest.raises(Unreachable, match=rf"^Sojourn does not answer \([^\n]+\): {url}$"):
        await transport.publish([value(0)])

    await transport.close()
    with pytest.raises(Unreachable, match="closed"):
        await transport.publish([value(0)])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sojourn.example",
        "ftp://sojourn.example",
        "http://",
        "http://a:b",
        "https://a?b=c",
        "https://u:p@a",
        "http://[x",
    ],
)
def test_an_address_of_no_server_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match=r"^the server's address is like https://[^\n]*$"):
        http_transport(url, TOKEN)


@pytest.mark.parametrize("token", ["", "two words", "a\r\nX-Header: b", "ž"])
def test_what_can_be_no_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(UsageError) as raised:
        http_transport("https://sojourn.example", token)

    assert not token or token not in str(raised.value)


async def test_commands_listed_again_do_not_turn_the_poll_into_a_busy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_http, "PAUSE_SECONDS", 0.2)
    polls, mine, other = list[str](), requested("mine"), requested("other", broker="/brokers/us-1")

    async def handler(line: str, _headers: dict[str, str], _body: bytes) -> Reply:
        polls.append(line)
        return 200, {}, b'{"commands": [{"type": "x"}, %s, %s]}' % (encode(mine), encode(other))

    async with talking(handler) as transport:
        stream = transport.commands(SOURCE)
        loop = asyncio.get_running_loop()
        began = loop.time()

        commands = [await anext(stream) for _ in range(3)]
        took = loop.time() - began
        await stream.aclose()

    assert commands == [mine] * 3
    assert set(polls) == {"GET /v1/commands?wait=30 HTTP/1.1"}
    assert took >= 0.2, "the second listing brought nothing new"


@pytest.mark.parametrize(("status", "document"), [(401, {}), (200, b"[]"), (503, {"title": "later"})])
async def test_a_poll_that_fails_is_told(status: int, document: Any) -> None:
    async with talking(always(status, document)) as transport:
        with pytest.raises(Unreachable):
            await anext(transport.commands(SOURCE))


async def test_closing_ends_a_poll_that_waits() -> None:
    polled = asyncio.Event()

    async def handler(_line: str, _headers: dict[str, str], _body: bytes) -> Reply:
        polled.set()
        await asyncio.Event().wait()
        return 200, {}, {"commands": []}

    async with serving(handler) as url, asyncio.timeout(20):
        transport = http_transport(url, TOKEN)
        polling = asyncio.ensure_future(anext(transport.commands(SOURCE)))
        await polled.wait()

        await transport.close()

        with pytest.raises(Unreachable):
            await polling
