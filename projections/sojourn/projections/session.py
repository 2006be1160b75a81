"""The state of one session, as the fold keeps it between events."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct

from sojourn.events.types import NORMAL_REASONS

CLOCK_LOGIN_REPLACED = 1
CLOCK_LOGOUT_REPLACED = 2
CLOCK_NEGATIVE = 4

MEMORY_DAYS = 62  # how long an ended session's identity is judged; design.md §3
SEEN_EVENTS_MAX = 64  # a session has two; a broker that sends more competing ones must not grow rows without end

Phase = Literal["unknown", "active", "lost", "lost_ended", "ended", "orphan"]
Rank = tuple[int, datetime, str, str]  # see `fold.rank`


class Login(Struct, frozen=True, gc=False):
    """What `established` said; `at` is the broker's clock unless `replaced` by the append time.

    `appended_at` is when the first `established` of the session came, from which on it was seen alive.
    """

    user_id: str
    user_name: str
    desktop_id: str
    desktop_name: str
    desktop_pool: str
    terminal_type: str
    terminal_os: str
    terminal_version: str
    terminal_name: str
    client_ip: str
    access: str
    protocol: str
    predecessor: str | None
    at: datetime
    replaced: bool
    appended_at: datetime


class Logout(Struct, frozen=True, gc=False):
    """What ended the session; `at` is the broker's clock unless `replaced` by the append time.

    Of a session that was lost `at` is when it was last seen and `before` when that was noticed, both by append time.
    """

    reason: str
    detail: str | None
    command: str | None
    at: datetime
    replaced: bool
    before: datetime | None = None


class Loss(Struct, frozen=True, gc=False, array_like=True):
    """The newest decision that the session was lost, also when it is `over`: it recovered."""

    id: str
    last_seen_at: datetime
    deadline: datetime
    over: bool = False


class Session(Struct, frozen=True, gc=False):
    """One session after some event.

    `offset` and `appended_at` place the row of its newest revision; the ranks are those of the events that count;
    `seen` holds identity and content of its events, 32 bytes each; `touched_at` is the append time of the last event
    that changed any of this.
    """

    revision: int
    offset: int
    appended_at: datetime
    login: Login | None
    login_rank: Rank | None
    logout: Logout | None
    logout_rank: Rank | None
    seen: tuple[bytes, ...]
    touched_at: datetime
    loss: Loss | None = None

    @property
    def phase(self) -> Phase:
        """Where the session stands in the state table."""
        if self.logout is None:
            return "active" if self.loss is None or self.loss.over else "lost"
        if self.logout.before is not None:
            return "lost_ended"
        return "ended" if self.login is not None else "orphan"

    @property
    def state(self) -> str:
        """What the lists show: active, lost or ended."""
        phase = self.phase
        return phase if phase in {"active", "lost"} else "ended"

    @property
    def ended_between(self) -> tuple[datetime | None, datetime | None]:
        """Between which instants a session that is lost, or taken to have ended so, ended if it did."""
        phase, logout, loss = self.phase, self.logout, self.loss
        if phase == "lost_ended" and logout is not None:
            return logout.at, logout.before
        return (loss.last_seen_at, loss.deadline) if phase == "lost" and loss is not None else (None, None)

    @property
    def broker(self) -> str:
        """The broker that established the session, or else the one that ended it."""
        counts = self.login_rank or self.logout_rank
        assert counts is not None
        return counts[3]

    @property
    def online_seconds(self) -> float | None:
        """Logout − login by the broker's clock, never below zero; unknown while either is.

        Of a session that was lost it is how long it was seen, by append time: the least that is certain.
        """
        if self.login is None or self.logout is None:
            return None
        if self.logout.before is not None:
            return max(0.0, (self.logout.at - self.login.appended_at).total_seconds())
        return max(0.0, (self.logout.at - self.login.at).total_seconds())

    @property
    def outcome(self) -> str | None:
        """How it ended: `normal` when somebody meant it to."""
        if self.logout is None:
            return None
        return "normal" if self.logout.reason in NORMAL_REASONS else "abnormal"

    @property
    def clock_flags(self) -> int:
        """Which of the times shown had to be mended, as CLOCK_… bits."""
        flags = 0
        if self.login is not None and self.login.replaced:
            flags |= CLOCK_LOGIN_REPLACED
        if self.logout is not None and self.logout.replaced:
            flags |= CLOCK_LOGOUT_REPLACED
        if self.login is not None and self.phase == "ended" and self.logout is not None:
            flags |= CLOCK_NEGATIVE if self.logout.at < self.login.at else 0
        return flags

    def forgotten(self, now: datetime) -> bool:
        """Tell whether an event appended at `now` no longer knows this session."""
        return self.logout is not None and self.touched_at <= now - timedelta(days=MEMORY_DAYS)


class Memory(Struct, frozen=True, gc=False, array_like=True):
    """What the columns of a row do not say of a `Session`, kept beside them as MessagePack."""

    revision: int
    offset: int
    appended_at: datetime
    login_appended_at: datetime | None
    login_rank: Rank | None
    logout_rank: Rank | None
    seen: tuple[bytes, ...]
    loss: Loss | None = None


_decoder = msgspec.msgpack.Decoder(Memory)
_encoder = msgspec.msgpack.Encoder()


def pack(session: Session) -> bytes:
    """Return the session's `Memory` as bytes."""
    login = session.login
    return _encoder.encode(
        Memory(
            session.revision,
            session.offset,
            session.appended_at,
            None if login is None else login.appended_at,
            session.login_rank,
            session.logout_rank,
            session.seen,
            session.loss,
        )
    )


def unpack(memory: bytes) -> Memory:
    """Return the `Memory` that `pack` wrote."""
    return _decoder.decode(memory)
