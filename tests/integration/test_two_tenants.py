"""Two tenants on one console: what one of them has makes no difference to what the other is told, whatever it asks."""

import re
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import psycopg
import pytest
import pytest_asyncio
from litestar import Litestar
from psycopg.conninfo import make_conninfo

from sojourn.console.http.gateway import Gateway
from sojourn.console.served import served
from sojourn.events.embedded.database import ExternalDatabase
from tests.integration.rows import insert_history, insert_live, insert_tenant
from tests.integration.site_steps import Console, running_console

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS: Final = "acme"
THEIRS: Final = "zebra"  # stands in all that is theirs, so that any of it is seen where it does not belong
NOBODY: Final = "nobody"

SHARED: Final = "s-1"  # the id of a session of ours and of one of theirs

# What moves with time, and says nothing of who is there.
MOVING: Final = frozenset({"as_of", "duration_seconds", "complete_to", "sentence", "last_used_at", "last_seen_at"})
ENDLESS: Final = frozenset({"/v1/stream"})  # tests/integration/test_stream.py
# What asking changes: our own tokens were used, our own acts were written down.
OWN_TRAIL: Final = frozenset({"/v1/admin-actions"})

# What is sent with what names a thing of theirs in its path, so that it is judged by that name and not by its body.
BODIES: Final[dict[str, Any]] = {
    "updateUser": {"roles": ["viewer"]},
}


# Of statistics, whose range ends now if it is not said.
RANGE: Final = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-24T00:00:00Z"}


class Operation(NamedTuple):
    """One thing that the API can be asked."""

    name: str
    method: str
    path: str
    parameters: tuple[str, ...]
    has_body: bool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(migrated_server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """Serve a console with sessions of both tenants."""
    with psycopg.connect(migrated_server, autocommit=True) as superuser:
        superuser.execute("CREATE DATABASE two_tenants TEMPLATE migrated")
    database = ExternalDatabase(make_conninfo(migrated_server, dbname="two_tenants"))
    async with running_console(database, tmp_path_factory.mktemp("console")) as console:
        async with console.rows() as connection:
            await insert_tenant(connection, OURS)
            await insert_tenant(connection, THEIRS)
            await insert_live(connection, OURS, SHARED)
            await insert_history(connection, OURS, "s-0")
            await insert_history(connection, OURS, SHARED, state="active", logout_at=None, offset=1, revision=1)
        yield console


async def operations(console: Console) -> list[Operation]:
    """Return everything that the API says it can be asked."""
    client = await console.client(OURS)
    document = (await client.get("/v1/openapi.json")).json()
    found = [
        Operation(
            operation["operationId"],
            method.upper(),
            path,
            tuple(one["name"] for one in operation.get("parameters", []) if one["in"] == "path"),
            "requestBody" in operation,
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(found) > 20, found
    return found


async def give_them_much(console: Console) -> dict[str, str]:
    """Let the other tenant have one of everything; return what paths call each of them."""
    async with console.rows() as connection:
        names = {"user_id": f"{THEIRS}-u", "user_name": f"{THEIRS} user", "desktop_name": f"{THEIRS} desktop"}
        await connection.execute("DELETE FROM sojourn_v1.live_session WHERE tenant = %s", [THEIRS])
        await connection.execute("DELETE FROM sojourn_v1.session_history WHERE tenant = %s", [THEIRS])
        await connection.execute(
            "INSERT INTO sojourn_v1.broker (source, partition, last_appended_at, last_alive_at, silent_since)"
            " VALUES (%s, 0, now(), now(), now()) ON CONFLICT DO NOTHING",
            [f"/brokers/{THEIRS}"],
        )
        for number, session_id in enumerate((SHARED, f"{THEIRS}-live"), start=10):
            shown = {**names, "client_ip": "203.0.113.99", "broker": f"/brokers/{THEIRS}", "terminal_name": THEIRS}
            await insert_live(connection, THEIRS, session_id, **shown)
            begun = {"state": "active", "logout_at": None, "revision": 1}
            await insert_history(connection, THEIRS, session_id, offset=number, **begun, **shown)
        await insert_history(connection, THEIRS, f"{THEIRS}-ended", offset=20, **names)
    theirs, new = await console.client(THEIRS), f"{THEIRS}-{uuid.uuid4()}"
    owned: dict[str, str] = {"session_id": f"{THEIRS}-live"}
    for parameter, path, body in (
        ("job_id", "/v1/exports", {"dataset": "history", "format": "csv"}),
        (
            "schedule_id",
            "/v1/export-schedules",
            {"name": new, "every": "day", "time_of_day": "03:00", "format": "csv"},
        ),
        ("disconnect_id", "/v1/disconnects", {"session_ids": [f"{THEIRS}-live"], "reason": THEIRS}),
        ("token_id", "/v1/tokens", {"name": new, "scopes": ["read"]}),
        ("account_id", "/v1/users", {"name": new, "display_name": THEIRS, "roles": ["viewer"]}),
    ):
        made = await theirs.post(path, json=body)
        assert made.is_success, f"{path}: {made.text}"
        owned[parameter] = str(made.json()[parameter])
    return owned


def unknown(value: str) -> str:
    """Return what names nothing, and looks like this name."""
    try:
        uuid.UUID(value)
    except ValueError:
        return re.sub("[0-9a-z]", "0", value)
    return str(uuid.UUID(int=0))


async def asked(client: httpx.AsyncClient, operation: Operation, values: dict[str, str]) -> httpx.Response:
    path = operation.path.format(**{name: values.get(name, "1") for name in operation.parameters})
    ranged = RANGE if operation.path.startswith("/v1/statistics/") else None
    return await client.request(operation.method, path, json=BODIES.get(operation.name), params=ranged)


def still(value: Any) -> Any:
    """Return an answer without what moves with time."""
    if isinstance(value, dict):
        return {name: still(one) for name, one in value.items() if name not in MOVING}
    return [still(one) for one in value] if isinstance(value, list) else value


async def test_our_answers_are_the_same_bytes_with_and_without_them(console: Console) -> None:
    ours = await console.client(OURS)
    lists = [operation for operation in await operations(console) if operation.method == "GET"]
    known = {"session_id": SHARED}

    async def told() -> dict[str, Any]:
        answers = {}
        for operation in lists:
            if operation.path in ENDLESS or set(operation.parameters) - known.keys():
                continue
            answer = await asked(ours, operation, known)
            if operation.path in OWN_TRAIL:
                assert THEIRS not in answer.text
                continue
            assert answer.is_success, f"{operation}: {answer.text}"
            answers[operation.path] = still(answer.json())
        return answers

    before = await told()
    await give_them_much(console)
    await console.execute("ANALYZE")

    assert await told() == before
    assert len(before) > 10


async def test_nothing_of_theirs_stands_in_our_pages(console: Console, tmp_path: Path) -> None:
    await give_them_much(console)
    person = await console.person(OURS, "tenant_admin")

    for path in sorted(set(page_paths(console, tmp_path))):
        if "{" in path.replace("{tenant}", ""):
            continue
        answer = await person.get(path.format(tenant=OURS))
        assert answer.status_code in {200, 303, 405}, f"{path}: {answer.status_code}"
        assert THEIRS not in answer.text, path


async def test_what_is_theirs_is_to_us_as_if_there_were_nothing(console: Console) -> None:
    theirs = await give_them_much(console)
    ours = await console.client(OURS)
    nothing = {name: unknown(value) for name, value in theirs.items()}
    judged = []

    for operation in await operations(console):
        if not operation.parameters:
            continue
        assert not operation.has_body or operation.name in BODIES, f"{operation.name}: say in `BODIES` what is sent"
        assert set(operation.parameters) & theirs.keys(), f"{operation.name}: say in `give_them_much` what this is"
        one = await asked(ours, operation, theirs)
        other = await asked(ours, operation, nothing)
        told, expected = one.text, other.text
        for name in operation.parameters:
            told = told.replace(theirs.get(name, "1"), "ID")
            expected = expected.replace(nothing.get(name, "1"), "ID")
        assert (one.status_code, told) == (other.status_code, expected), operation
        assert one.status_code in {400, 403, 404}, operation
        judged.append(operation.name)

    assert len(judged) > 10
    refused = await ours.post("/v1/disconnects", json={"session_ids": [theirs["session_id"], "none"], "reason": "why"})
    both = refused.json()["results"]
    assert still({**both[0], "session_id": ""}) == still({**both[1], "session_id": ""})


async def test_a_cursor_of_theirs_opens_no_list_of_ours(console: Console) -> None:
    async with console.rows() as connection:
        for number in range(30):
            await insert_live(connection, THEIRS, f"{THEIRS}-{uuid.uuid4()}", offset=100 + number)
    theirs, ours = await console.client(THEIRS), await console.client(OURS)
    page = (await theirs.get("/v1/sessions", params={"limit": 5})).json()

    refused = await ours.get("/v1/sessions", params={"limit": 5, "cursor": page["next"]})
    own = await theirs.get("/v1/sessions", params={"limit": 5, "cursor": page["next"]})
    other_filter = await theirs.get("/v1/sessions", params={"limit": 5, "cursor": page["next"], "access": "public"})

    assert own.is_success
    assert (refused.status_code, other_filter.status_code) == (409, 409)


def page_paths(console: Console, folder: Path) -> Iterator[str]:
    """Yield the paths of all pages of a tenant, with a place for the tenant."""
    server = served(console.database, console.log, folder, Gateway(console.database, console.log), [], {})
    app = server.config.app
    assert isinstance(app, Litestar)
    for route in app.routes:
        if route.path.startswith("/t/"):
            yield re.sub(r"\{(\w+)(:\w+)?\}", r"{\1}", route.path_format)


async def test_the_pages_of_another_tenant_are_those_of_none(console: Console, tmp_path: Path) -> None:
    theirs = await give_them_much(console)
    person = await console.person(OURS, "tenant_admin")
    paths = sorted(set(page_paths(console, tmp_path)))

    for path in paths:
        rest = {name: theirs.get(name, "x") for name in re.findall(r"\{(\w+)\}", path) if name != "tenant"}
        for method in ("GET", "POST"):
            one = await person.request(method, path.format(tenant=THEIRS, **rest))
            other = await person.request(method, path.format(tenant=NOBODY, **rest))
            assert one.status_code == other.status_code, (method, path)
            assert one.status_code in {404, 405}, (method, path)
            hidden = re.compile(rf"{THEIRS}|{NOBODY}|[0-9a-f]{{8,}}|data-now=\S+")  # and request ids
            assert hidden.sub("", one.text) == hidden.sub("", other.text), (method, path)
    assert len(paths) > 8
