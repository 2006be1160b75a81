"""The fold: from the states of sessions and facts about them to what changes. Pure, total, deterministic."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sojourn.events.codec import DIGEST_BYTES, canonical_ip
from sojourn.events.types import Destroyed, Established, LifecycleEvent
from sojourn.projections.access import derived_access
from sojourn.projections.facts import DeadLetter, Fact, Key, conflict
from sojourn.projections.session import SEEN_EVENTS_MAX, Login, Logout, Phase, Rank, Session
from sojourn.projections.states import TRANSITIONS

EVENT_TIME_MIN: Final = datetime(2000, 1, 1, tzinfo=UTC)  # no broker is older; an earlier time is an unset clock
EVENT_TIME_AHEAD: Final = timedelta(hours=24)  # more than any time zone mistake
_NO_SEQUENCE: Final = 2**63  # a broker that does not count ranks behind one that does


class Place(NamedTuple):
    """Where a revision's row stands within its partition."""

    offset: int
    appended_at: datetime


class Entry(Struct, frozen=True, gc=False):
    """What became of one fact: one row of history.

    `session` is the state after it, where it changed that; `revision` is set where it made one; `supersedes` places
    the ended revision that it corrects.
    """

    fact: Fact
    disposition: str
    detail: str | None = None
    session: Session | None = None
    revision: int | None = None
    cause: str | None = None
    supersedes: Place | None = None


class Changes(Struct):
    """What a batch changes, in log order; `sessions` holds the last state of each session that changed."""

    entries: list[Entry]
    dead_letters: list[DeadLetter]
    sessions: dict[Key, Session]
    dispositions: Counter[str]


def fold(states: Mapping[Key, Session], judged: Iterable[Fact | DeadLetter]) -> Changes:
    """Apply the records of one partition, in offset order, to the states that they touch."""
    changes = Changes([], [], {}, Counter())
    for item in judged:
        if isinstance(item, DeadLetter):
            entry = None if item.fact is None else Entry(item.fact, "dead_letter", f"{item.reason}: {item.detail}")
            changes.dead_letters.append(item)
            changes.dispositions["dead_letter"] += 1
        else:
            entry = _apply(changes.sessions.get(item.key) or states.get(item.key), item)
            changes.dispositions[entry.disposition] += 1
            if entry.session is not None:
                changes.sessions[item.key] = entry.session
            if entry.disposition == "conflict":
                changes.dead_letters.append(conflict(item))
        if entry is not None:
            changes.entries.append(entry)
    return changes


def rank(event: LifecycleEvent, at: datetime, sequence: int | None) -> Rank:
    """Return what competing events of one kind are ordered by; the lowest counts."""
    return (_NO_SEQUENCE if sequence is None else sequence, at, event.id, event.source)


def _apply(session: Session | None, fact: Fact) -> Entry:
    record, event = fact.record, fact.event
    if session is not None and session.forgotten(record.appended_at):
        session = None
    identity = _identity(event)
    if session is not None and (known := _known(session, identity, fact)) is not None:
        return known
    at, replaced = effective_time(event.time, record.appended_at)
    rank_now = rank(event, at, fact.sequence)
    seen = identity + fact.digest
    if session is not None:
        holder = session.login_rank if isinstance(event, Established) else session.logout_rank
        if holder is not None and holder <= rank_now:
            late = replace(session, seen=_remember(session.seen, seen), touched_at=record.appended_at)
            return Entry(fact, "late", f"an event of its kind ranks before it: {holder[2]!r}", late)
    phase: Phase = "unknown" if session is None else session.phase
    following, cause = TRANSITIONS[phase, type(event)]
    revised = Session(
        revision=1 if session is None else session.revision + 1,
        offset=record.offset,
        appended_at=record.appended_at,
        login=None if session is None else session.login,
        login_rank=None if session is None else session.login_rank,
        logout=None if session is None else session.logout,
        logout_rank=None if session is None else session.logout_rank,
        seen=_remember(() if session is None else session.seen, seen),
        touched_at=record.appended_at,
    )
    if isinstance(event, Established):
        revised = replace(revised, login=_login(event, at, replaced, record.appended_at), login_rank=rank_now)
    else:
        revised = replace(revised, logout=_logout(event, at, replaced), logout_rank=rank_now)
    assert revised.phase == following
    corrected = session is not None and session.logout is not None
    return Entry(
        fact,
        "orphan" if following == "orphan" else "applied",
        session=revised,
        revision=revised.revision,
        cause=cause,
        supersedes=Place(session.offset, session.appended_at) if session is not None and corrected else None,
    )


def _known(session: Session, identity: bytes, fact: Fact) -> Entry | None:
    """Return the entry of a fact that the session has seen before, or None for a new one."""
    if any(seen[DIGEST_BYTES:] == fact.digest for seen in session.seen):
        return Entry(fact, "duplicate")
    if any(seen[:DIGEST_BYTES] == identity for seen in session.seen):
        return Entry(fact, "conflict", f"its id was seen before with other content: {fact.event.id!r}")
    return None


def _identity(event: LifecycleEvent) -> bytes:
    return blake2b(msgspec.json.encode((event.source, event.id)), digest_size=DIGEST_BYTES).digest()


def _remember(seen: tuple[bytes, ...], one: bytes) -> tuple[bytes, ...]:
    return seen if len(seen) >= SEEN_EVENTS_MAX else (*seen, one)


def effective_time(event_time: datetime, appended_at: datetime) -> tuple[datetime, bool]:
    """Return the instant to order and reckon by, and whether the broker's own had to be replaced by it."""
    if event_time < EVENT_TIME_MIN or event_time > appended_at + EVENT_TIME_AHEAD:
        return appended_at, True
    return event_time.astimezone(UTC), False


def _login(event: Established, at: datetime, replaced: bool, appended_at: datetime) -> Login:
    data = event.data
    client_ip = canonical_ip(data.client_ip)
    return Login(
        broker=event.source,
        user_id=data.user.id,
        user_name=data.user.name,
        desktop_id=data.desktop.id,
        desktop_name=data.desktop.name,
        desktop_pool=data.desktop.pool,
        terminal_type=data.terminal.type,
        terminal_os=data.terminal.os,
        terminal_version=data.terminal.version,
        terminal_name=data.terminal.name,
        client_ip=client_ip,
        access=data.access or derived_access(client_ip),
        protocol=data.protocol,
        predecessor=data.predecessor,
        at=at,
        replaced=replaced,
        appended_at=appended_at,
    )


def _logout(event: Destroyed, at: datetime, replaced: bool) -> Logout:
    data = event.data
    return Logout(event.source, data.reason, data.detail, data.command, at, replaced)
