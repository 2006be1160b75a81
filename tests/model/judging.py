"""What becomes of one event of a session, from all that came before it. No state is carried on."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.model.decisions import LOST, OF_LIVENESS, RECOVERED
from tests.model.reading import DESTROYED, ESTABLISHED
from tests.model.telling import Told, newest_loss, phase_of, state_row
from tests.model.values import instant

MEMORY = timedelta(days=62)
IDENTITIES_MAX = 64  # docs/contract.md: so many events of one session have their identity judged


def judge(told: Told, before: Sequence[Told]) -> None:
    """Give the event its disposition, and its row where it has an effect."""
    counted = [event for event in remembered(before, told.entry.appended_at) if event.disposition != "conflict"]
    if told.said.type in OF_LIVENESS:
        judge_decision(told, counted)
        return
    known = first_distinct(counted)
    if any(event.identity == told.identity and event.said.content != told.said.content for event in known):
        told.disposition = "conflict"
        return
    repeats = any(event.said.content == told.said.content for event in known)
    wins = all(told.rank < event.rank for event in counted if event.said.type == told.said.type)
    row = state_row([*counted, told])
    told.news = wins or not repeats or all(event.identity != told.identity for event in known)
    if not wins:
        told.disposition = "duplicate" if repeats else "late"
    elif repeats and row == state_row(counted):
        told.disposition = "duplicate"
    else:
        told.disposition = "orphan" if row["login_at"] is None else "applied"
        told.revision = 1 + sum(event.revision is not None for event in counted)
        told.row = row | {"cause": cause(told, counted)}


def judge_decision(told: Told, counted: Sequence[Told]) -> None:
    """Judge what Sojourn decided about the session's liveness: it must concern the newest loss."""
    phase, kind, newest = phase_of(counted), told.said.type, newest_loss(counted)
    told.disposition = "late"
    if phase == "unknown":
        return
    if kind == LOST:
        seen = instant(told.said.data["last_seen_at"])
        if newest is not None and seen is not None and seen_of(newest[0]) >= seen:
            told.disposition = "duplicate"
            return
        if phase != "active":
            return
        why = "heartbeats_stopped"
    elif newest is None or newest[0].said.id != told.said.data["lost"]:
        return
    elif kind == RECOVERED:
        if newest[1] == "back":
            told.disposition = "duplicate"
            return
        if phase not in {"lost", "lost_ended"}:
            return
        why = "recovered" if phase == "lost" else "reopened"
    else:
        if phase == "lost_ended":
            told.disposition = "duplicate"
        if phase != "lost":
            return
        why = "stayed_lost"
    told.disposition, told.news = "applied", True
    told.revision = 1 + sum(event.revision is not None for event in counted)
    told.row = state_row([*counted, told]) | {"cause": why}


def seen_of(lost: Told) -> datetime:
    seen = instant(lost.said.data["last_seen_at"])
    assert seen is not None
    return seen


def first_distinct(events: Sequence[Told]) -> list[Told]:
    """Return the events whose identity and content are kept: the first 64 different ones of a session's broker."""
    kept: dict[tuple[tuple[str, str], str], Told] = {}
    for event in events:
        if event.said.type not in OF_LIVENESS:
            kept.setdefault((event.identity, event.said.content), event)
    return list(kept.values())[:IDENTITIES_MAX]


def remembered(before: Sequence[Told], now: datetime) -> Sequence[Told]:
    """Return what is still known: 62 days after the last news of an ended session it is forgotten."""
    for end in range(len(before), 0, -1):
        # The memory may have been lost between two earlier events; then only what followed is known.
        at = before[end].entry.appended_at if end < len(before) else now
        last = next((event for event in reversed(before[:end]) if event.news), None)
        newest = newest_revision(before[:end])
        ended = newest is not None and newest.row["logout_at"] is not None
        if ended and last is not None and at - last.entry.appended_at >= MEMORY:
            return before[end:]
    return before


def newest_revision(events: Sequence[Told]) -> Told | None:
    return next((event for event in reversed(events) if event.revision is not None), None)


def cause(told: Told, counted: Sequence[Told]) -> str:
    kinds = {event.said.type for event in counted}
    if told.said.type in kinds:
        return "earlier_established" if told.said.type == ESTABLISHED else "earlier_destroyed"
    if told.said.type == ESTABLISHED:
        return "established_found" if DESTROYED in kinds else "established"
    if phase_of(counted) == "lost_ended":
        return "end_found"
    return "destroyed" if ESTABLISHED in kinds else "ended_before_established"
