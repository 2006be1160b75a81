"""`sojourn brokers add|list|revoke`, what is kept of a token, and `sojourn gateway` as a process."""

import hashlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from sojourn.console.http.credentials import new_token, shown
from sojourn.events.embedded.database import Database
from tests.integration.command import SOJOURN, WAIT_SECONDS_MAX, free_port
from tests.integration.command_line import Run, run_here
from tests.unit.events import established, to_bytes

ACTIONS: Final = "SELECT tenant, actor, action, subject, result FROM sojourn.admin_action ORDER BY at, tenant"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], migrated_database: Database
) -> Iterator[Run]:
    """Run commands on the test's own database."""
    monkeypatch.setenv("LOGNAME", "ada")
    with run_here(monkeypatch, capfd, Path("/nonexistent/not-used")) as run:
        monkeypatch.setenv("SOJOURN_DATABASE_DSN", migrated_database.dsn)
        yield run


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def added(run: Run, *words: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(run("brokers", "add", *words, "--json").out)
    return made


def test_a_token_is_told_once_and_only_a_hash_of_its_secret_is_kept(run: Run, migrated_database: Database) -> None:
    said = run("brokers", "add", "eu-1", "--source", "/b/2", "--source", "/b/1", "--tenant", "acme")

    assert (said.code, said.error) == (0, "")
    token, *words = said.out.splitlines()
    assert words[0] == "this is the only time that it is shown: what is kept does not give it back"
    assert words[1] == "eu-1 speaks for /b/1, /b/2 about acme until it is revoked"
    prefix, token_id, secret = token.split("_", 2)
    assert prefix == "sjb"
    kept = rows(migrated_database, "SELECT token_id, secret_sha256, sources, tenants FROM sojourn.broker_token")
    assert kept == [(token_id, hashlib.sha256(secret.encode()).digest(), ["/b/1", "/b/2"], ["acme"])]
    query = "SELECT t::text FROM sojourn.broker_token t UNION SELECT a::text FROM sojourn.admin_action a"
    everything = rows(migrated_database, query)
    assert all(secret not in text for (text,) in everything)
    assert secret not in run("brokers", "list").out + run("brokers", "list", "--json").out


def test_whoever_makes_or_ends_a_token_is_written_down_with_what_came_of_it(
    run: Run, migrated_database: Database
) -> None:
    added(run, "eu-1", "--source", "/b", "--tenant", "globex", "--tenant", "acme")
    added(run, "eu-2", "--source", "/b")
    taken = run("brokers", "add", "eu-2", "--source", "/b").line(1)
    first = run("brokers", "revoke", "eu-1").out
    again = run("brokers", "revoke", "eu-1").out
    unknown = run("brokers", "revoke", "eu-3").line(1)

    assert taken == "a token of this name was made before, and no name is used twice; choose another: 'eu-2'"
    assert first.startswith("eu-1 is revoked, at ")
    assert again == first.replace("is revoked", "was revoked")
    assert unknown == "there is no token of this name; see `sojourn brokers list`: 'eu-3'"
    assert rows(migrated_database, ACTIONS) == [
        ("acme", "ada", "broker_token.add", "eu-1", "done"),
        ("globex", "ada", "broker_token.add", "eu-1", "done"),
        ("~platform", "ada", "broker_token.add", "eu-2", "done"),
        ("~platform", "ada", "broker_token.add", "eu-2", "refused: the name is taken"),
        ("acme", "ada", "broker_token.revoke", "eu-1", "done"),
        ("globex", "ada", "broker_token.revoke", "eu-1", "done"),
        ("acme", "ada", "broker_token.revoke", "eu-1", "revoked before"),
        ("globex", "ada", "broker_token.revoke", "eu-1", "revoked before"),
        ("~platform", "ada", "broker_token.revoke", "eu-3", "refused: no such token"),
    ]


def test_a_token_is_not_made_when_it_cannot_be_written_down(run: Run, migrated_database: Database) -> None:
    with psycopg.connect(migrated_database.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE sojourn.admin_action ADD CHECK (actor <> 'ada')")

    run("brokers", "add", "eu-1", "--source", "/b").line(1)

    assert rows(migrated_database, "SELECT name FROM sojourn.broker_token") == []


def test_one_list_shows_what_each_broker_is_bound_to_and_its_tokens(run: Run, migrated_database: Database) -> None:
    assert run("brokers", "list").out.startswith("no broker is bound and none has a token")
    with psycopg.connect(migrated_database.dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO sojourn_v1.broker (source, partition, partitioner, tenants, bound_at)"
            " SELECT '/b/1', p, 'crc32', CASE WHEN p < 7 THEN ARRAY['acme', 'globex'] END,"
            " CASE WHEN p < 7 THEN '2026-11-24 09:00Z'::timestamptz ELSE '2026-11-24 08:00Z' END"
            " FROM generate_series(0, 11) AS p"
        )
    until = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    added(run, "eu-1", "--source", "/b/1", "--source", "/b/2", "--tenant", "acme", "--expires", until.isoformat())
    added(run, "eu-2", "--source", "/b/2")
    run("brokers", "revoke", "eu-2")

    lines = run("brokers", "list").out.splitlines()
    objects = [json.loads(line) for line in run("brokers", "list", "--json").out.splitlines()]

    assert lines[0].split("  ")[0] == "SOURCE"
    assert [line.split()[0] for line in lines[1:4]] == ["/b/1", "/b/2", "/b/2"]
    assert "crc32" in lines[1]
    assert "acme, globex" in lines[1]
    assert "in 7 of 12 partitions" in lines[1]
    assert until.strftime("%Y-%m-%d %H:%M:%S") in lines[1]
    assert lines[1].endswith("never")
    assert "revoked" in lines[3]
    assert lines[4] == "a partition applies a binding once it has read it: see `sojourn status`"
    assert [(o["source"], o["token"]) for o in objects] == [("/b/1", "eu-1"), ("/b/2", "eu-1"), ("/b/2", "eu-2")]
    first = objects[0]
    assert first.pop("expires_at")
    assert first.pop("bound_at") == "2026-11-24T09:00:00.000Z"
    assert first == {
        "source": "/b/1",
        "partitioner": "crc32",
        "tenants": ["acme", "globex"],
        "applied": 7,
        "partitions": 12,
        "token": "eu-1",
        "token_tenants": ["acme"],
        "revoked_at": None,
        "last_used_at": None,
    }
    assert objects[2]["revoked_at"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a b", "--source", "/b"), "a token's name has letters, digits and . _ -, at most 100, not: 'a b'"),
        (("x" * 101, "--source", "/b"), "at most 100"),
        (("eu-1",), "--source"),
        (("eu-1", "--source", "/b\n"), "a source is 1 to 1,000 characters, no control characters, not: '/b\\n'"),
        (("eu-1", "--source", "/sojourn"), "no broker speaks for Sojourn itself, whose source this is: '/sojourn'"),
        (("eu-1", "--source", "/b", "--tenant", "A"), "a tenant is 1 to 63 of a-z, 0-9 and -, not: 'A'"),
        (("eu-1", "--source", "/b", "--expires", "tomorrow"), "which --expires is not: 'tomorrow'"),
        (("eu-1", "--source", "/b", "--expires", "2026-01-01"), "--expires is later than now: '2026-01-01'"),
        (("eu-1", *(word for n in range(101) for word in ("--source", f"/b/{n}"))), "not: 101 and 0"),
    ],
)
def test_what_can_be_no_token_is_wrong_usage_and_makes_none(
    run: Run, migrated_database: Database, words: tuple[str, ...], message: str
) -> None:
    assert message in run("brokers", "add", *words).line(2)
    assert rows(migrated_database, "SELECT name FROM sojourn.broker_token") == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sojourn.broker_token VALUES ('i', 'n', '', '{}', NULL, now())",
        "UPDATE sojourn.broker_token SET sources = '{/b}'",
        "UPDATE sojourn.broker_token SET revoked_at = NULL",
        "DELETE FROM sojourn.broker_token",
        "UPDATE sojourn_v1.command SET state = 'confirmed'",
        "SELECT FROM sojourn_v1.live_session",
        "SELECT FROM sojourn.session_event",
        "SELECT FROM sojourn.admin_action",
    ],
)
def test_the_gateways_role_can_do_no_more_than_it_has_to(migrated_database: Database, statement: str) -> None:
    with psycopg.connect(migrated_database.dsn) as connection:
        connection.execute("SET ROLE sojourn_gateway")

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_a_token_shows_nothing_of_itself_when_it_is_printed() -> None:
    made = new_token()
    header = f"Bearer {made.token}".encode()

    seen = shown(header)

    assert seen is not None
    assert seen.is_of(made.secret_sha256)
    assert not seen.is_of(bytes(32))
    assert not seen.is_of(None)
    assert repr(seen) == f"Shown({made.token_id!r})"
    assert shown(header + b" ") is shown(header[:-1]) is shown(b"Bearer x") is None


def ask(port: int, path: str, content: bytes | None = None, **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, named)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS_MAX) as answer:  # noqa: S310 - as above
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def is_well(port: int) -> bool:
    try:
        return ask(port, "/health") == (200, {"status": "ok", "database": True, "log": True})
    except OSError:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("run")
def test_the_gateway_runs_beside_workers_and_ends_well_with_a_poll_under_way(migrated_database: Database) -> None:
    port = free_port()
    process = subprocess.Popen(
        [SOJOURN, "gateway", "--port", str(port)], env=dict(os.environ), stderr=subprocess.PIPE, text=True
    )
    try:
        until(lambda: is_well(port))
        with psycopg.connect(migrated_database.dsn, autocommit=True) as connection:
            made = new_token()
            connection.execute(
                "INSERT INTO sojourn.broker_token (token_id, name, secret_sha256, sources, created_at)"
                " VALUES (%s, 'eu-1', %s, '{/brokers/eu-1}', now())",
                [made.token_id, made.secret_sha256],
            )
            headers = {"Authorization": f"Bearer {made.token}", "Content_Type": "application/cloudevents+json"}
            told = ask(port, "/v1/events", to_bytes(established()), **headers)
            connection.execute("UPDATE sojourn.broker_token SET last_used_at = NULL")
        url = f"http://127.0.0.1:{port}/v1/commands?wait=60"
        poll = subprocess.Popen(
            ["curl", "-s", url, "-H", f"Authorization: Bearer {made.token}"], stdout=subprocess.PIPE
        )
        until(lambda: rows(migrated_database, "SELECT last_used_at IS NULL FROM sojourn.broker_token") == [(False,)])

        process.send_signal(signal.SIGTERM)

        assert poll.communicate(timeout=WAIT_SECONDS_MAX)[0] == b'{"commands":[]}'
        assert process.wait(WAIT_SECONDS_MAX) == 0
    finally:
        process.kill()
        said = process.communicate()[1]
    assert told == (202, {"accepted": 1, "rejected": 0, "results": [{"id": "1", "status": "accepted"}]})
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["gateway.started", "gateway.stopped"]
    assert rows(migrated_database, "SELECT value FROM sojourn_log.lifecycle") == [(to_bytes(established()),)]
