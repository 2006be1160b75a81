"""What a broker's spool remembers of events that were sent: each open session's sequence, and answered commands."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from sojourn.events.codec import decode, sequence_number
from sojourn.events.errors import UsageError
from sojourn.events.types import (
    CommandAnswer,
    Destroyed,
    DisconnectAcknowledged,
    DisconnectFailed,
    Established,
    LifecycleEvent,
)

SESSIONS_MAX: Final = 200_000  # ten times the largest broker; older ones, whose end was never told, go on uncounted
ANSWERED_MAX: Final = 10_000  # a day of commands; the topic keeps no more

Spooled = LifecycleEvent | CommandAnswer


class _Kept(msgspec.Struct):
    source: str
    sequences: list[tuple[str, str, int]]
    answered: list[str]


class Memory:
    """A function of the events that were spooled; `apply` takes them in their order."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sequences: dict[tuple[str, str], int] = {}
        self._answered: dict[str, None] = {}  # a set that knows its oldest

    def load(self, kept: bytes, since: Iterable[bytes]) -> None:
        """Take over what `dump` returned, and the events spooled after that."""
        memory = msgspec.json.decode(kept, type=_Kept | None)
        if memory is not None:
            self._belongs(memory.source)
            self._sequences = {(tenant, session_id): last for tenant, session_id, last in memory.sequences}
            self._answered = dict.fromkeys(memory.answered)
        for value in since:
            event = decode(value)
            assert isinstance(event, Spooled)
            self._belongs(event.source)
            self.apply(event)

    def dump(self) -> bytes:
        """Return it as JSON."""
        sequences = [(tenant, session_id, last) for (tenant, session_id), last in self._sequences.items()]
        return msgspec.json.encode(_Kept(self._source, sequences, list(self._answered)))

    def number(self, events: Sequence[Spooled]) -> list[Spooled]:
        """Return the events with their sequences, from 1 on; where the session's beginning is not known, without."""
        last = dict[tuple[str, str], int | None]()
        numbered: list[Spooled] = []
        for event in events:
            session = event.tenant, event.subject
            before = last[session] if session in last else self._sequences.get(session)
            if before is None and not isinstance(event, Established):
                numbered.append(event)
                continue
            now = (before or 0) + 1
            last[session] = None if isinstance(event, Destroyed) else now
            numbered.append(msgspec.structs.replace(event, sequence=str(now), sequencetype="Integer"))
        return numbered

    def apply(self, event: Spooled) -> None:
        """Remember an event that is on the disk."""
        session, sequence = (event.tenant, event.subject), sequence_number(event)
        if isinstance(event, Destroyed):
            self._sequences.pop(session, None)
        elif sequence is not None:
            self._sequences[session] = sequence
            if len(self._sequences) > SESSIONS_MAX:
                del self._sequences[next(iter(self._sequences))]
        answered = _answered(event)
        if answered is not None:
            self._answered[answered] = None
            if len(self._answered) > ANSWERED_MAX:
                del self._answered[next(iter(self._answered))]

    def has_answered(self, command: str) -> bool:
        """Tell whether a command was acknowledged, refused, failed, or ended its session."""
        return command in self._answered

    def _belongs(self, source: str) -> None:
        if source != self._source:
            raise UsageError(
                f"each broker has a spool of its own, and this one is for {source!r}, not: {self._source!r}"
            )


def _answered(event: Spooled) -> str | None:
    match event:
        case Destroyed(data=data):
            return data.command
        case DisconnectAcknowledged(data=data) | DisconnectFailed(data=data):
            return data.command
        case _:
            return None
