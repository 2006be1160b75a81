"""The schemas are those of the types, say what the codec says, and their files are up to date."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator, FormatChecker

from sojourn.events.codec import Undecodable, decode
from sojourn.events.schemas import ASYNCAPI, documents, to_text
from sojourn.events.types import EVENT_TYPES, HeartbeatEvent, type_name
from tests.property.documents import documents as mutated_documents
from tests.unit.events import (
    alive,
    destroyed,
    established,
    gap_accepted,
    heartbeat,
    heartbeats,
    lines,
    source_bound,
    to_bytes,
    with_data,
    without,
)
from tests.unit.tree import ROOT

FOLDER = ROOT / "docs/schemas"
SCHEMAS = {name: schema for name, schema in documents().items() if name != ASYNCAPI}
VALIDATORS = {
    name: Draft202012Validator(schema, format_checker=FormatChecker(["ipv4", "ipv6"]))
    for name, schema in SCHEMAS.items()
}


def fits(document: Any) -> bool:
    """Tell whether a document fits the schema of its type."""
    name = document.get("type") if isinstance(document, dict) else None
    validator = VALIDATORS.get(f"{name}.json") if isinstance(name, str) else None
    return validator is not None and validator.is_valid(document)


def test_the_files_are_those_that_the_types_give() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}

    assert files == {name: to_text(document) for name, document in documents().items()}, (
        "run: python -m sojourn.events.schemas docs/schemas"
    )


def test_the_module_writes_all_documents_into_the_folder_it_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "schemas"

    subprocess.run([sys.executable, "-m", "sojourn.events.schemas", str(folder)], check=True)

    assert {path.name for path in folder.iterdir()} == documents().keys()


def test_the_module_says_how_to_call_it() -> None:
    done = subprocess.run([sys.executable, "-m", "sojourn.events.schemas"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "usage: python -m sojourn.events.schemas DIR\n")


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_a_valid_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


def test_every_event_type_has_its_schema() -> None:
    assert SCHEMAS.keys() == {f"{type_name(kind)}.json" for kind in EVENT_TYPES}


@pytest.mark.parametrize("line", [*lines("examples"), *lines("real-rdp")[:10]])
def test_every_example_fits_the_schema_of_its_type(line: bytes) -> None:
    assert fits(json.loads(line))


WRONG = [
    without(established(), "tenant"),
    without(established(), "data.user.name"),
    established(tenant="../etc"),
    established(subject=""),
    established(subject="a\u0085"),
    established(id="a\nb"),
    established(sequence="one"),
    established(time=5),
    with_data(established(), client_ip="999.1.1.1"),
    with_data(established(), user__name="\0"),
    with_data(established(), terminal__type="toaster"),
    with_data(destroyed(), reason="boredom"),
    with_data(heartbeat(), idle_seconds=-1),
    with_data(heartbeat(), client_ip="x"),
    with_data(heartbeats(), sessions=[""]),
    with_data(alive(), sessions=2**31),
    with_data(source_bound(), partitioner="fnv1a"),
    with_data(source_bound(), source=""),
    with_data(source_bound(), source="a\nb"),
    without(source_bound(), "data"),
    with_data(gap_accepted(), topic="sojourn.heartbeats"),
    with_data(gap_accepted(), from_offset=-1),
    with_data(gap_accepted(), to_offset=2**63),
    without(gap_accepted(), "data.who"),
]


@pytest.mark.parametrize("document", WRONG)
def test_what_the_codec_refuses_in_a_document_the_schema_refuses_too(document: dict[str, Any]) -> None:
    with pytest.raises(Undecodable):
        decode(to_bytes(document))

    assert not fits(document)


@given(mutated_documents())
def test_what_the_codec_reads_the_schema_allows(document: Any) -> None:
    value = json.dumps(document).encode(errors="surrogatepass")
    try:
        decode(value)
    except Undecodable:
        return

    present = {
        name: given for name, given in document.items() if given is not None
    }  # null is not there, by CloudEvents
    assert fits(present)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


@pytest.mark.parametrize("name", documents())
def test_every_reference_leads_to_something_in_the_same_document(name: str) -> None:
    document = documents()[name]

    found = list(references(document))

    assert found
    for reference in found:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]


def test_the_asyncapi_document_has_every_type_in_the_channel_that_holds_it() -> None:
    document = documents()[ASYNCAPI]

    messages = document["components"]["messages"]
    in_channels = {
        channel["address"]: {messages[name]["name"] for name in channel["messages"]}
        for channel in document["channels"].values()
    }

    beats = {type_name(kind) for kind in get_args(HeartbeatEvent)}
    assert document["asyncapi"] == "3.0.0"
    assert in_channels == {
        "sojourn.lifecycle": {type_name(kind) for kind in EVENT_TYPES} - beats,
        "sojourn.heartbeats": beats,
        "sojourn.commands": {"sojourn.session.disconnect_requested.v1"},
    }
    assert messages.keys() == {name for channel in document["channels"].values() for name in channel["messages"]}


def test_a_command_is_keyed_by_its_session_in_lifecycle_and_by_its_broker_in_commands() -> None:
    channels, messages = documents()[ASYNCAPI]["channels"], documents()[ASYNCAPI]["components"]["messages"]

    (of_broker,) = channels["commands"]["messages"]
    keys = [messages[name]["bindings"]["kafka"]["key"] for name in ("DisconnectRequested", of_broker)]

    assert ["tenant/session" in keys[0]["description"], "data.broker" in keys[1]["description"]] == [True, True]
