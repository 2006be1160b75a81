"""The tables and the stable views as SQLAlchemy knows them; the migrations make them, and a test compares the two."""

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    BigInteger,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

VERSIONED: Final = "sojourn_v1"  # the schema of these projections; a rebuild makes the next beside it
STABLE: Final = "sojourn"  # what outlives a version, and the views that readers name

TABLES: Final = MetaData()
VIEWS: Final = MetaData()

INSTANT: Final = TIMESTAMP(timezone=True)

_ENDED: Final = text("revision IS NOT NULL AND logout_at IS NOT NULL")


def _some(kind: TypeEngine[Any] | type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False, autoincrement=False) for name in names]


def _maybe(kind: TypeEngine[Any] | type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    return [Column(name, kind) for name in names]


def _table(name: str, key: str, *columns: list[Column[Any]], schema: str = VERSIONED, **options: Any) -> Table:
    return Table(
        name,
        TABLES,
        *(column for group in columns for column in group),
        PrimaryKeyConstraint(*key.split()),
        schema=schema,
        **options,
    )


def _view(name: str, of: Table | list[Column[Any]]) -> Table:
    columns = [Column(column.name, column.type) for column in (of.columns if isinstance(of, Table) else of)]
    return Table(name, VIEWS, *columns, schema=STABLE)


live_session = _table(
    "live_session",
    "tenant session_id",
    _some(Text, "tenant", "session_id"),
    _some(Integer, "partition", "slot", "revision"),
    _some(BigInteger, "offset"),
    _some(INSTANT, "appended_at", "established_appended_at"),
    _some(Text, "state", "user_id", "user_name", "desktop_id", "desktop_name", "desktop_pool"),
    _some(Text, "terminal_type", "terminal_os", "terminal_version", "terminal_name"),
    _some(Text, "client_ip", "access", "protocol", "broker"),
    _maybe(Text, "predecessor"),
    _some(INSTANT, "login_at"),
    _some(SmallInteger, "clock_flags"),
    _maybe(INSTANT, "lost_at", "ended_after", "ended_before"),
    _maybe(Text, "cause", "command"),
    _some(LargeBinary, "memory"),
)
Index("live_session_slot", live_session.c.partition, live_session.c.slot)
Index("live_session_login", live_session.c.tenant, live_session.c.login_at, live_session.c.session_id)
Index("live_session_user", live_session.c.tenant, live_session.c.user_id)
Index("live_session_desktop", live_session.c.tenant, live_session.c.desktop_id)

live_detail = _table(
    "live_detail",
    "tenant session_id",
    _some(Text, "tenant", "session_id"),
    _some(Integer, "partition"),
    _maybe(Text, "current_client_ip"),
    _maybe(Integer, "idle_seconds", "round_trip_ms"),
    _some(INSTANT, "appended_at"),
    postgresql_with={"fillfactor": 70},
)

session_history = _table(
    "session_history",
    "tenant partition offset appended_at",
    _some(Text, "tenant", "session_id"),
    _some(Integer, "partition"),
    _some(BigInteger, "offset"),
    _some(INSTANT, "appended_at"),
    _some(Text, "event_id", "source", "event_type"),
    _some(INSTANT, "event_time"),
    _maybe(BigInteger, "sequence"),
    _some(LargeBinary, "digest"),
    _some(Text, "disposition"),
    _maybe(Text, "disposition_detail"),
    _maybe(Integer, "revision"),
    _maybe(Text, "state", "user_id", "user_name", "desktop_id", "desktop_name", "desktop_pool"),
    _maybe(Text, "terminal_type", "terminal_os", "terminal_version", "terminal_name"),
    _maybe(Text, "client_ip", "access", "protocol", "broker", "predecessor"),
    _maybe(INSTANT, "login_at", "logout_at"),
    _maybe(Double, "online_seconds"),
    _maybe(Text, "outcome", "reason", "reason_detail"),
    _maybe(INSTANT, "ended_after", "ended_before"),
    _maybe(Text, "cause", "command"),
    _maybe(SmallInteger, "clock_flags"),
    _maybe(LargeBinary, "memory"),
    postgresql_partition_by="RANGE (appended_at)",
)
_h = session_history.c
Index("session_history_session", _h.tenant, _h.session_id, _h.offset)
Index("session_history_logout", _h.tenant, _h.logout_at, _h.session_id, postgresql_where=_ENDED)
Index("session_history_user", _h.tenant, _h.user_id, _h.logout_at, postgresql_where=_ENDED)
Index("session_history_desktop", _h.tenant, _h.desktop_id, _h.logout_at, postgresql_where=_ENDED)

superseded = _table(
    "superseded",
    "tenant partition offset",
    _some(Text, "tenant"),
    _some(Integer, "partition"),
    _some(BigInteger, "offset"),
    _some(INSTANT, "appended_at"),
    _some(BigInteger, "by_offset"),
    _some(INSTANT, "by_appended_at"),
)

tenant_config = _table(
    "tenant_config",
    "tenant",
    _some(Text, "tenant"),
    _some(INSTANT, "first_seen_at"),
    _maybe(ARRAY(Text), "internal_networks"),
    _maybe(Integer, "heartbeat_timeout_seconds"),
    _maybe(Text, "time_zone"),
    _some(Integer, "partition"),
    _some(BigInteger, "offset"),
    _some(INSTANT, "appended_at"),
)

command = _table(
    "command",
    "tenant command_id",
    _some(Text, "tenant", "command_id", "session_id", "broker", "kind", "state", "reason"),
    _maybe(Text, "message"),
    _some(Text, "requested_by"),
    _some(INSTANT, "requested_at", "expires_at"),
    _maybe(INSTANT, "delivered_at", "acknowledged_at", "concluded_at"),
    _maybe(Text, "detail"),
    _some(Integer, "partition"),
    _some(BigInteger, "offset"),
    _some(INSTANT, "appended_at"),
)

broker = _table(
    "broker",
    "source partition",
    _some(Text, "source"),
    _some(Integer, "partition"),
    _maybe(INSTANT, "last_event_at", "last_appended_at", "last_alive_at", "silent_since"),
    _maybe(Double, "skew_seconds"),
    _maybe(Text, "partitioner"),
)

liveness_page = _table(
    "liveness_page",
    "partition page",
    _some(Integer, "partition", "page"),
    _some(LargeBinary, "seen"),
    postgresql_with={"fillfactor": 40},
)

position = _table(
    "position",
    "topic partition",
    _some(Text, "topic"),
    _some(Integer, "partition"),
    _some(BigInteger, "epoch", "next_offset"),
    _maybe(BigInteger, "record_offset", "record_crc"),
    _maybe(INSTANT, "record_appended_at"),
    _some(INSTANT, "committed_at"),
    postgresql_with={"fillfactor": 50},
)

disposition = _table(
    "disposition",
    "topic partition disposition",
    _some(Text, "topic"),
    _some(Integer, "partition"),
    _some(Text, "disposition"),
    _some(BigInteger, "records"),
    postgresql_with={"fillfactor": 50},
)

dead_letter = _table(
    "dead_letter",
    "topic partition offset",
    _some(Text, "topic"),
    _some(Integer, "partition"),
    _some(BigInteger, "offset"),
    _some(INSTANT, "appended_at"),
    _some(Text, "reason", "detail"),
    _maybe(Text, "tenant", "session_id"),
    _maybe(LargeBinary, "key"),
    _some(JSONB, "headers"),
    _some(LargeBinary, "value"),
    _some(BigInteger, "value_bytes"),
    _maybe(Text, "resolution"),
    _maybe(BigInteger, "resolved_offset"),
)
Index("dead_letter_session", dead_letter.c.tenant, dead_letter.c.session_id)

partition_owner = _table(
    "partition_owner",
    "partition",
    _some(Integer, "partition"),
    _some(Text, "owner"),
    _some(BigInteger, "epoch"),
    _some(INSTANT, "acquired_at"),
    schema=STABLE,
    postgresql_with={"fillfactor": 50},
)

outbox = _table(
    "outbox",
    "outbox_id",
    [Column("outbox_id", BigInteger, Identity(always=True))],
    _some(Text, "topic"),
    _some(Integer, "partition"),
    _some(BigInteger, "epoch"),
    _maybe(LargeBinary, "key"),
    _some(LargeBinary, "value"),
    _some(INSTANT, "created_at"),
    schema=STABLE,
)
Index("outbox_partition", outbox.c.partition, outbox.c.outbox_id)

admin_action = _table(
    "admin_action",
    "tenant action_id",
    _some(Text, "tenant"),
    _some(Uuid, "action_id"),
    _some(INSTANT, "at"),
    _some(Text, "actor", "action", "subject"),
    _maybe(Text, "reason", "origin"),
    _some(Text, "result"),
    schema=STABLE,
)

export_job = _table(
    "export_job",
    "tenant job_id",
    _some(Text, "tenant"),
    _some(Uuid, "job_id"),
    _some(INSTANT, "requested_at"),
    _some(Text, "requested_by"),
    _some(JSONB, "filter"),
    _some(Text, "format", "state"),
    _maybe(INSTANT, "finished_at"),
    _maybe(JSONB, "manifest"),
    schema=STABLE,
)

current_session = _view(
    "current_session",
    [
        *_some(Text, "tenant", "session_id", "user_id", "user_name", "desktop_id", "desktop_name", "desktop_pool"),
        *_some(Text, "terminal_type", "terminal_os", "terminal_version", "terminal_name"),
        *_some(Text, "client_ip", "access", "protocol", "broker"),
        *_some(INSTANT, "login_at"),
        *_some(Text, "state"),
        *_some(INSTANT, "last_seen_at"),
        *_some(Text, "current_client_ip"),
        *_maybe(Integer, "idle_seconds", "round_trip_ms"),
        *_maybe(Text, "predecessor"),
        *_some(Integer, "revision", "partition"),
        *_some(BigInteger, "offset"),
        *_some(INSTANT, "appended_at"),
        *_some(SmallInteger, "clock_flags"),
    ],
)
session_event = _view("session_event", session_history)
session_revision = _view("session_revision", session_history)
ended_session = _view("ended_session", session_history)
tenant = _view("tenant", tenant_config)
positions = _view("position", position)
dispositions = _view("disposition", disposition)
dead_letters = _view("dead_letter", dead_letter)
