"""Content modes of CloudEvents over Kafka: what becomes of headers, and what is said where nothing can."""

import json

import pytest

from sojourn.events.codec import Undecodable, decode
from sojourn.events.log import Headers
from sojourn.events.modes import structured
from sojourn.events.types import Alive, Established
from tests.unit.events import alive, established, to_bytes

ATTRIBUTES: Headers = tuple(
    (f"ce_{name}", str(text).encode()) for name, text in established().items() if name != "data"
)
DATA = json.dumps(established()["data"]).encode()


def refused(value: bytes, headers: Headers) -> tuple[str, str]:
    with pytest.raises(Undecodable) as caught:
        decode(structured(value, headers))
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    "content_type",
    [(), (("content-type", b"application/json"),), (("Content-Type", b"application/vnd.acme+json; charset=utf-8"),)],
)
def test_attributes_come_from_headers_and_data_from_the_value(content_type: Headers) -> None:
    event = decode(structured(DATA, (*ATTRIBUTES, *content_type)))

    assert isinstance(event, Established)
    assert (event.tenant, event.subject, event.data.user.name) == ("acme", "s-1", "Ada")
    assert event.datacontenttype == (content_type[0][1].decode() if content_type else None)


def test_an_empty_value_is_an_event_without_data() -> None:
    headers = tuple((f"ce_{name}", str(text).encode()) for name, text in alive().items() if name != "data")

    event = decode(structured(b"", headers))

    assert isinstance(event, Alive)
    assert event.data is None


def test_text_in_headers_is_utf8_and_may_hold_anything_that_json_may() -> None:
    headers = dict(ATTRIBUTES) | {"ce_id": 'Žofie "王"'.encode()}

    assert decode(structured(DATA, tuple(headers.items()))).id == 'Žofie "王"'


@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
def test_structured_mode_is_named_by_its_content_type_and_ignores_attributes_in_headers(name: str) -> None:
    value = to_bytes(established())

    assert structured(value, ((name, b"application/cloudevents+json; charset=UTF-8"), ("ce_id", b"7"))) is value


def test_a_batch_is_refused_with_what_to_do() -> None:
    reason, detail = refused(b"[]", (("content-type", b"application/cloudevents-batch+json"),))

    assert reason == "bad_content_type"
    assert "publish each of a batch by itself" in detail
    assert detail.endswith("'application/cloudevents-batch+json'")


@pytest.mark.parametrize("content_type", [b"application/cloudevents+avro", b"application/cloudevents+protobuf"])
def test_another_event_format_is_refused_with_the_one_that_is_read(content_type: bytes) -> None:
    reason, detail = refused(b"\0", (("content-type", content_type),))

    assert reason == "bad_content_type"
    assert "application/cloudevents+json" in detail
    assert content_type.decode() in detail


@pytest.mark.parametrize("content_type", [b"avro/binary", b"text/plain", b"application/octet-stream"])
def test_data_that_is_no_json_is_refused_with_its_content_type(content_type: bytes) -> None:
    reason, detail = refused(DATA, (*ATTRIBUTES, ("content-type", content_type)))

    assert (reason, content_type.decode() in detail) == ("bad_content_type", True)


def test_a_header_that_is_no_utf8_is_named() -> None:
    reason, detail = refused(DATA, (("ce_id", b"a\xff"), *ATTRIBUTES[2:]))

    assert (reason, "the byte at 1 of the header 'ce_id'" in detail) == ("not_utf8", True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (DATA[:-1], "truncated_json"),
        (DATA + b"}", "not_json"),
        (DATA + b',"subject":"other"', "not_json"),
        (b"\xff", "not_utf8"),
        (b"[" * 200_000, "too_deep"),
        (b"[" * 64 + b"]" * 64, "too_deep"),
        (b" " * (2 << 20), "too_large"),
        (b"[]", "bad_value"),
        (b"", "missing_field"),
    ],
)
def test_data_is_judged_as_it_is_in_structured_mode(value: bytes, reason: str) -> None:
    assert refused(value, ATTRIBUTES)[0] == reason


def test_a_dead_letter_of_binary_mode_names_its_tenant_and_session() -> None:
    headers = dict(ATTRIBUTES) | {"ce_time": b"yesterday"}

    with pytest.raises(Undecodable) as caught:
        decode(structured(DATA, tuple(headers.items())))

    assert (caught.value.reason, caught.value.tenant, caught.value.session_id) == ("bad_time", "acme", "s-1")
