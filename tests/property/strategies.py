"""Streams of lifecycle records as brokers could send them, and worse: what the fold's properties are tried on."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from sojourn.events.log import Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.unit.events import (
    answered,
    configured,
    expired,
    gap_accepted,
    lost,
    lost_ended,
    recovered,
    requested,
    returned,
    silent,
    source_bound,
    to_bytes,
    with_data,
)
from tests.unit.letters import resolve, spoilt

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
CONTENTS = 3  # how many different things are said of a session, of each kind
RECORDS_MAX = 16  # enough for every pair of kinds to compete, twice

OTHER_CLOCKS = (
    "1970-01-01T00:00:00Z",
    "1999-12-31T23:59:59.999999Z",
    "2000-01-01T00:00:00Z",
    "2038-01-19T03:14:08Z",
    "9999-12-31T23:59:59Z",
    "2026-11-25T08:00:00Z",
)
SHORT_GAPS = st.one_of(
    st.just(timedelta(0)), st.integers(0, 5_000_000).map(lambda micro: timedelta(microseconds=micro))
)
GAPS = st.one_of(
    SHORT_GAPS,
    st.sampled_from([timedelta(hours=25), timedelta(days=31), timedelta(days=62), timedelta(days=63)]),
    st.just(timedelta(days=62, microseconds=-1)),
)


class Said(NamedTuple):
    """One event, before it is written as bytes; `content` numbers what it says."""

    kind: str
    tenant: str
    session: str
    source: str
    id: str
    sequence: str | int | None
    time: str
    content: int


def data_of(said: Said) -> dict[str, Any]:
    if said.kind == "destroyed":
        reasons = ("logoff", "network", "admin_disconnect")
        commands = (None, None, "0192f0c1")
        return {"reason": reasons[said.content], "detail": f"end {said.content}", "command": commands[said.content]}
    return {
        "user": {"id": f"u-{said.content}", "name": "Žofie 王"},
        "desktop": {"id": "d-1", "name": "one", "pool": "p"},
        "terminal": {"type": "browser", "os": "", "version": "7", "name": ""},
        "client_ip": ("10.0.0.7", "2001:DB8::1", "::ffff:192.168.1.1")[said.content],
        "protocol": "rdp",
        "another": said.content,
    }


def value_of(said: Said) -> bytes:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "type": f"sojourn.session.{said.kind}.v1",
        "tenant": said.tenant,
        "subject": said.session,
        "source": said.source,
        "id": said.id,
        "time": said.time,
        "data": data_of(said),
    }
    if said.sequence is not None:
        event["sequence"] = said.sequence
    return json.dumps(event).encode()


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


HONEST_TIMES = st.one_of(st.sampled_from([0, 1, 2]), st.integers(-3600, 3600)).map(at)
TIMES = st.one_of(HONEST_TIMES, st.sampled_from(OTHER_CLOCKS))
SEQUENCES = st.one_of(st.none(), st.integers(0, 3), st.integers(0, 3).map(str))


SESSIONS = st.sampled_from([("acme", "s-1")] * 4 + [("globex", "s-1"), ("acme", "s-2")])


def said(
    times: st.SearchStrategy[str] = TIMES, sessions: st.SearchStrategy[tuple[str, str]] = SESSIONS
) -> st.SearchStrategy[Said]:
    return st.builds(
        lambda session, **fields: Said(tenant=session[0], session=session[1], **fields),
        session=sessions,
        kind=st.sampled_from(["established", "destroyed"]),
        source=st.sampled_from(["/brokers/a", "/brokers/b"]),
        id=st.sampled_from(["1", "2", "3", "4"]),
        sequence=SEQUENCES,
        time=times,
        content=st.integers(0, CONTENTS - 1),
    )


@st.composite
def related(draw: st.DrawFn, events: st.SearchStrategy[Said]) -> list[Said]:
    """Draw a few events, and others that are like one of them but for one or two fields."""
    drawn = draw(st.lists(events, min_size=1, max_size=RECORDS_MAX // 2))
    for _ in range(draw(st.integers(0, RECORDS_MAX // 2))):
        one, other = draw(st.sampled_from(drawn)), draw(events)
        fields = draw(st.sets(st.sampled_from(["source", "id", "sequence", "content", "kind"]), min_size=1, max_size=2))
        drawn.append(one._replace(**{field: getattr(other, field) for field in fields}))
    return drawn


NO_EVENTS = st.sampled_from(
    [
        b"not json",
        b'{"specversion":"1.0"',
        b"\xff\xfe",
        b"[]",
        value_of(Said("exploded", "acme", "s-1", "/a", "1", None, at(0), 0)),
        value_of(Said("destroyed", "Acme", "s-1", "/a", "1", None, at(0), 0)),
    ]
)


SILENCES = [silent(id="silent/1"), silent(id="silent/2")]
OF_SILENCE = st.sampled_from([to_bytes(event) for event in (*SILENCES, *map(returned, SILENCES))])
OF_RULES = st.one_of(
    st.builds(
        lambda partition, to_offset: with_data(gap_accepted(), partition=partition, from_offset=0, to_offset=to_offset),
        st.sampled_from([0, 0, 1]),
        st.integers(0, 1),
    ),
    st.builds(
        lambda networks: configured(data=networks),
        st.sampled_from([{}, {"internal_networks": []}, {"internal_networks": ["2001:db8::/32", "192.168.0.0/16"]}]),
    ),
    st.builds(
        lambda source, partitioner, tenants: source_bound(
            data={"source": source, "partitioner": partitioner, "tenants": tenants}
        ),
        st.sampled_from(["/brokers/a", "/brokers/b"]),
        st.sampled_from(["crc32", "crc32", "murmur2"]),
        st.sampled_from([None, None, None, ["acme"], ["globex"], []]),
    ),
).map(to_bytes)
DECISIONS = st.one_of(OF_SILENCE, OF_RULES)

LOSSES = [lost(at(seconds), at(seconds + 90)) for seconds in (0, 0.5, 3600)]
COMMANDS = {"0192f0c1": "disconnect", "c-2": "send_message"}  # to their kinds; the first stands in `destroyed`, too
OF_SESSIONS = st.one_of(
    st.sampled_from(LOSSES),
    st.sampled_from(LOSSES),
    st.builds(lambda loss, kind: kind(loss), st.sampled_from(LOSSES), st.sampled_from([recovered, lost_ended])),
    st.sampled_from(list(COMMANDS)).map(
        lambda command: with_data(requested(command), broker="/brokers/a", kind=COMMANDS[command])
    ),
    st.builds(
        answered,
        st.sampled_from(["delivered", "acknowledged", "refused", "failed"]),
        st.sampled_from(list(COMMANDS)),
        source=st.sampled_from(["/brokers/a", "/brokers/a", "/brokers/b"]),
    ),
    st.sampled_from(list(COMMANDS)).map(expired),
)
FROM_THE_WRONG_SOURCE = st.sampled_from(
    [
        to_bytes(LOSSES[0] | {"source": "/brokers/a"}),
        value_of(Said("destroyed", "acme", "s-1", "/sojourn", "1", None, at(0), 0)),
    ]
)


def about(sessions: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[bytes]:
    """Draw what Sojourn decides about sessions, and what brokers answer to it."""
    return st.builds(
        lambda session, event: to_bytes(event | {"tenant": session[0], "subject": session[1]}), sessions, OF_SESSIONS
    )


@st.composite
def streams(
    draw: st.DrawFn,
    gaps: st.SearchStrategy[timedelta] = GAPS,
    times: st.SearchStrategy[str] = TIMES,
    decisions: st.SearchStrategy[bytes] = DECISIONS,
) -> list[Record]:
    """Draw records of the only partition of lifecycle, in any order; some values come again."""
    values = [value_of(event) for event in draw(related(said(times)))]
    values += draw(st.lists(about(SESSIONS), max_size=6))
    others = st.one_of(st.sampled_from(values), NO_EVENTS, FROM_THE_WRONG_SOURCE, decisions)
    values += draw(st.lists(others, max_size=4))
    order = draw(st.permutations(values))
    between = draw(st.lists(gaps, min_size=len(order), max_size=len(order)))
    return records_of(order, between)


@st.composite
def of_one_session(draw: st.DrawFn) -> list[Record]:
    """Draw what Sojourn decides about one session that begins and perhaps ends, and what its broker answers."""
    begins, *ends = [
        value_of(Said(kind, "acme", "s-1", "/brokers/a", kind, None, at(0), content))
        for kind, content in (("established", 0), ("destroyed", 2), ("destroyed", 0))
    ]
    decided = draw(st.lists(about(st.just(("acme", "s-1"))), min_size=4, max_size=12))
    decided += draw(st.lists(st.sampled_from(ends), max_size=2))
    order = [begins, *draw(st.permutations(decided))]
    return records_of(order, [timedelta(minutes=1)] * len(order))


@st.composite
def resolved_streams(draw: st.DrawFn) -> list[Record]:
    """Draw records some of which lack a field, and resolutions that name any of them with any bytes."""
    values = [value_of(event) for event in draw(related(said(TIMES)))]
    values += [spoilt(value) for value in draw(st.lists(st.sampled_from(values), max_size=6))]
    values += draw(st.lists(about(SESSIONS), max_size=4))
    others = st.one_of(st.sampled_from(values), NO_EVENTS, FROM_THE_WRONG_SOURCE, DECISIONS)
    values += draw(st.lists(others, max_size=4))
    records: list[Record] = []
    for value in draw(st.permutations(values)):
        records += following(records, value, draw(SHORT_GAPS))
        if draw(st.booleans()):
            named = draw(st.sampled_from(records))
            how = draw(st.sampled_from(["requeued", "requeued", "discarded"]))
            mended = draw(st.one_of(st.none(), st.sampled_from(values)))
            topic = draw(st.sampled_from([LIFECYCLE] * 7 + [HEARTBEATS]))
            records += following(records, resolve(named, how, mended, topic=topic), draw(SHORT_GAPS))
    return records


def following(records: list[Record], value: bytes, gap: timedelta) -> list[Record]:
    return records_of([value], [gap], len(records), records[-1].appended_at if records else START)


def records_of(
    order: list[bytes], gaps: list[timedelta], first_offset: int = 0, start: datetime = START
) -> list[Record]:
    """Return the values as consecutive records of partition 0, each `gap` after the one before."""
    records, appended_at = [], start
    for offset, (value, gap) in enumerate(zip(order, gaps, strict=True), first_offset):
        appended_at += gap
        records.append(Record(LIFECYCLE, 0, offset, appended_at, None, value, ()))
    return records


@st.composite
def sessions_without_conflict(draw: st.DrawFn) -> list[bytes]:
    """Draw the events of one session by honest clocks, in which an id always stands for the same content."""
    drawn = draw(related(said(HONEST_TIMES, st.just(("acme", "s-1")))))
    first = {(event.source, event.id): event for event in reversed(drawn)}
    agreed = [
        event._replace(kind=one.kind, time=one.time, content=one.content)
        for event in drawn
        for one in (first[event.source, event.id],)
    ]
    return [value_of(event) for event in agreed]
