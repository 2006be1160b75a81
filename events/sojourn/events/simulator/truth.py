"""What really happened to the sessions of a plan, to be held against what a tracker shows."""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from sojourn.events.fields import Access, Reason, TerminalType
from sojourn.events.simulator.day import Session
from sojourn.events.simulator.plan import Plan, instant_at, milliseconds
from sojourn.events.types import NORMAL_REASONS


class Truth(Struct, frozen=True, gc=False):
    """One session as it stood at some instant; one line of a truth file."""

    tenant: str
    session_id: str
    user_id: str
    user_name: str
    desktop_id: str
    desktop_name: str
    terminal_type: TerminalType
    access: Access
    client_ip: str
    broker: str
    login_at: str
    logout_at: str | None
    reason: Reason | None
    outcome: Literal["normal", "abnormal"] | None
    online_seconds: float | None
    end_published: bool
    state: Literal["active", "ended"]


def truth_lines(plan: Plan, until: datetime) -> Iterator[bytes]:
    """Yield a line of JSON for each session that began before `until`, in the order of their logins."""
    end = milliseconds(until)
    for session in plan.sessions(plan.begin[0]):
        if session.login >= end:
            return
        yield truth_line(session, end)


def truth_line(session: Session, end: int) -> bytes:
    """Return what is true of the session before the moment `end`, as JSON with a line feed."""
    over = session.logout < end
    published = over and session.end_published
    return (
        msgspec.json.encode(
            Truth(
                tenant=session.tenant,
                session_id=session.id,
                user_id=session.person.user.id,
                user_name=session.person.user.name,
                desktop_id=session.seat.desktop.id,
                desktop_name=session.seat.desktop.name,
                terminal_type=session.device.terminal.type,
                access=session.device.access,
                client_ip=session.client_ip,
                broker=session.seat.broker,
                login_at=_text(session.login),
                logout_at=_text(session.logout) if over else None,
                reason=session.reason if over else None,
                outcome=("normal" if session.reason in NORMAL_REASONS else "abnormal") if over else None,
                online_seconds=(session.logout - session.login) / 1000 if over else None,
                end_published=published,
                state="ended" if published else "active",
            )
        )
        + b"\n"
    )


def _text(moment: int) -> str:
    return instant_at(moment).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment % 1000:03d}Z"
