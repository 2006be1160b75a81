"""`sojourn users`, and the first administrator that `sojourn up` makes."""

import json
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from argon2 import PasswordHasher

from sojourn.console.opening import opened
from sojourn.console.users import first_administrator
from sojourn.events.embedded.database import Database
from tests.integration.command_line import Run, run_here

ACTS: Final = "SELECT tenant, actor, action, subject, origin, result FROM sojourn.admin_action ORDER BY at"
PASSWORD: Final = "seven purple elephants"  # noqa: S105 - of nobody


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], migrated_database: Database
) -> Iterator[Run]:
    """Run commands on the test's own database."""
    monkeypatch.setenv("LOGNAME", "ops")
    with run_here(monkeypatch, capfd, Path("/nonexistent/not-used")) as run:
        monkeypatch.setenv("SOJOURN_DATABASE_DSN", migrated_database.dsn)
        yield run


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def test_who_is_added_gets_a_password_for_one_sign_in_that_is_told_once(run: Run, migrated_database: Database) -> None:
    said = run("users", "add", "Ada", "--tenant", "acme", "--role", "operator", "--role", "viewer")

    assert (said.code, said.error) == (0, "")
    password, *words = said.out.splitlines()
    assert words == [
        "this is the only time that it is shown; with it they sign in once and choose their own",
        "Ada may sign in for acme as viewer, operator",
    ]
    ((kept, is_one_time),) = rows(
        migrated_database, "SELECT password_hash, password_until > now() + interval '6 days' FROM sojourn.account"
    )
    assert kept.startswith("$argon2id$")
    assert PasswordHasher().verify(kept, password)
    assert is_one_time
    listed = run("users", "list").out + run("users", "list", "--json").out
    assert password not in listed
    assert "argon2" not in listed


def test_a_password_on_standard_input_is_kept_and_not_shown(
    run: Run, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(f"{PASSWORD}\n"))

    said = run("users", "add", "ada", "--tenant", "acme", "--role", "viewer", "--password-stdin")

    assert said.out == "ada may sign in for acme as viewer\n"
    ((kept, until),) = rows(migrated_database, "SELECT password_hash, password_until FROM sojourn.account")
    assert PasswordHasher().verify(kept, PASSWORD)
    assert until is None


def test_users_are_listed_changed_and_ended_and_each_act_is_written_down(run: Run, migrated_database: Database) -> None:
    made = json.loads(run("users", "add", "ada", "--tenant", "acme", "--role", "viewer", "--json").out)
    run("users", "add", "root", "--role", "platform_admin", "--display-name", "Root of all")
    roles = json.loads(run("users", "set-roles", "ADA", "--role", "auditor", "--json").out)["roles"]
    disabled = json.loads(run("users", "disable", "ada", "--json").out)["disabled_at"]
    enabled = run("users", "enable", "ada").out
    reset = json.loads(run("users", "reset-password", "ada", "--json").out)

    assert roles == ["auditor"]
    assert disabled is not None
    assert enabled == "ada may sign in\n"
    assert reset["password"] != made["password"]
    assert [line.split()[0] for line in run("users", "list").out.splitlines()] == ["NAME", "ada", "root"]
    assert [
        one["name"] for one in map(json.loads, run("users", "list", "--tenant", "acme", "--json").out.splitlines())
    ] == ["ada"]
    assert "the platform" in run("users", "list").out
    assert rows(migrated_database, ACTS) == [
        ("acme", "ops", "user.add", "ada: viewer", "command line", "done"),
        ("~platform", "ops", "user.add", "root: platform_admin", "command line", "done"),
        ("acme", "ops", "user.set_roles", "ada: auditor", "command line", "done"),
        ("acme", "ops", "user.disable", "ada", "command line", "done"),
        ("acme", "ops", "user.enable", "ada", "command line", "done"),
        ("acme", "ops", "user.reset_password", "ada", "command line", "done"),
    ]


def test_what_cannot_be_done_is_told_in_one_line(
    run: Run, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("users", "add", "ada", "--tenant", "acme", "--role", "viewer")

    assert run("users", "list", "--tenant", "A").line(2).startswith("a tenant is 1 to 63 of")
    assert "name is taken" in run("users", "add", "ADA", "--tenant", "other", "--role", "viewer").line(1)
    assert "see `sojourn users list`: 'bob'" in run("users", "disable", "bob").line(1)
    assert "a role is one of viewer" in run("users", "set-roles", "ada", "--role", "king").line(2)
    assert "belongs to no tenant" in run("users", "add", "root", "--role", "viewer").line(2)
    assert "belongs to no tenant" in run("users", "set-roles", "ada", "--role", "platform_admin").line(2)
    assert "a name has letters" in run("users", "add", "a b", "--tenant", "acme", "--role", "viewer").line(2)
    monkeypatch.setattr(sys, "stdin", StringIO("short\n"))
    assert "12 to 200 characters" in run("users", "reset-password", "ada", "--password-stdin").line(2)
    assert len(rows(migrated_database, "SELECT FROM sojourn.account")) == 1


def test_the_settings_of_the_console_are_shown_without_their_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_CONSOLE_ORIGIN", "https://sojourn.example.com")
    monkeypatch.setenv("SOJOURN_OIDC_ISSUER", "https://login.example.com")
    monkeypatch.setenv("SOJOURN_OIDC_CLIENT_ID", "sojourn")
    monkeypatch.setenv("SOJOURN_OIDC_CLIENT_SECRET", "s3cret")

    said = run("config", "show").out

    assert "https://sojourn.example.com" in said
    assert "https://login.example.com" in said
    assert "s3cret" not in said


@pytest.mark.usefixtures("run")
async def test_the_first_administrator_is_made_once_and_never_beside_others(migrated_database: Database) -> None:
    async with opened(None) as parts:
        first = await first_administrator(parts)
        again = await first_administrator(parts)

    assert first is not None
    assert again is None
    ((tenant, name, roles, kept),) = rows(
        migrated_database, "SELECT tenant, name, roles, password_hash FROM sojourn.account"
    )
    assert (tenant, name, roles) == ("~platform", "admin", ["platform_admin"])
    assert PasswordHasher().verify(kept, first)


def test_nobody_is_made_where_it_cannot_be_written_down(run: Run, migrated_database: Database) -> None:
    with psycopg.connect(migrated_database.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE sojourn.admin_action ADD CHECK (actor <> 'ops')")

    run("users", "add", "ada", "--tenant", "acme", "--role", "viewer").line(1)

    assert rows(migrated_database, "SELECT FROM sojourn.account") == []
