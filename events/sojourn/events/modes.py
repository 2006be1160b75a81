"""The content modes of CloudEvents over Kafka: what stands in headers and value is put together as structured JSON."""

from typing import Any, Final

import msgspec

from sojourn.events.codec import Undecodable, explain
from sojourn.events.log import Headers

ATTRIBUTE_PREFIX: Final = "ce_"
CONTENT_TYPE: Final = "content-type"
STRUCTURED: Final = "application/cloudevents+json"

# What Sojourn appends: by this the Kafka binding knows the mode, and the SDK for Java refuses what says nothing.
STRUCTURED_HEADERS: Final[Headers] = ((CONTENT_TYPE, f"{STRUCTURED}; charset=UTF-8".encode()),)

_CLOUDEVENTS: Final = "application/cloudevents"  # how the content types of all modes but binary begin
_BATCH: Final = "application/cloudevents-batch"
_raw: Final = msgspec.json.Decoder(msgspec.Raw)


def structured(value: bytes, headers: Headers) -> bytes:
    """Return a record's event as structured JSON: its value, or in binary mode that and the headers as one document.

    The document is for `decode` to judge; raises `Undecodable` where there can be none.
    """
    if not headers or headers == STRUCTURED_HEADERS:
        return value
    named = {name.lower(): text for name, text in headers}
    content_type = _text(CONTENT_TYPE, named[CONTENT_TYPE]) if named.get(CONTENT_TYPE) else None
    media_type = "" if content_type is None else content_type.partition(";")[0].strip().lower()
    if media_type.startswith(_CLOUDEVENTS):
        if media_type != STRUCTURED:
            raise Undecodable("bad_content_type", f"{_advice(media_type)}: {content_type!r}")
        return value
    attributes: dict[str, Any] = {
        name.removeprefix(ATTRIBUTE_PREFIX): _text(name, text)
        for name, text in named.items()
        if name.startswith(ATTRIBUTE_PREFIX)
    }
    if not attributes:
        return value
    if media_type not in ("", "application/json", "text/json") and not media_type.endswith("+json"):
        raise Undecodable("bad_content_type", f"data in binary mode is application/json, not: {content_type!r}")
    attributes["datacontenttype"] = content_type or attributes.get("datacontenttype")
    attributes["data"] = _data(value)
    return msgspec.json.encode(attributes)


def _advice(media_type: str) -> str:
    if media_type.startswith(_BATCH):
        return "a record of Kafka holds one event, so publish each of a batch by itself"
    return f"the event format that is read is {STRUCTURED}"


def _text(name: str, header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError as error:
        raise Undecodable("not_utf8", f"the byte at {error.start} of the header {name!r} is not UTF-8") from None


def _data(value: bytes) -> msgspec.Raw | None:
    """Return the value if it is one JSON value: it must not end the document that it is put into."""
    if not value:
        return None
    try:
        return _raw.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise explain(value) or Undecodable("not_json", "the data is not one JSON value") from None
