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
from sojourn.events.types import (
    CommandEvent,
    Destroyed,
    Established,
    LifecycleEvent,
    LivenessDecision,
    Lost,
    LostEnded,
    Recovered,
)
from sojourn.projections.access import Networks, derived_access
from sojourn.projections.commands import Command, CommandKey, confirmed, step
from sojourn.projections.decided import Decision
from sojourn.projections.facts import DeadLetter, Fact, Judged, Key, conflict
from sojourn.projections.session import SEEN_EVENTS_MAX, Login, Logout, Loss, Phase, Rank, Session
from sojourn.projections.states import TRANSITIONS

EVENT_TIME_MIN: Final = datetime(2000, 1, 1, tzinfo=UTC)  # no broker is older; an earlier time is an unset clock
EVENT_TIME_AHEAD: Final = timedelta(hours=24)  # more than any time zone mistake
_NO_SEQUENCE: Final = 2**63  # a broker that does not count ranks behind one that does
_NO_COMMANDS: Final[Mapping[CommandKey, Command]] = {}


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
    """What a batch changes, in log order; `sessions` and `commands` hold the last state of each that changed.

    `decisions` are those that decided something new.
    """

    entries: list[Entry]
    dead_letters: list[DeadLetter]
    decisions: list[Decision]
    sessions: dict[Key, Session]
    dispositions: Counter[str]
    commands: dict[CommandKey, Command]


def fold(
    states: Mapping[Key, Session], judged: Iterable[Judged], commands: Mapping[CommandKey, Command] = _NO_COMMANDS
) -> Changes:
    """Apply the records of one partition, in offset order, to the states of sessions and commands that they touch."""
    changes = Changes([], [], [], {}, Counter(), {})
    for item in judged:
        entry = None
        if isinstance(item, Decision):
            changes.dispositions["duplicate" if item.repeats else "applied"] += 1
            if not item.repeats:
                changes.decisions.append(item)
        elif isinstance(item, DeadLetter):
            disposition = "parked" if item.reason == "parked" else "dead_letter"
            entry = None if item.fact is None else Entry(item.fact, disposition, f"{item.reason}: {item.detail}")
            changes.dead_letters.append(item)
            changes.dispositions[disposition] += 1
        else:
            entry = _of_session(changes, states, commands, item)
            changes.dispositions[entry.disposition] += 1
        if entry is not None:
            changes.entries.append(entry)
    return changes


def _of_session(
    changes: Changes, states: Mapping[Key, Session], commands: Mapping[CommandKey, Command], fact: Fact
) -> Entry:
    """Apply an event about a session, and take over what it changes."""
    event, session = fact.event, changes.sessions.get(fact.key) or states.get(fact.key)
    if isinstance(event, CommandEvent):
        if session is not None and session.forgotten(fact.record.appended_at):
            session = None
        done = step({**commands, **changes.commands} if changes.commands else commands, session, fact, event)
        if done.command is not None:
            changes.commands[event.tenant, event.data.command] = done.command
        if done.refusal is None:
            return Entry(fact, done.disposition, done.detail)
        changes.dead_letters.append(
            DeadLetter(fact.record, "wrong_source", done.refusal, event.tenant, event.subject, fact)
        )
        return Entry(fact, "dead_letter", f"wrong_source: {done.refusal}")
    entry = _decide(session, fact, event) if isinstance(event, LivenessDecision) else _apply(session, fact, event)
    if entry.session is not None:
        changes.sessions[fact.key] = entry.session
    if entry.disposition == "conflict":
        changes.dead_letters.append(conflict(fact))
    elif isinstance(event, Destroyed) and event.data.command is not None:
        key = (event.tenant, event.data.command)
        command = confirmed(changes.commands.get(key) or commands.get(key), fact, event)
        if command is not None:
            changes.commands[key] = command
    return entry


def rank(event: LifecycleEvent, at: datetime, sequence: int | None) -> Rank:
    """Return what competing events of one kind are ordered by; the lowest counts."""
    return (_NO_SEQUENCE if sequence is None else sequence, at, event.id, event.source)


def _decide(session: Session | None, fact: Fact, event: LivenessDecision) -> Entry:
    """Apply what Sojourn decided about a session's liveness, if it still concerns the session."""
    if session is None or session.forgotten(fact.record.appended_at):
        return Entry(fact, "late", "there is no such session")
    phase, loss = session.phase, session.loss
    if isinstance(event, Lost):
        if loss is not None and event.data.last_seen_at <= loss.last_seen_at:
            return Entry(fact, "duplicate")
    elif loss is None or loss.id != event.data.lost:
        return Entry(fact, "late", f"it is about another loss: {event.data.lost!r}")
    elif (loss.over and isinstance(event, Recovered)) or (phase == "lost_ended" and isinstance(event, LostEnded)):
        return Entry(fact, "duplicate")
    if (phase, type(event)) not in TRANSITIONS:
        return Entry(fact, "late", f"the session is {phase.replace('_', ' ')}")
    following, cause = TRANSITIONS[phase, type(event)]
    record = fact.record
    revised = replace(
        session,
        revision=session.revision + 1,
        offset=record.offset,
        appended_at=record.appended_at,
        touched_at=record.appended_at,
    )
    match event:
        case Lost(id=lost_id, data=data):
            revised = replace(revised, loss=Loss(lost_id, _utc(data.last_seen_at), _utc(data.deadline)))
        case Recovered():
            assert loss is not None
            revised = replace(revised, loss=replace(loss, over=True), logout=None)
        case LostEnded(data=between):
            end = Logout(
                "lost", None, None, _utc(between.ended_after), replaced=False, before=_utc(between.ended_before)
            )
            revised = replace(revised, logout=end)
    assert revised.phase == following
    return Entry(
        fact,
        "applied",
        session=revised,
        revision=revised.revision,
        cause=cause,
        supersedes=Place(session.offset, session.appended_at) if session.logout is not None else None,
    )


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


def _apply(session: Session | None, fact: Fact, event: LifecycleEvent) -> Entry:
    record = fact.record
    if session is not None and session.forgotten(record.appended_at):
        session = None
    known = () if session is None else session.seen
    identity = _identity(event)
    if any(seen[:DIGEST_BYTES] == identity and seen[DIGEST_BYTES:] != fact.digest for seen in known):
        return Entry(fact, "conflict", f"its id was seen before with other content: {event.id!r}")
    repeats = any(seen[DIGEST_BYTES:] == fact.digest for seen in known)
    seen = _remember(known, identity + fact.digest)
    at, replaced = effective_time(event.time, fact.came_at)
    rank_now = rank(event, at, fact.sequence)
    if session is not None:
        holder = session.login_rank if isinstance(event, Established) else session.logout_rank
        if holder is not None and holder <= rank_now:
            if not repeats:
                detail = f"an event of its kind ranks before it: {holder[2]!r}"
                return Entry(fact, "late", detail, replace(session, seen=seen, touched_at=record.appended_at))
            if seen == known:
                return Entry(fact, "duplicate")
            return Entry(fact, "duplicate", None, replace(session, seen=seen, touched_at=record.appended_at))
    phase: Phase = "unknown" if session is None else session.phase
    following, cause = TRANSITIONS[phase, type(event)]
    revised = _revised(session, fact, event, seen, rank_now, replaced=replaced)
    assert revised.phase == following
    if session is not None and repeats and _shows_the_same(session, revised):
        unmoved = replace(revised, revision=session.revision, offset=session.offset, appended_at=session.appended_at)
        return Entry(fact, "duplicate", None, unmoved)
    corrected = session is not None and session.logout is not None
    return Entry(
        fact,
        "orphan" if following == "orphan" else "applied",
        session=revised,
        revision=revised.revision,
        cause=cause,
        supersedes=Place(session.offset, session.appended_at) if session is not None and corrected else None,
    )


def _revised(
    session: Session | None,
    fact: Fact,
    event: LifecycleEvent,
    seen: tuple[bytes, ...],
    rank_now: Rank,
    *,
    replaced: bool,
) -> Session:
    """Return the session with the fact in the place of what it had of its kind."""
    record, at = fact.record, rank_now[1]
    revised = Session(
        revision=1 if session is None else session.revision + 1,
        offset=record.offset,
        appended_at=record.appended_at,
        login=None if session is None else session.login,
        login_rank=None if session is None else session.login_rank,
        logout=None if session is None else session.logout,
        logout_rank=None if session is None else session.logout_rank,
        seen=seen,
        touched_at=record.appended_at,
        loss=None if session is None else session.loss,
    )
    if isinstance(event, Established):
        first = fact.came_at if revised.login is None else revised.login.appended_at
        login = _login(event, at, first, fact.networks, replaced=replaced)
        return replace(revised, login=login, login_rank=rank_now)
    return replace(revised, logout=_logout(event, at, replaced=replaced), logout_rank=rank_now)


def _shows_the_same(session: Session, revised: Session) -> bool:
    """Tell whether content that is known already only lowered its rank.

    It may also decide a competition that it had lost under another id: any order of the events must end the same.
    """
    return (session.broker, session.login, session.logout) == (revised.broker, revised.login, revised.logout)


def _identity(event: LifecycleEvent) -> bytes:
    return blake2b(msgspec.json.encode((event.source, event.id)), digest_size=DIGEST_BYTES).digest()


def _remember(seen: tuple[bytes, ...], one: bytes) -> tuple[bytes, ...]:
    return seen if len(seen) >= SEEN_EVENTS_MAX or one in seen else (*seen, one)


def effective_time(event_time: datetime, appended_at: datetime) -> tuple[datetime, bool]:
    """Return the instant to order and reckon by, and whether the broker's own had to be replaced by it."""
    if event_time < EVENT_TIME_MIN or event_time > appended_at + EVENT_TIME_AHEAD:
        return appended_at, True
    return event_time.astimezone(UTC), False


def _login(event: Established, at: datetime, appended_at: datetime, networks: Networks, *, replaced: bool) -> Login:
    data = event.data
    client_ip = canonical_ip(data.client_ip)
    return Login(
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
        access=data.access or derived_access(client_ip, networks),
        protocol=data.protocol,
        predecessor=data.predecessor,
        at=at,
        replaced=replaced,
        appended_at=appended_at,
    )


def _logout(event: Destroyed, at: datetime, *, replaced: bool) -> Logout:
    data = event.data
    return Logout(data.reason, data.detail, data.command, at, replaced)
