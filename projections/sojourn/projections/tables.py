"""The projections' tables and the stable views as SQLAlchemy knows them; a test compares them with the migrations."""

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    BigInteger,
    Boolean,
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
    collate,
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


def some(kind: TypeEngine[Any] | type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False, autoincrement=False) for name in names]


def maybe(kind: TypeEngine[Any] | type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    return [Column(name, kind) for name in names]


def table(name: str, key: str, *columns: list[Column[Any]], schema: str = VERSIONED, **options: Any) -> Table:
    return Table(
        name,
        TABLES,
        *(column for group in columns for column in group),
        PrimaryKeyConstraint(*key.split()),
        schema=schema,
        **options,
    )


def view(name: str, of: Table | list[Column[Any]]) -> Table:
    columns = [Column(column.name, column.type) for column in (of.columns if isinstance(of, Table) else of)]
    return Table(name, VIEWS, *columns, schema=STABLE)


live_session = table(
    "live_session",
    "tenant session_id partition",
    some(Text, "tenant", "session_id"),
    some(Integer, "partition", "slot", "revision"),
    some(BigInteger, "offset"),
    some(INSTANT, "appended_at", "established_appended_at"),
    some(Text, "state", "user_id", "user_name", "desktop_id", "desktop_name", "desktop_pool"),
    some(Text, "terminal_type", "terminal_os", "terminal_version", "terminal_name"),
    some(Text, "client_ip", "access", "protocol", "broker"),
    maybe(Text, "predecessor"),
    some(INSTANT, "login_at"),
    some(SmallInteger, "clock_flags"),
    maybe(INSTANT, "lost_at", "ended_after", "ended_before"),
    maybe(Text, "cause", "command"),
    some(LargeBinary, "memory"),
)
_l = live_session.c
Index("live_session_slot", _l.partition, _l.slot)
Index("live_session_login", _l.tenant, _l.login_at)
Index("live_session_user", _l.tenant, _l.user_id)
Index("live_session_desktop", _l.tenant, _l.desktop_id)
Index("live_session_address", _l.tenant, collate(_l.client_ip, "C"))
Index("live_session_kind", _l.tenant, _l.terminal_type, _l.access, _l.broker, _l.login_at)
Index("live_session_lost", _l.tenant, _l.login_at, postgresql_where=text("lost_at IS NOT NULL"))

live_detail = table(
    "live_detail",
    "tenant session_id partition",
    some(Text, "tenant", "session_id"),
    some(Integer, "partition"),
    maybe(Text, "current_client_ip"),
    maybe(Integer, "idle_seconds", "round_trip_ms"),
    some(INSTANT, "appended_at"),
    postgresql_with={"fillfactor": 70},
)

session_history = table(
    "session_history",
    "tenant partition offset appended_at",
    some(Text, "tenant", "session_id"),
    some(Integer, "partition"),
    some(BigInteger, "offset"),
    some(INSTANT, "appended_at"),
    some(Text, "event_id", "source", "event_type"),
    some(INSTANT, "event_time"),
    maybe(BigInteger, "sequence"),
    some(LargeBinary, "digest"),
    some(Text, "disposition"),
    maybe(Text, "disposition_detail"),
    maybe(Integer, "revision"),
    maybe(Text, "state", "user_id", "user_name", "desktop_id", "desktop_name", "desktop_pool"),
    maybe(Text, "terminal_type", "terminal_os", "terminal_version", "terminal_name"),
    maybe(Text, "client_ip", "access", "protocol", "broker", "predecessor"),
    maybe(INSTANT, "login_at", "logout_at"),
    maybe(Double, "online_seconds"),
    maybe(Text, "outcome", "reason", "reason_detail"),
    maybe(INSTANT, "ended_after", "ended_before"),
    maybe(Text, "cause", "command"),
    maybe(SmallInteger, "clock_flags"),
    maybe(LargeBinary, "memory"),
    postgresql_partition_by="RANGE (appended_at)",
)
_h = session_history.c
Index("session_history_session", _h.tenant, _h.session_id, _h.offset)
Index("session_history_logout", _h.tenant, _h.logout_at, _h.login_at, postgresql_where=_ENDED)
Index("session_history_user", _h.tenant, _h.user_id, _h.logout_at, postgresql_where=_ENDED)
Index("session_history_desktop", _h.tenant, _h.desktop_id, _h.logout_at, postgresql_where=_ENDED)
Index("session_history_address", _h.tenant, collate(_h.client_ip, "C"), _h.logout_at, postgresql_where=_ENDED)
_kind = (_h.reason, _h.terminal_type, _h.access, _h.broker)
Index("session_history_kind", _h.tenant, *_kind, _h.logout_at, postgresql_where=_ENDED)
_long = text(f"{_ENDED} AND logout_at - login_at > interval '1 day'")
Index("session_history_long", _h.tenant, _h.logout_at, _h.login_at, postgresql_where=_long)
Index("session_history_appended", _h.appended_at, postgresql_using="brin", postgresql_with={"autosummarize": "on"})

superseded = table(
    "superseded",
    "tenant partition offset appended_at",
    some(Text, "tenant"),
    some(Integer, "partition"),
    some(BigInteger, "offset"),
    some(INSTANT, "appended_at"),
    some(BigInteger, "by_offset"),
    some(INSTANT, "by_appended_at"),
)

session_count = table(
    "session_count",
    "tenant partition broker state",
    some(Text, "tenant"),
    some(Integer, "partition"),
    some(Text, "broker", "state"),
    some(BigInteger, "sessions"),
    postgresql_with={"fillfactor": 50},
)

known_name = table(
    "known_name",
    "tenant kind id name_md5",
    some(Text, "tenant", "kind", "id"),
    some(Uuid, "name_md5"),
    some(Text, "name"),
)

tenant_config = table(
    "tenant_config",
    "tenant",
    some(Text, "tenant"),
    some(INSTANT, "first_seen_at"),
    maybe(ARRAY(Text), "internal_networks"),
    maybe(Integer, "heartbeat_timeout_seconds"),
    maybe(Text, "time_zone"),
    some(Integer, "partition"),
    some(BigInteger, "offset"),
    some(INSTANT, "appended_at"),
)

command = table(
    "command",
    "tenant command_id",
    some(Text, "tenant", "command_id", "session_id", "broker", "kind", "state", "reason"),
    maybe(Text, "message"),
    some(Text, "requested_by"),
    some(INSTANT, "requested_at", "expires_at"),
    maybe(INSTANT, "delivered_at", "acknowledged_at", "concluded_at"),
    maybe(Text, "detail"),
    some(Integer, "partition"),
    some(BigInteger, "offset"),
    some(INSTANT, "appended_at"),
    some(LargeBinary, "event"),
)
_PENDING: Final = text("concluded_at IS NULL")
Index("command_pending", command.c.partition, postgresql_where=_PENDING)
Index("command_id", command.c.command_id)
Index("command_broker", command.c.broker, postgresql_where=_PENDING)

tenant_setting = table(
    "tenant_setting",
    "tenant partition",
    some(Text, "tenant"),
    some(Integer, "partition"),
    some(JSONB, "setting"),
    some(BigInteger, "offset"),
    some(INSTANT, "appended_at"),
)

broker = table(
    "broker",
    "source partition",
    some(Text, "source"),
    some(Integer, "partition"),
    maybe(INSTANT, "last_event_at", "last_appended_at", "last_alive_at", "silent_since"),
    maybe(Double, "skew_seconds"),
    maybe(Text, "partitioner"),
    maybe(INSTANT, "bound_at"),
    maybe(ARRAY(Text), "tenants"),
    maybe(Integer, "alive_interval_seconds"),
    maybe(ARRAY(Text), "commands"),
    maybe(Text, "silent_id"),
    maybe(INSTANT, "misrouted_at"),
)

accepted_gap = table(
    "accepted_gap",
    "partition from_offset to_offset",
    some(Integer, "partition"),
    some(BigInteger, "from_offset", "to_offset"),
    some(Text, "reason", "who"),
    some(BigInteger, "offset"),
    some(INSTANT, "appended_at"),
)

liveness_page = table(
    "liveness_page",
    "partition page",
    some(Integer, "partition", "page"),
    some(LargeBinary, "seen"),
    postgresql_with={"fillfactor": 40},
)

position = table(
    "position",
    "topic partition",
    some(Text, "topic"),
    some(Integer, "partition"),
    some(BigInteger, "epoch", "next_offset"),
    maybe(BigInteger, "record_offset", "record_crc"),
    maybe(INSTANT, "record_appended_at"),
    some(INSTANT, "committed_at"),
    maybe(INSTANT, "complete_to"),
    postgresql_with={"fillfactor": 50},
)

disposition = table(
    "disposition",
    "topic partition disposition",
    some(Text, "topic"),
    some(Integer, "partition"),
    some(Text, "disposition"),
    some(BigInteger, "records"),
    postgresql_with={"fillfactor": 50},
)

dead_letter = table(
    "dead_letter",
    "topic partition offset appended_at",
    some(Text, "topic"),
    some(Integer, "partition"),
    some(BigInteger, "offset"),
    some(INSTANT, "appended_at"),
    some(Text, "reason", "detail"),
    maybe(Text, "tenant", "session_id"),
    maybe(LargeBinary, "key"),
    some(JSONB, "headers"),
    some(LargeBinary, "value"),
    some(BigInteger, "value_bytes"),
    maybe(Text, "resolution"),
    maybe(BigInteger, "resolved_offset"),
    maybe(INSTANT, "resolved_appended_at", "came_at"),
    maybe(LargeBinary, "mended"),
    maybe(Boolean, "waits"),
)
Index("dead_letter_session", dead_letter.c.tenant, dead_letter.c.session_id)
Index(
    "dead_letter_waits",
    dead_letter.c.partition,
    dead_letter.c.tenant,
    dead_letter.c.session_id,
    postgresql_where=text("waits"),
)

partition_owner = table(
    "partition_owner",
    "partition",
    some(Integer, "partition"),
    some(Text, "owner"),
    some(BigInteger, "epoch"),
    some(INSTANT, "acquired_at"),
    schema=STABLE,
    postgresql_with={"fillfactor": 50},
)

outbox = table(
    "outbox",
    "outbox_id",
    [Column("outbox_id", BigInteger, Identity(always=True))],
    some(Text, "topic"),
    some(Integer, "partition"),
    some(BigInteger, "epoch"),
    maybe(LargeBinary, "key"),
    some(LargeBinary, "value"),
    some(INSTANT, "created_at"),
    schema=STABLE,
)
Index("outbox_partition", outbox.c.partition, outbox.c.outbox_id)

admin_action = table(
    "admin_action",
    "tenant action_id",
    some(Text, "tenant"),
    some(Uuid, "action_id"),
    some(INSTANT, "at"),
    some(Text, "actor", "action", "subject"),
    maybe(Text, "reason", "origin"),
    some(Text, "result"),
    schema=STABLE,
)

broker_token = table(
    "broker_token",
    "token_id",
    some(Text, "token_id"),
    [Column("name", Text, nullable=False, unique=True)],
    some(LargeBinary, "secret_sha256"),
    some(ARRAY(Text), "sources"),
    maybe(ARRAY(Text), "tenants"),
    some(INSTANT, "created_at"),
    maybe(INSTANT, "expires_at", "revoked_at", "last_used_at"),
    schema=STABLE,
)

current_session = view(
    "current_session",
    [
        *some(Text, "tenant", "session_id", "user_id", "user_name", "desktop_id", "desktop_name", "desktop_pool"),
        *some(Text, "terminal_type", "terminal_os", "terminal_version", "terminal_name"),
        *some(Text, "client_ip", "access", "protocol", "broker"),
        *some(INSTANT, "login_at"),
        *some(Text, "state"),
        *some(INSTANT, "last_seen_at"),
        *some(Text, "current_client_ip"),
        *maybe(Integer, "idle_seconds", "round_trip_ms"),
        *maybe(Text, "predecessor"),
        *some(Integer, "revision", "partition"),
        *some(BigInteger, "offset"),
        *some(INSTANT, "appended_at"),
        *some(SmallInteger, "clock_flags"),
        *maybe(INSTANT, "lost_at", "ended_after", "ended_before"),
    ],
)
session_event = view("session_event", session_history)
session_revision = view("session_revision", session_history)
ended_session = view("ended_session", session_history)
tenant = view("tenant", tenant_config)
commands = view("command", command)
brokers = view("broker", broker)
positions = view("position", position)
dispositions = view("disposition", disposition)
dead_letters = view("dead_letter", dead_letter)
current_count = view(
    "current_count",
    [*some(Text, "tenant"), *some(Integer, "partition"), *some(Text, "broker", "state"), *some(BigInteger, "sessions")],
)
tenant_brokers = view(
    "tenant_broker",
    [
        *some(Text, "source"),
        *some(Integer, "partition"),
        *maybe(INSTANT, "last_event_at", "last_appended_at", "last_alive_at", "silent_since"),
        *maybe(Double, "skew_seconds"),
        *maybe(ARRAY(Text), "commands"),
        *maybe(INSTANT, "misrouted_at"),
    ],
)
