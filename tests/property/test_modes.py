"""Binary mode says what structured mode says, and the independent reader agrees on every record with headers."""

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from sojourn.events.codec import Undecodable, decode, digest
from sojourn.events.log import Headers
from sojourn.events.modes import structured
from sojourn.events.types import Destroyed, Established, Event, type_name
from tests.model.reading import Reading, Refused, read
from tests.property.documents import broken, documents
from tests.property.test_codec import LOOKAHEAD_BYTES

CONTENT_TYPES = st.sampled_from(
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b"APPLICATION/JSON",
        b"application/vnd.acme+json",
        b"text/json",
        b"",
        b"avro/binary",
        b"application/cloudevents+json",
        b"application/cloudevents+json; charset=UTF-8",
        b"application/cloudevents-batch+json",
        b"application/cloudevents+avro",
        b"application/cloudevents",
        b"\xff",
    ]
)


def decoded(value: bytes, headers: Headers) -> Event | str:
    try:
        return decode(structured(value, headers))
    except Undecodable as refused:
        return refused.reason


def read_by_the_model(value: bytes, headers: Headers) -> Reading | str:
    try:
        return read(value, headers)
    except Refused as refused:
        return refused.reason


def to_binary(document: dict[str, Any]) -> tuple[bytes, Headers]:
    """Write an event as a producer of binary mode does: attributes as text, data as the value."""
    headers = [(f"ce_{name}", str(given).encode()) for name, given in document.items() if name != "data"]
    value = json.dumps(document["data"]).encode() if "data" in document else b""
    return value, (("content-type", b"application/json"), *headers)


@st.composite
def headers(draw: st.DrawFn) -> Headers:
    """Draw the headers of an event in binary mode, and what else may stand there."""
    _, given = to_binary(draw(documents()))
    names = draw(st.sampled_from([str.lower, str.lower, str.upper, str.title]))
    content_type = draw(st.lists(CONTENT_TYPES, max_size=2))
    others = draw(
        st.lists(st.sampled_from([("trace", b"\xff"), ("ce_x", b"\xff"), ("ce_data", b"1"), ("", b"")]), max_size=1)
    )
    kept = draw(st.sampled_from([given[1:], given[1:], given[1:3], ()]))
    return (*((names(name), text) for name, text in kept), *(("Content-Type", text) for text in content_type), *others)


@given(documents())
def test_an_event_is_the_same_in_binary_and_in_structured_mode(document: dict[str, Any]) -> None:
    document.pop("datacontenttype", None)
    assume(all(isinstance(given, str) for name, given in document.items() if name != "data"))
    whole = json.dumps(document).encode()

    one, other = decoded(whole, ()), decoded(*to_binary(document))

    if isinstance(one, Established | Destroyed):
        assert isinstance(other, Established | Destroyed)
        assert digest(other, structured(*to_binary(document))) == digest(one, whole)
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
    else:
        assert (other.id, other.source, other.time) == (one.id, one.source, one.time)
        assert getattr(other, "data", None) == getattr(one, "data", None)


@given(st.one_of(broken(), documents().map(lambda document: json.dumps(document.get("data")).encode())), headers())
def test_the_independent_reader_agrees_on_every_record_with_headers(value: bytes, given: Headers) -> None:
    found, expected = decoded(value, given), read_by_the_model(value, given)

    if (found, expected) == ("truncated_json", "not_json"):
        # The parser looks ahead by a few bytes: what is wrong only in the last of them passes for cut.
        cut = read_by_the_model(value[:-LOOKAHEAD_BYTES], given)
        assert cut in {"truncated_json", "not_utf8"} or len(value) <= LOOKAHEAD_BYTES
    elif isinstance(found, str) or isinstance(expected, str):
        assert found == expected
    else:
        assert (type_name(type(found)), found.id, found.source, found.time) == expected[:4]


@given(st.one_of(broken(), st.binary(max_size=40)), st.sampled_from(["trace", "content-typ", "ce-id", "ce"]))
def test_headers_of_others_change_nothing(value: bytes, name: str) -> None:
    assert structured(value, ((name, b"\xff"),)) is value


@given(st.one_of(broken(), st.binary(max_size=40)), st.sampled_from(["", "}", ',"id":"forged"']))
def test_no_value_can_say_more_than_data(value: bytes, ending: str) -> None:
    """What closes the document that the data is put into would write attributes of its own."""
    try:
        document = json.loads(structured(value + ending.encode(), (("ce_id", b"honest"),)))
    except (Undecodable, ValueError):
        return

    assert document["id"] == "honest"
    assert document.keys() == {"id", "data", "datacontenttype"}
