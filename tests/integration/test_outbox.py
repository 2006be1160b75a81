"""What the outbox takes, and from whom."""

import json
from typing import Any

import psycopg
import pytest


@pytest.mark.parametrize(
    ("epoch", "kind", "tenant", "is_taken"),
    [
        (0, "sojourn.session.disconnect_requested.v1", "acme", True),
        (0, "sojourn.session.disconnect_requested.v1", "globex", False),
        (1, "sojourn.session.disconnect_requested.v1", "acme", False),
        (0, "sojourn.session.lost.v1", "acme", False),
        (0, "sojourn.tenant.configured.v1", "acme", False),
        (0, "sojourn.log.dead_letter_resolved.v1", "acme", False),
    ],
)
async def test_an_operator_can_only_ask_for_what_operators_may_and_only_for_its_tenant(
    migrated: psycopg.AsyncConnection[Any], epoch: int, kind: str, tenant: str, *, is_taken: bool
) -> None:
    insert = (
        "INSERT INTO sojourn.outbox (topic, partition, epoch, value, created_at)"
        " VALUES ('sojourn.lifecycle', 0, %s, convert_to(%s, 'UTF8'), now())"
    )
    value = json.dumps({"type": kind, "tenant": tenant})

    async with migrated.transaction(force_rollback=True):
        await migrated.execute("SET LOCAL ROLE sojourn_operator")
        await migrated.execute("SELECT set_config('sojourn.tenant', 'acme', true)")
        try:
            await migrated.execute(insert, (epoch, value))
        except psycopg.errors.InsufficientPrivilege:
            assert not is_taken
        else:
            assert is_taken
