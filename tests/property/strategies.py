"""Streams of lifecycle records as brokers could send them, and worse: what the fold's properties are tried on."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE

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


@st.composite
def streams(
    draw: st.DrawFn, gaps: st.SearchStrategy[timedelta] = GAPS, times: st.SearchStrategy[str] = TIMES
) -> list[Record]:
    """Draw records of the only partition of lifecycle, in any order; some values come again."""
    values = [value_of(event) for event in draw(related(said(times)))]
    values += draw(st.lists(st.one_of(st.sampled_from(values), NO_EVENTS), max_size=4))
    order = draw(st.permutations(values))
    return records_of(order, draw(st.lists(gaps, min_size=len(order), max_size=len(order))))


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
