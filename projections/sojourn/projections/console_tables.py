"""The tables of the console as SQLAlchemy knows them; a test compares them with the migrations."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Date, Index, Integer, LargeBinary, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from sojourn.projections.tables import INSTANT, STABLE, TABLES, admin_action, maybe, some, table, view

__all__ = ["TABLES"]  # with these tables in it

Index("admin_action_at", admin_action.c.tenant, admin_action.c.at, admin_action.c.action_id)

export_job = table(
    "export_job",
    "tenant job_id",
    some(Text, "tenant"),
    some(Uuid, "job_id"),
    some(INSTANT, "requested_at"),
    some(Text, "requested_by"),
    some(JSONB, "filter"),
    some(Text, "format", "state"),
    maybe(INSTANT, "finished_at"),
    maybe(JSONB, "manifest"),
    some(Text, "dataset"),
    some(Boolean, "neutralised"),
    maybe(Text, "destination"),
    maybe(Uuid, "schedule_id"),
    maybe(BigInteger, "rows_expected"),
    some(BigInteger, "rows_written"),
    maybe(INSTANT, "started_at", "lease_until"),
    maybe(Text, "worker"),
    some(Integer, "attempts"),
    maybe(Text, "error"),
    maybe(INSTANT, "expires_at"),
    schema=STABLE,
)
Index("export_job_open", export_job.c.requested_at, postgresql_where=text("finished_at IS NULL"))
Index("export_job_newest", export_job.c.tenant, export_job.c.requested_at, export_job.c.job_id)

export_schedule = table(
    "export_schedule",
    "tenant schedule_id",
    some(Text, "tenant"),
    some(Uuid, "schedule_id"),
    some(Text, "name", "dataset", "format"),
    some(Boolean, "neutralised"),
    some(JSONB, "filter"),
    some(Text, "every", "time_of_day"),
    maybe(Text, "destination"),
    some(INSTANT, "created_at"),
    some(Text, "created_by"),
    some(Date, "next_day"),
    some(INSTANT, "next_at"),
    maybe(INSTANT, "ended_at"),
    schema=STABLE,
)
Index(
    "export_schedule_name",
    export_schedule.c.tenant,
    export_schedule.c.name,
    unique=True,
    postgresql_where=text("ended_at IS NULL"),
)

account = table(
    "account",
    "tenant account_id",
    some(Text, "tenant"),
    some(Uuid, "account_id"),
    some(Text, "name", "display_name"),
    maybe(Text, "password_hash"),
    maybe(INSTANT, "password_until"),
    maybe(Text, "issuer", "subject"),
    some(ARRAY(Text), "roles"),
    maybe(Text, "locale"),
    some(INSTANT, "created_at"),
    some(Text, "created_by"),
    maybe(INSTANT, "disabled_at", "last_sign_in_at"),
    schema=STABLE,
)
Index("account_name", func.lower(account.c.name), unique=True)
Index("account_subject", account.c.issuer, account.c.subject, unique=True)

sign_in = table(
    "sign_in",
    "tenant sign_in_id",
    some(Text, "tenant"),
    some(LargeBinary, "sign_in_id"),
    some(Uuid, "account_id"),
    some(INSTANT, "created_at", "last_seen_at", "confirmed_at"),
    maybe(INSTANT, "ended_at"),
    some(Text, "origin"),
    maybe(Text, "agent"),
    schema=STABLE,
)
Index("sign_in_id", sign_in.c.sign_in_id, unique=True)
Index("sign_in_account", sign_in.c.tenant, sign_in.c.account_id, postgresql_where=text("ended_at IS NULL"))

api_token = table(
    "api_token",
    "tenant token_id",
    some(Text, "tenant", "token_id", "name"),
    some(LargeBinary, "secret_sha256"),
    some(ARRAY(Text), "scopes"),
    maybe(Uuid, "account_id"),
    some(Text, "created_by"),
    some(INSTANT, "created_at", "expires_at"),
    maybe(INSTANT, "revoked_at", "last_used_at"),
    schema=STABLE,
)
Index("api_token_id", api_token.c.token_id, unique=True)
Index("api_token_name", api_token.c.tenant, api_token.c.name, unique=True)

saved_view = table(
    "saved_view",
    "tenant account_id page name",
    some(Text, "tenant"),
    some(Uuid, "account_id"),
    some(Text, "page", "name", "query"),
    some(INSTANT, "saved_at"),
    schema=STABLE,
)

console_key = table(
    "console_key",
    "name",
    some(Text, "name"),
    some(LargeBinary, "value"),
    some(INSTANT, "made_at"),
    schema=STABLE,
)

# What the console keeps of the history for statistics, and the projector tells about it.
late_record = table(
    "late_record",
    "tenant appended_at partition offset",
    some(Text, "tenant"),
    some(INSTANT, "appended_at"),
    some(Integer, "partition"),
    some(BigInteger, "offset"),
)

statistics_block = table(
    "statistics_block",
    "tenant starts_at",
    some(Text, "tenant"),
    some(INSTANT, "starts_at", "ends_at"),
    some(Text, "source"),
    some(BigInteger, "late"),
    some(LargeBinary, "added", "removed"),
)
statistics_blocks = view("statistics_block", statistics_block)
