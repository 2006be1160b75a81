"""Two installations that differ by a tenant: whatever the other one asks, both answer alike, byte for byte."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import psycopg
import pytest
import schemathesis
from argon2 import PasswordHasher
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from psycopg.conninfo import make_conninfo
from schemathesis import Case
from schemathesis.core.result import Ok

from sojourn.console.http import limits
from sojourn.console.identity import passwords
from sojourn.console.jobs import asking
from sojourn.events.embedded.database import ExternalDatabase
from tests.integration.rows import insert_history, insert_live, insert_tenant
from tests.integration.site_steps import Console, running_console
from tests.integration.test_two_tenants import ENDLESS, OURS, RANGE, SHARED, THEIRS, give_them_much

CASES: Final = 5  # of each operation: enough for an example of each body, and some that are nonsense
MANY: Final = 1 << 30

# What two installations say differently of the same: made-up ids and secrets, the time, the places of cursors.
OWN: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{16}\b|sja_[\w-]+|"
    r"\b[a-z0-9]{5}(?:-[a-z0-9]{5}){3}\b|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|(?<=\"duration_seconds\":)[\d.]+|"
    r"(?<=\"sentence\":)\"[^\"]*\"|(?<=\"next\":)\"[^\"]*\"|(?<=\"previous\":)\"[^\"]*\""
)


class Asked(NamedTuple):
    """One request as both installations get it."""

    method: str
    path: str
    query: Any
    headers: dict[str, str]
    body: Any


@asynccontextmanager
async def installation(dsn: str, name: str, folder: Path) -> AsyncIterator[Console]:
    """Serve a console of our tenant alone."""
    with psycopg.connect(dsn, autocommit=True) as superuser:
        superuser.execute(f"CREATE DATABASE {name} TEMPLATE migrated".encode())
    async with running_console(ExternalDatabase(make_conninfo(dsn, dbname=name)), folder) as console:
        async with console.rows() as connection:
            await insert_tenant(connection, OURS)
            await insert_live(connection, OURS, SHARED)
            await insert_history(connection, OURS, "s-0")
            await insert_history(connection, OURS, SHARED, state="active", logout_at=None, offset=1, revision=1)
        yield console


def cases(document: dict[str, Any]) -> Iterator[Case[Any]]:
    """Yield some requests for each operation, the same in each run."""
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path not in ENDLESS:
            yield from drawn(operation.as_strategy())


def drawn(strategy: SearchStrategy[Case[Any]]) -> list[Case[Any]]:
    found: list[Case[Any]] = []

    @settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(case: Case[Any]) -> None:
        found.append(case)

    draw()
    return found


def asked(case: Case[Any], named: dict[str, str]) -> Asked:
    """Return a case as a request, with these names in its path."""
    values = {**case.path_parameters, **{name: named[name] for name in case.path_parameters.keys() & named.keys()}}
    path = re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]), case.operation.path)
    # The others say who asks, which is not made up here.
    headers = ((name, value) for name, value in case.headers.items() if name == "Idempotency-Key" and value.isalnum())
    body = case.body if isinstance(case.body, dict) else None
    query = {**case.query, **(RANGE if path.startswith("/v1/statistics/") else {})}  # which ends now if it is not said
    return Asked(case.method, path, query, dict(headers), body)


async def told(client: httpx.AsyncClient, one: Asked) -> tuple[int, str]:
    answer = await client.request(one.method, one.path, params=one.query, headers=one.headers, json=one.body)
    return answer.status_code, OWN.sub("…", answer.text)


async def test_nobody_can_tell_whether_another_tenant_is_there(
    migrated_server: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUESTS_AT_ONCE_MAX", MANY)
    monkeypatch.setattr(asking, "OPEN_JOBS_MAX", MANY)
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    answered: set[int] = set()

    async with (
        installation(migrated_server, "alone", tmp_path_factory.mktemp("alone")) as alone,
        installation(migrated_server, "beside", tmp_path_factory.mktemp("beside")) as beside,
    ):
        async with beside.rows() as connection:
            await insert_tenant(connection, THEIRS)
        theirs = await give_them_much(beside)
        clients = [await console.client(OURS) for console in (alone, beside)]
        document = (await clients[0].get("/v1/openapi.json")).json()
        for number, case in enumerate(cases(document)):
            one = asked(case, theirs if number % 2 else {"session_id": SHARED})
            first, second = [await told(client, one) for client in clients]
            assert first == second, one
            assert THEIRS not in second[1].replace(theirs["session_id"], ""), one
            answered.add(first[0])

    assert {200, 201, 202, 404} <= answered
