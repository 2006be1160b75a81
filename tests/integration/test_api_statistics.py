"""`/v1/statistics`: each answer with its rule, the same filter for all, and refusals that name the parameter."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from sojourn.projections.statistics.rules import RULES
from tests.integration.rows import insert_history, insert_tenant
from tests.integration.site_steps import Console

PATHS: Final = {
    "work-hours": "work_hours",
    "frequency": "frequency",
    "terminals": "terminals",
    "access": "access",
    "concurrency": "concurrency",
    "durations": "durations",
    "hours": "hours",
}
LOGIN: Final = datetime(2026, 11, 19, 22, tzinfo=UTC)


async def fill(console: Console) -> None:
    """Let acme have two sessions of two users over a midnight in Berlin, and another tenant one in the same time."""
    async with console.rows() as connection:
        for tenant in ("acme", "other"):
            await insert_tenant(connection, tenant)
        await connection.execute("UPDATE sojourn_v1.tenant_config SET time_zone = 'Europe/Berlin'")
        for offset, (tenant, user) in enumerate((("acme", "u-1"), ("acme", "u-2"), ("other", "u-1"))):
            await insert_history(
                connection, tenant, f"s-{offset}", offset=offset, user_id=user, login_at=LOGIN,
                logout_at=LOGIN + timedelta(hours=2), online_seconds=7200.0,
            )  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_each_statistic_says_by_which_rule_in_which_zone_and_of_how_many_sessions(
    console: Console, path: str
) -> None:
    await fill(console)
    client = await console.client("acme", "read")

    found = await client.get(f"/v1/statistics/{path}", params={"from": "2026-11-01", "to": "2026-11-21"})

    assert found.status_code == 200, found.text
    answer = found.json()
    assert answer["rule"] == {"key": PATHS[path], "sentence": RULES[PATHS[path]]}
    assert (answer["time_zone"], answer["sessions"], answer["left_out"]["unknown_login"]) == ("Europe/Berlin", 2, 0)
    assert answer["range"] == {"from": "2026-11-01T00:00:00Z", "to": "2026-11-21T00:00:00Z"}


async def test_work_hours_come_by_user_and_by_the_days_of_the_tenants_zone(console: Console) -> None:
    await fill(console)
    client = await console.client("acme", "read")

    found = await client.get("/v1/statistics/work-hours", params={"from": "2026-11-19", "users": 1, "skip": 1})

    answer = found.json()
    assert answer["users_total"] == 2
    (user,) = answer["users"]
    assert (user["user_id"], user["seconds_min"], user["seconds_max"]) == ("u-2", 7200, 7200)
    assert [(day["day"], day["seconds_min"]) for day in user["days"]] == [("2026-11-19", 3600), ("2026-11-20", 3600)]


async def test_the_filter_of_the_lists_narrows_statistics_too(console: Console) -> None:
    await fill(console)
    client = await console.client("acme", "read")

    for name, value, sessions in (
        ("user", "u-1", 1), ("search", "U-2", 1), ("desktop", "cad-204", 2), ("terminal", "mobile", 0),
        ("access", "internal", 2), ("outcome", "abnormal", 0), ("reason", "logoff", 2), ("broker", "/brokers/eu-1", 2),
    ):  # fmt: skip
        found = await client.get("/v1/statistics/terminals", params={name: value})
        assert (found.status_code, found.json()["sessions"]) == (200, sessions), name


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("work-hours", "users", "1001"),
        ("work-hours", "skip", "-1"),
        ("frequency", "top", "x"),
        ("terminals", "terminal", "abacus"),
        ("access", "from", "yesterday"),
        ("durations", "user", "a\0b"),
        ("hours", "colour", "red"),
    ],
)
async def test_a_parameter_that_is_no_good_is_refused_by_its_name(
    console: Console, path: str, name: str, value: str
) -> None:
    await fill(console)
    client = await console.client("acme", "read")

    found = await client.get(f"/v1/statistics/{path}", params={name: value})

    assert found.status_code == 400, found.text
    assert name in found.json()["detail"]
