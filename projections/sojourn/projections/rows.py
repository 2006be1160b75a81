"""How an entry of the fold stands in a row of history, column by column."""

from datetime import UTC, datetime
from typing import Any, Final

from sojourn.events.types import EVENT_TYPES, type_name
from sojourn.projections.fold import Entry
from sojourn.projections.session import (
    CLOCK_LOGIN_REPLACED,
    CLOCK_LOGOUT_REPLACED,
    Login,
    Logout,
    Session,
    pack,
    unpack,
)

HISTORY_COLUMNS: Final = (
    "tenant",
    "session_id",
    "partition",
    "offset",
    "appended_at",
    "event_id",
    "source",
    "event_type",
    "event_time",
    "sequence",
    "digest",
    "disposition",
    "disposition_detail",
    "revision",
    "state",
    "user_id",
    "user_name",
    "desktop_id",
    "desktop_name",
    "desktop_pool",
    "terminal_type",
    "terminal_os",
    "terminal_version",
    "terminal_name",
    "client_ip",
    "access",
    "protocol",
    "broker",
    "predecessor",
    "login_at",
    "logout_at",
    "online_seconds",
    "outcome",
    "reason",
    "reason_detail",
    "ended_after",
    "ended_before",
    "cause",
    "command",
    "clock_flags",
    "memory",
)

_NO_SESSION: Final = (None,) * (len(HISTORY_COLUMNS) - HISTORY_COLUMNS.index("state"))
_NO_LOGIN: Final = (None,) * 12
_NAMES: Final = {kind: type_name(kind).split(".")[2] for kind in EVENT_TYPES}  # sojourn.session.established.v1


def history_row(entry: Entry) -> tuple[Any, ...]:
    """Return the values of `HISTORY_COLUMNS` for one entry."""
    record, event, session = entry.fact.record, entry.fact.event, entry.session
    head = (
        event.tenant,
        event.subject,
        record.partition,
        record.offset,
        record.appended_at,
        event.id,
        event.source,
        _NAMES[type(event)],
        event.time.astimezone(UTC),  # PostgreSQL takes no offset beyond 16 hours, RFC 3339 does
        entry.fact.sequence,
        entry.fact.digest,
        entry.disposition,
        entry.detail,
        entry.revision,
    )
    return head + (_NO_SESSION if session is None else _session_values(session, entry.cause))


def _session_values(session: Session, cause: str | None) -> tuple[Any, ...]:
    login, logout = session.login, session.logout
    values = (
        _NO_LOGIN
        if login is None
        else (
            login.user_id,
            login.user_name,
            login.desktop_id,
            login.desktop_name,
            login.desktop_pool,
            login.terminal_type,
            login.terminal_os,
            login.terminal_version,
            login.terminal_name,
            login.client_ip,
            login.access,
            login.protocol,
        )
    )
    return (
        session.state,
        *values,
        session.broker,
        None if login is None else login.predecessor,
        None if login is None else login.at,
        None if logout is None else logout.at,
        session.online_seconds,
        session.outcome,
        None if logout is None else logout.reason,
        None if logout is None else logout.detail,
        *session.ended_between,
        cause,
        None if logout is None else logout.command,
        session.clock_flags,
        pack(session),
    )


def session_of(row: tuple[Any, ...]) -> Session:
    """Return the session that a row of sql/load_sessions.sql holds."""
    memory = unpack(row[2])
    touched_at: datetime = row[3]
    login_at, clock_flags, logout_at, reason, reason_detail, command, ended_before = row[17:24]
    login = logout = None
    if login_at is not None:
        assert memory.login_appended_at is not None
        replaced = bool(clock_flags & CLOCK_LOGIN_REPLACED)
        claim: tuple[Any, ...] = (*row[4:17], login_at, replaced, memory.login_appended_at)  # from user_id on
        login = Login(*claim)
    if logout_at is not None:
        replaced = bool(clock_flags & CLOCK_LOGOUT_REPLACED)
        logout = Logout(reason, reason_detail, command, logout_at, replaced, ended_before)
    return Session(
        memory.revision,
        memory.offset,
        memory.appended_at,
        login,
        memory.login_rank,
        logout,
        memory.logout_rank,
        memory.seen,
        touched_at,
        memory.loss,
    )
