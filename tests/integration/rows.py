"""Rows of sessions as the projector would have left them, for tests of what reads them."""

from datetime import UTC, datetime
from typing import Any, Final

import psycopg

HISTORY_DAY: Final = datetime(2026, 11, 20, 9, tzinfo=UTC)

_SESSION: Final[dict[str, Any]] = {
    "partition": 0,
    "revision": 1,
    "offset": 0,
    "appended_at": HISTORY_DAY,
    "state": "active",
    "user_id": "u-17",
    "user_name": "Ada Byron",
    "desktop_id": "d-204",
    "desktop_name": "CAD-204",
    "desktop_pool": "cad",
    "terminal_type": "thin_client",
    "terminal_os": "Linux",
    "terminal_version": "7.1",
    "terminal_name": "TC-0042",
    "client_ip": "10.4.2.17",
    "access": "internal",
    "protocol": "blast",
    "broker": "/brokers/eu-1",
    "login_at": HISTORY_DAY,
    "clock_flags": 0,
    "memory": b"",
}
_LIVE: Final[dict[str, Any]] = {**_SESSION, "slot": 0, "established_appended_at": HISTORY_DAY}
_HISTORY: Final[dict[str, Any]] = {
    **_SESSION,
    "event_id": "e",
    "source": "/brokers/eu-1",
    "event_type": "destroyed",
    "event_time": HISTORY_DAY,
    "digest": b"",
    "disposition": "applied",
    "state": "ended",
    "logout_at": HISTORY_DAY.replace(hour=10),
    "online_seconds": 3600.0,
    "outcome": "normal",
    "reason": "logoff",
    "revision": 2,
}

# What the projector adds for each session; see sql/apply_stage.sql.
_COUNT: Final = """
    INSERT INTO sojourn_v1.session_count AS c VALUES (%(tenant)s, %(partition)s, %(broker)s, %(state)s, 1)
    ON CONFLICT (tenant, partition, broker, state) DO UPDATE SET sessions = c.sessions + 1
"""
_KNOW: Final = """
    INSERT INTO sojourn_v1.known_name
    SELECT %(tenant)s, kind, id, md5(name)::uuid, name
    FROM (VALUES ('user', %(user_id)s, %(user_name)s), ('desktop', %(desktop_id)s, %(desktop_name)s))
        AS known (kind, id, name)
    ON CONFLICT DO NOTHING
"""


async def insert_tenant(connection: psycopg.AsyncConnection[Any], tenant: str) -> None:
    """Let a tenant exist."""
    await _insert(
        connection,
        "sojourn_v1.tenant_config",
        {"tenant": tenant, "first_seen_at": HISTORY_DAY, "partition": 0, "offset": 0, "appended_at": HISTORY_DAY},
    )


async def insert_live(connection: psycopg.AsyncConnection[Any], tenant: str, session_id: str, **columns: Any) -> None:
    """Let a session be open."""
    lost = {"lost_at": HISTORY_DAY} if columns.get("state") == "lost" else {}
    row = {**_LIVE, "tenant": tenant, "session_id": session_id, **lost, **columns}
    await _insert(connection, "sojourn_v1.live_session", row)
    await connection.execute(_COUNT, row)
    await connection.execute(_KNOW, row)


async def insert_history(
    connection: psycopg.AsyncConnection[Any], tenant: str, session_id: str, **columns: Any
) -> None:
    """Add a row of history: a session that ended, unless `columns` say something else."""
    row: dict[str, Any] = {**_HISTORY, "tenant": tenant, "session_id": session_id, **columns}
    if row["revision"] is not None and row["user_name"] is not None:
        await connection.execute(_KNOW, row)
    await connection.execute("SELECT sojourn_v1.ensure_history_month(%s)", [row["appended_at"].date()])
    await _insert(connection, "sojourn_v1.session_history", row)


async def _insert(connection: psycopg.AsyncConnection[Any], table: str, row: dict[str, Any]) -> None:
    statement = psycopg.sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        psycopg.sql.Identifier(*table.split(".")),
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, row)),
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Placeholder, row)),
    )
    await connection.execute(statement, row)
