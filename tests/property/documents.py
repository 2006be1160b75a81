"""Bytes that are nearly events: the contract's examples with fields changed, spelled otherwise, cut and broken."""

import json
import re
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.unit.events import (
    answered,
    configured,
    expired,
    gap_accepted,
    lines,
    lost,
    lost_ended,
    recovered,
    requested,
    resolved,
    returned,
    silent,
    source_bound,
    to_bytes,
    with_data,
)

DECISIONS = [
    source_bound(),
    with_data(source_bound(), tenants=["acme"]),
    gap_accepted(),
    lost(),
    recovered(lost()),
    lost_ended(lost()),
    requested(),
    with_data(requested(), kind="send_message", message="save your work"),
    *(answered(answer) for answer in ("delivered", "acknowledged", "refused")),
    expired(),
    silent(),
    returned(silent()),
    resolved(7),
    resolved(7, value="e30="),
    configured(),
    configured(data={"internal_networks": ["10.0.0.0/8"], "timeouts": {"/brokers/eu-1": 60}, "time_zone": "UTC"}),
]
EXAMPLES = [*lines("examples"), *map(to_bytes, DECISIONS)]
BAD = lines("bad")

SCALARS: list[Any] = [
    None, "", 0, -1, 1, 1.0, 1.5, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 1e300, True, False, [], {},
    "\0", "a\0b", "\x07", "\x7f", "\x85", "x" * 200, "x" * 201, "x" * 1000, "x" * 1001, "😀" * 200, "😀" * 201,
    "999.1.1.1", "::1", "fe80::1%eth0", "10.0.0.1", "10.0.0.01", "::ffff:10.0.0.1", "2001:DB8::1", "1.2.3",
    "\uff11.1.1.1",
    "2026-11-24t08:00:00z", "2026-11-24T08:00:00+02:00", "2026-11-24 08:00:00Z", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.9999999Z", "2026-13-01T00:00:00Z", "2026-11-24T08:00:60Z", "2026-11-24T08:00:00.1234565Z",
    "2026-11-24T08:00:00", "yesterday", "acme", "../etc", "A", "a" * 63, "a" * 64, "acme\n", "-a", "1", "01", "-1", "x",
    "9223372036854775807", "9223372036854775808", " 1", "1.0", "Integer", "sojourn.session.established.v1",
    "sojourn.session.destroyed.v1", "sojourn.session.heartbeat.v1", "sojourn.session.heartbeats.v1",
    "sojourn.broker.alive.v1", "sojourn.broker.source_bound.v1", "sojourn.log.gap_accepted.v1", "sojourn.lifecycle",
    "murmur2", ["s-1"], ["s-1", ""], ["s-1", 5], {"s-1": {"client_ip": "zz"}}, {"a\0": {}},
    "e30=", "e30", "====", "10.0.0.0/8", "10.0.0.1/8", "Europe/Berlin", "../etc/passwd", ["10.0.0.0/8", "x"], ["acme"],
    ["A"], ["disconnect"], "disconnect", "refused", "discarded", {"/b": 60}, {"/b": -1}, {"/b": None}, {"\0": 1},
    "sojourn.session.lost.v1", "sojourn.tenant.configured.v1", "sojourn.session.disconnect_failed.v1",
    {"s-1": {"idle_seconds": -1}}, {"s-1": None}, {"client_ip": "bad"}, "thin_client", "logoff", "internal",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(SCALARS),
    st.text(max_size=5),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
NAMES = st.sampled_from(
    [
        "x", "client_ip", "details", "sessions", "tenant", "subject", "reason", "traceparent", "sequence",
        "data_base64", "idle_seconds", "predecessor", "command", "access", "detail", "datacontenttype",
        "sequencetype", "specversion", "source", "partitioner", "partition", "from_offset", "who",
        "tenants", "value", "commands", "lost", "message", "timeouts", "internal_networks", "time_zone", "outcome",
    ]
)  # fmt: skip
PIECES = st.one_of(
    st.sampled_from(
        [
            b'"', b"\\", b"{", b"[", b"}", b"]", b",", b":", b"\\u0000", b"\\u000a", b"\\u0085", b"\\ud800", b"\\n",
            b"\x00", b"\x7f", b"\xc2\x85", b"\xff", b"\xc3", b"-", b"1", b"1.", b"e", b" ", b"null", b"[" * 62,
            b"[" * 65, b"1" * 4301,
        ]
    ),
    st.binary(min_size=1, max_size=3),
)  # fmt: skip


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every member of a document."""
    members = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [found for name, child in members for found in ((*path, name), *paths(child, (*path, name)))]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an example with up to three members changed, added or removed."""
    document: dict[str, Any] = json.loads(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        *parents, last = draw(st.sampled_from(paths(document)))
        holder: Any = document
        for parent in parents:
            holder = holder[parent]
        action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if action == "remove":
            del holder[last]
        elif action == "replace" or not isinstance(holder, dict):
            holder[last] = deepcopy(draw(VALUES))
        else:
            holder[draw(NAMES)] = deepcopy(draw(VALUES))
        if not document:
            break
    return document


@st.composite
def spelled(draw: st.DrawFn, events: st.SearchStrategy[dict[str, Any]]) -> bytes:
    """Draw one of the ways to write a document as JSON."""
    document = draw(events)
    if draw(st.booleans()):
        document = dict(draw(st.permutations(list(document.items()))))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 3])))
    if draw(st.booleans()):
        text = re.sub(r"(?<![\\u0-9a-f])[a-d](?=[^\"]*\")", lambda letter: f"\\u{ord(letter[0]):04x}", text, count=5)
    return text.encode(errors="surrogatepass")


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Draw a document's bytes, or one of the bad lines, with up to three bytes cut, changed or put in."""
    value = draw(st.one_of(spelled(documents()), spelled(documents()), st.sampled_from(BAD)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(value)))
        action = draw(st.sampled_from(["cut", "insert", "insert", "change", "drop"]))
        piece = draw(PIECES)
        value = {
            "cut": value[:at],
            "insert": value[:at] + piece + value[at:],
            "change": value[:at] + piece + value[at + len(piece) :],
            "drop": value[:at] + value[at + 1 :],
        }[action]
    return value


@st.composite
def with_doubled_names(draw: st.DrawFn) -> bytes:
    """Draw an object whose outermost names may stand there twice, with different values."""
    members = list(json.loads(draw(st.sampled_from(EXAMPLES))).items())
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([name for name, _ in members]))
        members.insert(draw(st.integers(0, len(members))), (name, draw(VALUES)))
    return ("{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in members) + "}").encode()
