"""What holds for each tenant, as the newest event of all partitions says."""

from contextlib import aclosing
from typing import Any

import sqlalchemy as sa
from msgspec import convert
from psycopg import AsyncConnection

from sojourn.events.decision_data import TenantConfiguredData
from sojourn.projections import tables
from sojourn.projections.read import stream


async def tenant_settings(connection: AsyncConnection[Any]) -> list[tuple[str, TenantConfiguredData]]:
    """Return all tenants by name, each with its newest setting; as the auditor."""
    t, s = tables.tenant.c, tables.tenant_setting.c
    newest = sa.select(s.setting).where(s.tenant == t.tenant).order_by(s.appended_at.desc()).limit(1).scalar_subquery()
    async with aclosing(stream(connection, sa.select(t.tenant, newest).order_by(t.tenant))) as rows:
        return [(tenant, convert(setting or {}, TenantConfiguredData)) async for tenant, setting in rows]
