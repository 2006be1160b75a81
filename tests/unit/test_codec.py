"""What the contract says of single events: which are read, which reason the others get, and what counts as the same."""

import json
from typing import Any

import pytest

from sojourn.events import codec
from sojourn.events.codec import REASONS, Undecodable, decode, explain
from sojourn.events.types import Alive, Destroyed, Established, Heartbeat, Heartbeats
from tests.unit.events import (
    TIME,
    alive,
    destroyed,
    established,
    heartbeat,
    heartbeats,
    lines,
    to_bytes,
    with_data,
    without,
)


def reason_of(value: bytes) -> str | None:
    """Return the reason for refusing the bytes, None for an event; both ways to ask must agree."""
    try:
        decode(value)
    except Undecodable as refused:
        reason: str | None = refused.reason
    else:
        reason = None
    explained = explain(value)
    assert (explained and explained.reason) == reason
    return reason


# --- the files of the contract ----------------------------------------------------------------------------------------


def test_all_fourteen_examples_decode_to_their_types() -> None:
    kinds = [type(decode(line)) for line in lines("examples")]

    assert kinds == [
        Established, Established, Heartbeat, Heartbeat, Established, Heartbeat, Destroyed, Destroyed, Established,
        Established, Heartbeats, Alive, Established, Destroyed,
    ]  # fmt: skip


def test_the_record_of_a_real_server_decodes_whole() -> None:
    kinds = [type(decode(line)) for line in lines("real-rdp")]

    assert (len(kinds), kinds.count(Established), kinds.count(Destroyed)) == (233, 126, 107)


def test_every_bad_line_has_its_own_reason_but_the_conflict_which_only_the_fold_can_see() -> None:
    reasons = [reason_of(line) for line in lines("bad")]

    assert reasons == [
        "not_json", "truncated_json", "not_utf8", "unknown_type", "bad_time", "missing_field", "bad_value", "bad_ip",
        None, "bad_subject", "bad_tenant", "too_deep",
    ]  # fmt: skip


def test_an_event_cut_anywhere_is_truncated_or_ends_within_a_character() -> None:
    value = lines("examples")[9]
    whole = {length for length in range(1, len(value)) if value[length] & 0xC0 != 0x80}

    reasons = {length: reason_of(value[:length]) for length in range(1, len(value))}

    assert {length for length, reason in reasons.items() if reason == "truncated_json"} == whole
    assert {reasons[length] for length in reasons.keys() - whole} == {"not_utf8"}


# --- reasons, one by one ----------------------------------------------------------------------------------------------

MIB = 1024 * 1024


def padded(length: int) -> bytes:
    value = to_bytes(established())
    return value + b" " * (length - len(value))


def nested(depth: int) -> dict[str, Any]:
    """Return an event whose brackets stand `depth` deep; data is the second of them."""
    deep: list[Any] = []
    for _ in range(depth - 3):
        deep = [deep]
    return with_data(established(), more=deep)


BYTES = {
    "too_large": [padded(MIB + 1), b"\xff" * (MIB + 1)],
    "not_utf8": [b"\xff", to_bytes(established()).replace(b"Ada", b"\xed\xa0\x80"), b'{"a": "\xc0\x80"}'],
    "too_deep": [to_bytes(nested(65)), b"[" * 65, b'{"a":' * 65, b"]" * 9 + b"[" * 80],
    "truncated_json": [
        b'{"a"', b'{"a": tru', b'{"a": -', b'{"a": 1.', b'{"a": 1e+', b'{"a": "\\', b'{"a": "\\u00', b'["x',
        b"[1,", b"{",
    ],
    "not_json": [
        b"", b" \n", b"nothing", b"{]", b"[1,]", b"{} {}", b"[]", b"null", b"12", b'"text"', b"{'a': 1}", b'{"a": NaN}',
        b'{"a": 01}', b'{"a": "\\x"}', b'{"a": "\x01"}', b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}', b"\xef\xbb\xbf{}",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "value"), [(reason, value) for reason, values in BYTES.items() for value in values])
def test_bytes_that_hold_no_document_have_their_reason(reason: str, value: bytes) -> None:
    assert reason_of(value) == reason


REQUIRED = [
    *((established(), path) for path in (
        "specversion", "id", "source", "type", "time", "tenant", "subject", "data", "data.user", "data.user.id",
        "data.user.name", "data.desktop", "data.desktop.id", "data.desktop.name", "data.desktop.pool", "data.terminal",
        "data.terminal.type", "data.terminal.os", "data.terminal.version", "data.terminal.name", "data.client_ip",
        "data.protocol",
    )),
    *((destroyed(), path) for path in ("time", "tenant", "subject", "data", "data.reason")),
    *((heartbeat(), path) for path in ("specversion", "id", "source", "time", "tenant", "subject")),
    *((heartbeats(), path) for path in ("time", "tenant", "data", "data.sessions")),
    *((alive(), path) for path in ("specversion", "id", "source", "type", "time")),
]  # fmt: skip


@pytest.mark.parametrize(("event", "path"), REQUIRED)
def test_each_required_field_is_missed_and_named_also_when_it_is_null(event: dict[str, Any], path: str) -> None:
    missing = without(event, path)
    null = json.loads(json.dumps(event))
    *parents, last = path.split(".")
    holder = null
    for parent in parents:
        holder = holder[parent]
    holder[last] = None

    explained = explain(to_bytes(missing))

    assert reason_of(to_bytes(missing)) == "missing_field"
    assert reason_of(to_bytes(null)) == "missing_field"
    assert explained is not None
    assert path in explained.detail


OPTIONAL = [
    heartbeat(data=None), without(heartbeat(), "data"), alive(data=None), without(alive(), "data"),
    with_data(established(), access=None, predecessor=None), with_data(destroyed(), detail=None, command=None),
    with_data(heartbeat(), idle_seconds=None, round_trip_ms=None, client_ip=None),
    with_data(heartbeats(), details={"s-1": {"client_ip": None}}),
    established(sequence=None, sequencetype=None, traceparent=None, datacontenttype=None),
]  # fmt: skip


@pytest.mark.parametrize("event", OPTIONAL)
def test_optional_fields_may_be_missing_or_null(event: dict[str, Any]) -> None:
    assert reason_of(to_bytes(event)) is None


BAD: dict[str, list[dict[str, Any]]] = {
    "unknown_type": [established(type="sojourn.session.exploded.v1"), established(type=""), established(type=5)],
    "bad_tenant": [
        *(established(tenant=tenant) for tenant in ("", "Acme", "-a", "a_b", "a" * 64, "acme\n", "ä", 5, ["acme"])),
        heartbeats(tenant="../etc"),
    ],
    "bad_subject": [
        *(established(subject=subject) for subject in ("", "x" * 201, "a\nb", "a\x7f", "a\u0085", "\0", 5)),
        heartbeat(subject=""),
        destroyed(subject="x" * 201),
    ],
    "bad_time": [
        *(established(time=time) for time in (
            "yesterday", "", "2026-11-24", "2026-11-24T08:00:00", "2026-02-30T08:00:00Z", "2026-11-24T25:00:00Z",
            "2026-11-24T08:00:60Z", "2026-11-24T08:00:00+24:00", "0000-01-01T00:00:00Z", 1795507200,
            "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
        )),
        alive(time="now"),
    ],
    "bad_ip": [
        *(with_data(established(), client_ip=ip) for ip in (
            "999.1.1.1", "", "localhost", "10.0.0.1/8", "10.0.0.01", "fe80::1%eth0", "1:2", " 10.0.0.1", 5,
            "1" * 100_000,
        )),
        with_data(heartbeat(), client_ip="x"),
        with_data(heartbeats(), details={"s-1": {"client_ip": "x"}}),
    ],
    "bad_value": [
        established(specversion="0.3"),
        established(id=""), established(id=5), established(id="x" * 1001), established(id="a\nb"),
        established(id="a\0b"), established(source=""), established(source="/a\x1f"),
        *(established(sequence=sequence) for sequence in (
            "", "one", "1.0", "+1", " 1", "1_0", 1.5, True, 2**63, -(2**63), "9" * 19, "1" * 20, [1],
        )),
        established(sequencetype="Float"), established(traceparent="x" * 1001), established(datacontenttype="\0"),
        established(data=5), established(data=[]), established(data="{}"),
        with_data(established(), user=5), with_data(established(), user__id=""),
        with_data(established(), user__id="\t"),
        with_data(established(), user__name="\0"), with_data(established(), user__name="x" * 1001),
        with_data(established(), desktop__id="x" * 201), with_data(established(), desktop__pool=5),
        with_data(established(), terminal__type="toaster"), with_data(established(), terminal__type=5),
        with_data(established(), protocol="\0"), with_data(established(), access="secret"),
        with_data(established(), predecessor=""), with_data(established(), predecessor="a\u009fb"),
        with_data(destroyed(), reason="boredom"), with_data(destroyed(), reason=""), with_data(destroyed(), command=""),
        with_data(destroyed(), detail="a\0b"), with_data(destroyed(), detail=5),
        with_data(heartbeat(), idle_seconds=-1), with_data(heartbeat(), idle_seconds=2**31),
        with_data(heartbeat(), round_trip_ms=1.5), with_data(heartbeat(), round_trip_ms="5"),
        with_data(heartbeats(), sessions=[""]), with_data(heartbeats(), sessions=["a\nb"]),
        with_data(heartbeats(), sessions="s-1"), with_data(heartbeats(), sessions=["s"] * 10_001),
        with_data(heartbeats(), details={"s-1": {"idle_seconds": -1}}), with_data(heartbeats(), details={"a\0": {}}),
        with_data(heartbeats(), details={"s-1": None}), with_data(heartbeats(), details=[]),
        with_data(alive(), sessions=-1), with_data(alive(), interval_seconds="10"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "event"), [(reason, event) for reason, events in BAD.items() for event in events])
def test_a_document_that_breaks_one_rule_has_that_rules_reason(reason: str, event: dict[str, Any]) -> None:
    assert reason_of(to_bytes(event)) == reason
    assert reason_of(json.dumps(event, ensure_ascii=False).encode()) == reason


GOOD = [
    *(established(tenant=tenant) for tenant in ("0", "a-", "a" * 63)),
    *(established(subject=subject) for subject in ("x" * 200, "😀" * 200, " ", "a/b", "ж")),
    *(established(time=time) for time in (
        "2026-11-24t08:00:00z", "2026-11-24T08:00:00.123456789Z", "2026-11-24T08:00:00-00:00", "2026-11-24 08:00:00Z",
        "2026-11-24T08:00:00+23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
    )),
    *(with_data(established(), client_ip=ip) for ip in ("0.0.0.0", "::", "2001:DB8::17", "::ffff:10.0.0.1")),  # noqa: S104
    *(established(sequence=sequence) for sequence in ("0", "-1", "007", 0, 2**63 - 1, str(2**63 - 1), -(2**63) + 1)),
    established(id="x" * 1000), established(source="x" * 1000), established(unknown={"deep": [1, "\0"]}),
    with_data(established(), user__name=""), with_data(established(), user__name="x" * 1000),
    with_data(established(), user__name="line\nbreak"), with_data(established(), unknown="\0", access="public"),
    with_data(destroyed(), client_ip="not an address"), with_data(destroyed(), detail="\\u0000"),
    with_data(established(), details={"s": {"client_ip": "no address either"}}),
    with_data(heartbeat(), idle_seconds=0, round_trip_ms=2**31 - 1, client_ip="::1"),
    with_data(heartbeats(), sessions=[]), with_data(heartbeats(), sessions=["s"] * 10_000),
    with_data(heartbeats(), details={"not listed": {}}), nested(64), with_data(established(), more=[10**4299, 1e308]),
]  # fmt: skip


@pytest.mark.parametrize("event", GOOD)
def test_what_lies_just_within_the_rules_is_read(event: dict[str, Any]) -> None:
    assert reason_of(to_bytes(event)) is None
    assert reason_of(json.dumps(event, ensure_ascii=False).encode()) is None


def test_a_record_of_exactly_one_mebibyte_is_read() -> None:
    assert reason_of(padded(MIB)) is None


def test_an_integer_too_long_for_python_is_a_bad_value_wherever_it_stands() -> None:
    long_integer = b"1" * 4301

    values = [
        to_bytes(with_data(event, more="?")).replace(b'"?"', long_integer) for event in (established(), heartbeat())
    ]

    assert [reason_of(value) for value in values] == ["bad_value", "bad_value"]
    assert reason_of(values[0].replace(b"acme", b"Acme")) == "bad_tenant"
    assert reason_of(to_bytes(with_data(established(), more="1" * 5000))) is None


def test_the_first_reason_that_applies_counts() -> None:
    event = with_data(
        without(established(type="x", tenant="?", subject="", time="?", sequence="?"), "data.user"), client_ip="?"
    )
    steps: list[tuple[str, dict[str, Any]]] = [
        ("unknown_type", {"type": "sojourn.session.established.v1"}),
        ("missing_field", {"data": {**established()["data"], "client_ip": "?"}}),
        ("bad_tenant", {"tenant": "acme"}),
        ("bad_subject", {"subject": "s-1"}),
        ("bad_time", {"time": TIME}),
        ("bad_ip", {"data": established()["data"]}),
        ("bad_value", {"sequence": "1"}),
    ]
    reasons = []

    for _, mended in steps:
        reasons.append(reason_of(to_bytes(event)))
        event |= mended

    assert reasons == [reason for reason, _ in steps]
    assert reasons == [reason for reason in REASONS if reason in reasons]
    assert reason_of(to_bytes(event)) is None


def test_the_reasons_of_bytes_come_before_those_of_documents() -> None:
    deep_and_cut = b'{"a": ' * 65
    deep_and_not_utf8 = deep_and_cut + b"\xff"

    assert reason_of(deep_and_not_utf8 + b" " * MIB) == "too_large"
    assert reason_of(deep_and_not_utf8) == "not_utf8"
    assert reason_of(deep_and_cut) == "too_deep"
    assert REASONS[1:6] == ("too_large", "not_utf8", "too_deep", "truncated_json", "not_json")


# --- what a refusal says ----------------------------------------------------------------------------------------------


def test_a_refusal_names_the_session_where_it_can_be_read() -> None:
    refused = [
        explain(to_bytes(event)) for event in (established(time="?"), established(subject=""), established(tenant="?"))
    ]

    assert [(one.tenant, one.session_id) for one in refused if one is not None] == [
        ("acme", "s-1"),
        ("acme", None),
        (None, "s-1"),
    ]


def test_a_detail_is_short_and_holds_no_nul() -> None:
    long, nul = explain(to_bytes(established(type="x" * 5000))), explain(to_bytes(established(type="a\0b")))

    assert long is not None
    assert nul is not None
    assert len(long.detail) == codec.DETAIL_CHARACTERS_MAX
    assert "\0" not in nul.detail
    assert str(nul).startswith("unknown_type: unknown event type: ")
