"""Fault 19: a producer is newer than the tracker, or older. Two versions of a schema, each read by the other."""

import json
from typing import Any, Final

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec import Struct

from sojourn.events.codec import decode
from sojourn.events.fields import Text
from sojourn.events.schemas import documents
from sojourn.events.types import Desktop, Established, Terminal, User
from tests.unit.events import destroyed, established, lines, with_data
from tests.unit.streams import folded, last, told


class NewerUser(User, frozen=True, gc=False, omit_defaults=True):
    """A user, as a later version may have it."""

    email: Text | None = None


class NewerData(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The data of `established`, as a later version may have them."""

    user: NewerUser
    desktop: Desktop
    terminal: Terminal
    client_ip: str
    protocol: Text
    access: str | None = None
    predecessor: str | None = None
    displays: list[int] = []


class NewerEstablished(Established, frozen=True, gc=False, kw_only=True, tag="sojourn.session.established.v1"):
    """`established`, as a later version may have it."""

    region: Text | None = None
    data: NewerData  # type: ignore[assignment] # that is the point


NEWER_SCHEMA: Final = Draft202012Validator(msgspec.json.schema(NewerEstablished))
SCHEMA: Final = Draft202012Validator(documents()["sojourn.session.established.v1.json"])
TODAYS: Final = [line for line in lines("examples") if b"session.established" in line]


def newer(**fields: Any) -> dict[str, Any]:
    user = {**established()["data"]["user"], "email": "ada@acme.example"}
    return with_data(established(region="eu", **fields), displays=[1920, 1080], user=user)


def test_an_event_with_fields_of_a_later_version_is_applied_and_shows_what_this_version_knows() -> None:
    ours, theirs = folded(established()), folded(newer())

    assert theirs.dispositions == {"applied": 1}
    of_content = {"digest": b"", "memory": b""}
    assert last(theirs) | of_content == last(ours) | of_content


def test_later_fields_of_data_are_content_and_later_attributes_are_not() -> None:
    projected = folded(established(sequence=1), established(region="eu"), newer(id="2", sequence=9))

    assert told(projected, "disposition") == [("applied",), ("duplicate",), ("late",)]


def test_both_versions_of_the_schema_take_the_events_of_both() -> None:
    assert msgspec.convert(newer(), NewerEstablished).data.displays == [1920, 1080]
    for event in [newer(), *map(json.loads, TODAYS)]:
        assert SCHEMA.is_valid(event)
        assert NEWER_SCHEMA.is_valid(event)


@pytest.mark.parametrize("line", TODAYS)
def test_a_later_version_reads_the_events_of_this_one(line: bytes) -> None:
    theirs, ours = msgspec.json.decode(line, type=NewerEstablished), decode(line)

    assert isinstance(ours, Established)
    assert (theirs.id, theirs.time, theirs.data.user.name) == (ours.id, ours.time, ours.data.user.name)


@pytest.mark.parametrize(
    "kind", ["sojourn.session.established.v2", "sojourn.session.paused.v1", "sojourn.tenant.renamed.v1"]
)
def test_an_event_of_a_later_type_is_a_dead_letter_with_its_session_and_the_others_flow(kind: str) -> None:
    projected = folded(established(), newer(type=kind, id="later"), destroyed())

    assert projected.dead_letters == [(1, "unknown_type")]
    assert projected.dispositions == {"applied": 2, "dead_letter": 1}
    assert last(projected)["outcome"] == "normal"
