"""Sessions for the model of statistics, made by Hypothesis and written as the projector would have left them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, NamedTuple

import psycopg
from hypothesis import strategies as st

from tests.integration.rows import insert_history, insert_live, insert_tenant
from tests.model.statistics import Lived

SECOND: Final = timedelta(seconds=1)

_DAY_SECONDS: Final = 86400
_places = count(1)


class Scene(NamedTuple):
    """Where and when sessions take place: a zone, and an instant at which its clock does something."""

    zone: str
    around: datetime


SCENES: Final = (
    Scene("UTC", datetime(2025, 6, 30, tzinfo=UTC)),
    Scene("Europe/Berlin", datetime(2025, 3, 30, 1, tzinfo=UTC)),  # from 02:00 to 03:00
    Scene("Europe/Berlin", datetime(2025, 10, 26, 1, tzinfo=UTC)),  # from 03:00 back to 02:00
    Scene("America/Santiago", datetime(2025, 9, 7, 4, tzinfo=UTC)),  # from midnight to 01:00
    Scene("America/Santiago", datetime(2025, 4, 6, 3, tzinfo=UTC)),  # from midnight back to 23:00
    Scene("Australia/Lord_Howe", datetime(2025, 4, 5, 15, tzinfo=UTC)),  # back by half an hour
    Scene("Asia/Kathmandu", datetime(2025, 6, 30, tzinfo=UTC)),  # 5:45 ahead
)


def instants(around: datetime, days: int = 2) -> st.SearchStrategy[datetime]:
    """Return instants near one: of some seconds, or on a quarter of an hour, so that they meet."""
    reach = days * _DAY_SECONDS
    offsets = st.integers(-reach, reach) | st.integers(-reach // 900, reach // 900).map(lambda quarter: quarter * 900)
    return offsets.map(lambda seconds: around + seconds * SECOND)


LENGTHS: Final = st.sampled_from((0, 1, 59, 60, 900, 3600, 7200, 30_000, 90_000)) | st.integers(0, 3 * _DAY_SECONDS)


@st.composite
def lived(draw: st.DrawFn, around: datetime) -> Lived:
    """Return a session that ended well or badly, was lost, is open, or of which only the end is known."""
    how = draw(st.sampled_from(("ended", "ended", "ended", "back", "lost", "unknown", "open", "lost open")))
    login = draw(instants(around))
    length = draw(LENGTHS) * SECOND
    user, desktop = draw(st.sampled_from("aab")), draw(st.sampled_from("de"))
    who: dict[str, Any] = {
        "user": f"u-{user}",
        "user_name": draw(st.sampled_from(("Ada", "Äda \x1f 2"))),
        "desktop": f"d-{desktop}",
        "desktop_name": f"CAD {desktop}",
        "terminal": draw(st.sampled_from(("thin_client", "mobile"))),
        "system": draw(st.sampled_from(("", "Linux"))),
        "access": draw(st.sampled_from(("internal", "public"))),
    }
    end: dict[str, Any] = {"outcome": "normal", "reason": "logoff", "ended_after": None, "ended_before": None}
    if how == "ended":
        outcome, reason = draw(
            st.sampled_from((("normal", "logoff"), ("normal", "idle_timeout"), ("abnormal", "error")))
        )
        end |= {"logout": login + length, "online_seconds": length / SECOND, "outcome": outcome, "reason": reason}
    elif how == "back":
        end |= {"logout": login - length, "online_seconds": 0.0}
    elif how == "unknown":
        who = dict.fromkeys(who, "")
        return Lived(**who, **end, login=None, logout=login + length, online_seconds=None)
    else:
        between = {"ended_after": login + length, "ended_before": login + length + draw(LENGTHS) * SECOND}
        none = dict.fromkeys(("logout", "online_seconds", "outcome", "reason"))
        if how == "lost":
            seen = max(0.0, length / SECOND - 7)  # from the log's time of the login
            end |= between | {
                "logout": login + length,
                "online_seconds": seen,
                "outcome": "abnormal",
                "reason": "unknown",
            }
        else:
            end |= none if how == "open" else none | between
    return Lived(**who, **end, login=login)


async def write(connection: psycopg.AsyncConnection[Any], tenant: str, sessions: Sequence[Lived]) -> None:
    """Let a tenant exist whose sessions these are."""
    await insert_tenant(connection, tenant)
    for session in sessions:
        await add(connection, tenant, session)


async def add(connection: psycopg.AsyncConnection[Any], tenant: str, session: Lived) -> None:
    """Add an open or an ended session."""
    if session.logout is None:
        await insert_live(connection, tenant, f"s-{next(_places)}", slot=next(_places), **columns(session))
    else:
        await write_ended(connection, tenant, session)


async def write_ended(
    connection: psycopg.AsyncConnection[Any], tenant: str, session: Lived, appended_at: datetime | None = None
) -> tuple[int, datetime]:
    """Add an ended session, and return its place."""
    assert session.logout is not None
    offset, at = next(_places), appended_at or session.logout + SECOND
    outcome = {"outcome": session.outcome, "reason": session.reason, "online_seconds": session.online_seconds}
    await insert_history(
        connection, tenant, f"s-{offset}", offset=offset, appended_at=at, logout_at=session.logout, **outcome,
        **columns(session),
    )  # fmt: skip
    await tell_late(connection, tenant, (offset, at))
    return offset, at


async def tell_late(connection: psycopg.AsyncConnection[Any], tenant: str, place: tuple[int, datetime]) -> None:
    """Write down that a record comes late, if it does: see sql/apply_stage.sql."""
    await connection.execute(
        'INSERT INTO sojourn_v1.late_record (tenant, appended_at, partition, "offset") '
        "SELECT %(tenant)s, %(at)s, 0, %(offset)s FROM sojourn_v1.position "
        "WHERE topic = 'sojourn.heartbeats' AND complete_to - interval '1 hour' > %(at)s ON CONFLICT DO NOTHING",
        {"tenant": tenant, "offset": place[0], "at": place[1]},
    )


async def correct(
    connection: psycopg.AsyncConnection[Any], tenant: str, place: tuple[int, datetime], by: tuple[int, datetime]
) -> None:
    """Let one ended revision take the place of another."""
    await connection.execute("INSERT INTO sojourn_v1.superseded VALUES (%s, 0, %s, %s, %s, %s)", [tenant, *place, *by])


def columns(session: Lived) -> dict[str, Any]:
    """Return the columns that history and the live list share."""
    names: dict[str, Any] = {
        "user_id": session.user,
        "user_name": session.user_name,
        "desktop_id": session.desktop,
        "desktop_name": session.desktop_name,
        "terminal_type": session.terminal,
        "terminal_os": session.system,
        "access": session.access,
    }
    if session.login is None:
        names = dict.fromkeys(names)
    return {
        **names,
        "login_at": session.login,
        "ended_after": session.ended_after,
        "ended_before": session.ended_before,
    }


async def complete(connection: psycopg.AsyncConnection[Any], complete_to: datetime) -> None:
    """Let everything be applied that was appended before an instant."""
    await connection.execute("DELETE FROM sojourn_v1.position")
    await connection.execute(
        "INSERT INTO sojourn_v1.position (topic, partition, epoch, next_offset, committed_at, complete_to) "
        "VALUES ('sojourn.heartbeats', 0, 1, 0, now(), %s)",
        [complete_to],
    )
