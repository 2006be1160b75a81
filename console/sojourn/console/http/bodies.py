"""Reading what a request holds: headers that say one thing, bodies within limits, and the events in them."""

import asyncio
import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request

from sojourn.console.http.problems import Problem, malformed
from sojourn.events.codec import DEPTH_MAX, Undecodable
from sojourn.events.modes import ATTRIBUTE_PREFIX, CONTENT_TYPE, STRUCTURED, structured

BODY_BYTES_MAX: Final = 4 << 20  # four thousand events of brokers; Kafka takes 8 MiB at once
BODY_SECONDS_MAX: Final = 30.0  # a slow line brings 4 MiB in this time; who is slower holds a place for nothing
ITEMS_MAX: Final = 1000  # judged and routed in 12 ms, in which the server does nothing else

BATCH: Final = "application/cloudevents-batch+json"

_HEADER: Final = b"ce-"  # what CloudEvents' binding to HTTP begins the names of attributes with
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])

AnyRequest = Request[Any, Any, Any]


def header(request: AnyRequest, name: bytes) -> bytes | None:
    """Return the one header of this name; two are refused, since a proxy may have judged the other one."""
    values = headers(request, name)
    if len(values) > 1:
        raise malformed(f"more than one header {name.decode()}")
    return values[0] if values else None


def headers(request: AnyRequest, name: bytes) -> list[bytes]:
    """Return what all headers of this name say."""
    return [value for key, value in request.scope["headers"] if key.lower() == name]


async def read_body(request: AnyRequest, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Return the body, or raise the problem that it is too large, too slow, or framed in two ways."""
    length = header(request, b"content-length")
    if length is not None and header(request, b"transfer-encoding") is not None:
        raise malformed("both Content-Length and Transfer-Encoding")
    if length is not None and int(length) > bytes_max:
        raise _too_large(bytes_max)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            while True:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise malformed("the body was cut off")  # nobody is there to read it
                body += message["body"]
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
                if not message["more_body"]:
                    return bytes(body)
    except TimeoutError:
        detail = f"a body has to arrive within {BODY_SECONDS_MAX:g} seconds"
        raise Problem(408, "slow-body", "the body came too slowly", detail, {"Connection": "close"}) from None


def media_type(request: AnyRequest) -> str:
    """Return the media type of the body, empty for none; raises the problem of another encoding than UTF-8."""
    encoding = header(request, b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        raise unsupported("a body is sent without Content-Encoding")
    kind, _, parameters = (header(request, CONTENT_TYPE.encode()) or b"").decode("latin-1").partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]*)", parameters, re.IGNORECASE)
    if charset is not None and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise unsupported("JSON is sent as UTF-8")
    return kind.strip().lower()


def unsupported(detail: str) -> Problem:
    """Return the answer to a body of another kind."""
    return Problem(415, "unsupported-media-type", "a body of this kind is not read", detail)


def events_of(request: AnyRequest, kind: str, body: bytes) -> list[bytes | Undecodable]:
    """Return the events that a body of this media type holds, as structured JSON for `decode` to judge."""
    if kind == STRUCTURED:
        return [body]
    if kind == BATCH:
        return list(_batch(body))
    if any(name.lower().startswith(_HEADER) for name, _ in request.scope["headers"]):
        try:
            return [structured(body, tuple(_attributes(request).items()))]
        except Undecodable as error:
            if error.reason == "bad_content_type":
                raise unsupported(error.detail) from None
            return [error]
    raise unsupported(f"events are sent as {STRUCTURED}, as {BATCH}, or with headers ce-…")


def _batch(body: bytes) -> list[bytes]:
    try:
        items = _items.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise malformed("a batch is one JSON array of events") from None
    except RecursionError:
        raise malformed(f"JSON may be nested {DEPTH_MAX} deep") from None
    if len(items) > ITEMS_MAX:
        detail = f"a batch has {ITEMS_MAX} events at most: {len(items)}"
        raise Problem(413, "too-many-items", "too many events in one batch", detail)
    return [bytes(item) for item in items]


def _attributes(request: AnyRequest) -> dict[str, bytes]:
    """Return the headers of binary mode as they stand on a record of Kafka."""
    kept = {}
    for name in {name.lower() for name, _ in request.scope["headers"]}:
        if name.startswith(_HEADER):
            kept[ATTRIBUTE_PREFIX + name.removeprefix(_HEADER).decode("latin-1")] = _plain(header(request, name) or b"")
    content_type = header(request, CONTENT_TYPE.encode())
    return kept if content_type is None else {**kept, CONTENT_TYPE: content_type}


def _plain(value: bytes) -> bytes:
    """Undo how the binding to HTTP writes attributes: in quotes perhaps, and then with percent signs."""
    if _QUOTED.fullmatch(value):
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.DOTALL)
    return unquote_to_bytes(value)


def _too_large(bytes_max: int) -> Problem:
    return Problem(413, "body-too-large", "the body is too large", f"a body may have {bytes_max} bytes")
