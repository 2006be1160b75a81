"""Encoding, and what counts as the same content however it is spelled."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sojourn.events.codec import canonical_ip, decode, digest, encode, sequence_number
from sojourn.events.types import Destroyed, Established
from tests.unit.events import destroyed, established, lines, to_bytes, with_data


def digest_of(event: dict[str, Any] | bytes) -> bytes:
    value = event if isinstance(event, bytes) else to_bytes(event)
    decoded = decode(value)
    assert isinstance(decoded, Established | Destroyed)
    return digest(decoded, value)


@pytest.mark.parametrize("line", [*lines("examples"), *lines("real-rdp")[:20]])
def test_what_is_encoded_decodes_to_the_same_event(line: bytes) -> None:
    event = decode(line)

    assert decode(encode(event)) == event


def test_the_sequence_is_a_number_however_it_was_written() -> None:
    numbers = [sequence_number(decode(to_bytes(established(sequence=sequence)))) for sequence in ("7", 7, "007", None)]

    assert numbers == [7, 7, 7, None]


def test_the_instant_is_rounded_to_microseconds() -> None:
    event = decode(to_bytes(established(time="2026-11-24T10:00:00.1234565+02:00")))

    assert event.time == datetime(2026, 11, 24, 8, 0, 0, 123457, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.4.2.17", "10.4.2.17"),
        ("2001:DB8:0::0017", "2001:db8::17"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("::FFFF:a00:1", "::ffff:10.0.0.1"),
    ],
)
def test_an_address_has_one_spelling_on_every_python(text: str, canonical: str) -> None:
    assert canonical_ip(text) == canonical


SPELLINGS = [
    json.dumps(established(), indent=2).encode(),
    json.dumps(established(), sort_keys=True).encode(),
    json.dumps(established(), ensure_ascii=True).replace("Ada", "\\u0041da").encode(),
    to_bytes(established(time="2026-11-24T10:00:00.000000+02:00")),
    to_bytes(established(time="2026-11-24t08:00:00z")),
    to_bytes(established(id="other", source="/brokers/other", sequence="9", traceparent="00-1", extension=5)),
    to_bytes(established(tenant="globex")),  # never compared with another tenant's
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_digest_does_not_depend_on_how_the_same_content_is_spelled(spelling: bytes) -> None:
    assert digest_of(spelling) == digest_of(established())


@pytest.mark.parametrize("spelling", [b"10", b"10.0", b"1e1", b"100E-1", b"1.0e+1"])
def test_the_digest_does_not_depend_on_how_a_number_is_spelled(spelling: bytes) -> None:
    value = to_bytes(with_data(established(), more="?")).replace(b'"?"', spelling)

    assert digest_of(value) == digest_of(with_data(established(), more=10))


CHANGES = [
    established(subject="s-2"),
    established(time="2026-11-24T08:00:00.000001Z"),
    with_data(established(), user__name="ada"),
    with_data(established(), access="internal"),
    with_data(established(), client_ip="10.4.2.18"),
    with_data(established(), unknown=None),
    with_data(established(), unknown=1),
    with_data(established(), unknown=True),
    with_data(established(), unknown="1"),
    with_data(established(), unknown=1.5),
    with_data(established(), unknown=[1, 2]),
    with_data(established(), unknown=[2, 1]),
    with_data(established(), unknown={"a": {"b": 1}}),
    destroyed(),
]


def test_the_digest_depends_on_everything_that_is_content() -> None:
    digests = {digest_of(event) for event in [established(), *CHANGES]}

    assert len(digests) == len(CHANGES) + 1
    assert {len(digest) for digest in digests} == {16}


def test_instants_a_microsecond_apart_are_different_content_in_every_year() -> None:
    late = [established(time=f"9999-12-31T23:59:59.99999{digit}Z") for digit in range(10)]

    assert len({digest_of(event) for event in late}) == 10
