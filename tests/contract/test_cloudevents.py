"""The CloudEvents SDK is the oracle: what it writes we read with equal fields, what we write it reads."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_binary_event,
    from_structured_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.conversion import to_json
from cloudevents.v1.http import CloudEvent as OlderCloudEvent
from cloudevents.v1.http import from_json

from sojourn.events.codec import decode, digest, encode
from sojourn.events.log import Headers
from sojourn.events.modes import structured
from sojourn.events.types import Destroyed, Established, Event, type_name
from tests.unit.events import lines

EXAMPLES = lines("examples")
BERLIN = timezone(timedelta(hours=1))


def attributes_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document's attributes as the SDK wants them."""
    attributes = {name: value for name, value in document.items() if name != "data"}
    return {**attributes, "time": datetime.fromisoformat(document["time"])}


def fields_of(event: Event) -> dict[str, Any]:
    """Return what we read, in builtins, as the SDK would name it."""
    fields: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(datetime,))
    return fields


def headers_of(message: KafkaMessage) -> Headers:
    """Return a message's headers as the log hands them over."""
    return tuple(message.headers.items())


def without_defaults(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document's data as we keep it; the examples hold only fields that we know."""
    return {name: value for name, value in document.get("data", {}).items() if value is not None}


@pytest.mark.parametrize("line", EXAMPLES)
def test_what_the_sdk_writes_we_read_with_equal_fields(line: bytes) -> None:
    document = json.loads(line)
    theirs = CloudEvent(attributes_of(document), document["data"])

    value = JSONFormat().write(theirs)
    ours = fields_of(decode(value))

    assert ours == {**attributes_of(document), "data": without_defaults(document)}


@pytest.mark.parametrize("line", EXAMPLES)
def test_what_we_write_the_sdk_reads_with_equal_fields(line: bytes) -> None:
    ours = decode(line)

    theirs = JSONFormat().read(None, encode(ours))

    assert isinstance(theirs, CloudEvent)
    assert theirs.get_type() == type_name(type(ours))
    assert (theirs.get_id(), theirs.get_source(), theirs.get_time()) == (ours.id, ours.source, ours.time)
    assert theirs.get_subject() == getattr(ours, "subject", None)
    assert theirs.get_extension("tenant") == getattr(ours, "tenant", None)
    assert theirs.get_extension("sequence") == ours.sequence
    assert theirs.get_data() == without_defaults(json.loads(line))


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_event_that_goes_through_the_sdk_keeps_its_content(line: bytes) -> None:
    event = decode(line)

    value = JSONFormat().write(JSONFormat().read(None, line))

    again = decode(value)
    assert again == event
    if isinstance(event, Established | Destroyed):
        assert isinstance(again, Established | Destroyed)
        assert digest(again, value) == digest(event, line)


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_sdks_kafka_message_holds_in_its_value_what_we_read(line: bytes) -> None:
    message = to_structured_event(JSONFormat().read(None, line), key_mapper=lambda _: "acme/s-1001")
    theirs = from_structured_event(message)

    assert message.headers["content-type"] == b"application/cloudevents+json"
    assert decode(structured(message.value, headers_of(message))) == decode(line)
    assert theirs.get_id() == decode(line).id


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_sdks_kafka_message_in_binary_mode_is_the_same_event(line: bytes) -> None:
    message = to_binary_event(JSONFormat().read(None, line), key_mapper=lambda _: "acme/s-1001")

    value = structured(message.value, headers_of(message))

    event, ours = decode(value), decode(line)
    assert event == ours
    if isinstance(ours, Established | Destroyed):
        assert isinstance(event, Established | Destroyed)
        assert digest(event, value) == digest(ours, line)


@pytest.mark.parametrize("line", EXAMPLES)
def test_what_we_put_together_from_binary_mode_the_sdk_reads_as_it_reads_the_message(line: bytes) -> None:
    message = to_binary_event(JSONFormat().read(None, line))

    theirs, again = from_binary_event(message), JSONFormat().read(None, structured(message.value, headers_of(message)))

    assert again.get_attributes() == theirs.get_attributes()
    assert again.get_data() == theirs.get_data()


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_sdks_older_interface_agrees_both_ways(line: bytes) -> None:
    document = json.loads(line)
    attributes = {name: value for name, value in document.items() if name != "data"}

    value = to_json(OlderCloudEvent(attributes, document["data"]))
    theirs = from_json(encode(decode(line)))

    assert decode(value) == decode(line)
    assert {name: theirs[name] for name in ("id", "source", "type")} == {
        name: document[name] for name in ("id", "source", "type")
    }
    assert datetime.fromisoformat(theirs["time"]) == decode(line).time
    assert theirs.data == without_defaults(document)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time", datetime(2026, 11, 24, 9, 0, 0, 120_001, tzinfo=BERLIN)),
        ("time", datetime(1, 1, 2, tzinfo=BERLIN)),
        ("sequence", 7),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("dataschema", "https://example.org/schema"),
        ("partitionkey", "acme/s-1001"),
    ],
)
def test_attributes_that_the_sdk_spells_its_own_way_are_read(name: str, value: Any) -> None:
    document = json.loads(EXAMPLES[0])
    theirs = CloudEvent({**attributes_of(document), name: value}, document["data"])

    ours = decode(JSONFormat().write(theirs))

    assert getattr(ours, name, value) == value
    assert ours.id == document["id"]


def test_the_sdk_chooses_id_and_time_and_we_read_them() -> None:
    document = json.loads(EXAMPLES[0])
    attributes = {name: value for name, value in document.items() if name in {"source", "type", "subject", "tenant"}}
    theirs = CloudEvent(attributes, document["data"])

    ours = decode(JSONFormat().write(theirs))

    assert (ours.id, ours.time) == (theirs.get_id(), theirs.get_time())
