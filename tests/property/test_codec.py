"""The laws of the codec, on bytes that are nearly events, and its agreement with the independent reader."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from sojourn.events.codec import DETAIL_CHARACTERS_MAX, REASONS, Undecodable, decode, digest, encode, explain
from sojourn.events.types import Destroyed, Established, Event, type_name
from tests.model.reading import Reading, Refused, read
from tests.property.documents import EXAMPLES, broken, documents, spelled, with_doubled_names
from tests.unit.events import destroyed, established, with_data

LOOKAHEAD_BYTES = 6  # of an escape
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
              st.text(max_size=4)),
    lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(st.text(max_size=3), part, max_size=3)),
    max_leaves=6,
)  # fmt: skip


def decoded(value: bytes) -> Event | str:
    """Return the event, or the reason why there is none."""
    try:
        return decode(value)
    except Undecodable as refused:
        return refused.reason


def read_by_the_model(value: bytes) -> Reading | str:
    try:
        return read(value)
    except Refused as refused:
        return refused.reason


@given(broken())
def test_decoding_and_the_independent_reader_agree_on_every_reason_and_field(value: bytes) -> None:
    found, expected = decoded(value), read_by_the_model(value)

    if (found, expected) == ("truncated_json", "not_json"):
        # The parser looks ahead by a few bytes: what is wrong only in the last of them passes for cut.
        assert read_by_the_model(value[:-LOOKAHEAD_BYTES]) in {"truncated_json", "not_utf8"} or len(value) < 7
    elif isinstance(found, str) or isinstance(expected, str):
        assert found == expected
    else:
        assert (type_name(type(found)), found.id, found.source, found.time) == expected[:4]
        assert getattr(found, "tenant", None) == expected.tenant
        assert getattr(found, "subject", None) == expected.subject


@given(st.one_of(broken(), with_doubled_names(), st.binary(max_size=40)))
def test_decoding_succeeds_exactly_when_nothing_is_to_be_explained(value: bytes) -> None:
    found, explained = decoded(value), explain(value)

    assert isinstance(found, str) == (explained is not None)
    if explained is not None:
        assert found == explained.reason
        assert len(explained.detail) <= DETAIL_CHARACTERS_MAX
        assert "\0" not in explained.detail
        assert explained.reason in REASONS[: REASONS.index("bad_value") + 1]


@given(st.one_of(spelled(documents()), with_doubled_names()))
def test_what_decodes_survives_encoding_and_has_a_digest(value: bytes) -> None:
    event = decoded(value)

    if not isinstance(event, str):
        assert decode(encode(event)) == event
        if isinstance(event, Established | Destroyed):
            assert len(digest(event, value)) == 16


def content_digest(value: bytes) -> bytes:
    event = decode(value)
    assert isinstance(event, Established | Destroyed)
    return digest(event, value)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event that decodes, with fields that Sojourn does not know."""
    event = draw(
        st.sampled_from(
            [established(), destroyed(), established(subject="s-2"), established(time="2026-11-24T08:00:01Z")]
        )
    )
    unknown = draw(st.dictionaries(st.sampled_from(["x", "y", "client", "\0"]), JSON, max_size=2))
    return with_data(event, **{f"unknown {name}": value for name, value in unknown.items()})


@given(contents().flatmap(lambda event: st.tuples(*[spelled(st.just(event))] * 2)))
def test_two_spellings_of_one_event_have_one_digest(spellings: tuple[bytes, bytes]) -> None:
    one, other = spellings

    assert content_digest(one) == content_digest(other)


@given(contents(), contents())
@example(with_data(established(), x=True), with_data(established(), x=1))
@example(with_data(established(), x=[]), with_data(established(), x={}))
@example(with_data(established(), x=None), established())
def test_digests_are_equal_exactly_when_the_contents_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    values = [json.dumps(event).encode() for event in (one, other)]

    same = read(values[0]).content == read(values[1]).content

    assert (content_digest(values[0]) == content_digest(values[1])) == same


@given(st.sampled_from(EXAMPLES), st.integers(0, 2000))
def test_a_cut_example_is_never_read(value: bytes, length: int) -> None:
    cut = value[: length % len(value)]

    assert decoded(cut) in {"truncated_json", "not_utf8"} or cut == b""
