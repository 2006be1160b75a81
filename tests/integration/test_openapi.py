"""The API against its own description: schemathesis asks what the document allows, and what it does not."""

import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import STDOUT
from typing import Final

import pytest
from argon2 import PasswordHasher

from sojourn.console.http import limits
from sojourn.console.identity import passwords
from sojourn.console.jobs import asking
from sojourn.console.site.principal import PERMISSIONS
from sojourn.events.embedded.database import Database
from tests.integration.export_steps import Exporting, exporting
from tests.integration.rows import insert_history

MANY: Final = 1 << 30

CONFIGURATION: Final = """
max-stream-events = 1  # of /v1/stream, which never ends

[checks.positive_data_acceptance]
# What no schema can tell: 409 is a contradiction, as an empty range, 422 a key that another request had.
expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]
"""

# It would revoke the token that is shown, and all that came after it would be 401.
ALONE: Final = "revokeToken"


@pytest.fixture
async def console(
    migrated_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Exporting]:
    """Serve a console that can be asked without end, and whose passwords cost nothing."""
    monkeypatch.setattr(limits, "REQUESTS_AT_ONCE_MAX", MANY)
    monkeypatch.setattr(asking, "OPEN_JOBS_MAX", MANY)
    monkeypatch.setattr(asking, "SCHEDULES_MAX", MANY)
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with exporting(migrated_database, tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    ("phases", "examples"),
    [
        pytest.param("examples,fuzzing,stateful", 3, id="a little"),
        pytest.param(
            "examples,coverage,fuzzing,stateful", 200, id="much", marks=[pytest.mark.slow, pytest.mark.timeout(5400)]
        ),
    ],
)
async def test_the_api_does_what_its_description_says(
    console: Exporting, tmp_path: Path, phases: str, examples: int
) -> None:
    client = await console.client("acme")
    token = await console.token("acme", sorted(PERMISSIONS - {"platform"}))
    await console.exported(client)
    async with console.rows() as connection:
        begun = {"state": "active", "logout_at": None, "revision": 1}
        await insert_history(connection, "acme", "s-open", offset=1000, **begun)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)

    for which in ("--exclude-operation-id", "--include-operation-id"):
        process = await create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "run", f"{console.url}/v1/openapi.json", which, ALONE,
            "--header", f"Authorization: Bearer {token}", "--phases", phases, "--max-examples", str(examples),
            "--generation-deterministic", "--suppress-health-check", "all", "--no-color", "--continue-on-failure",
            cwd=tmp_path, stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip
        told, _ = await process.communicate()

        assert process.returncode == 0, told.decode()
        shown = console.visitor({"Authorization": f"Bearer {token}"})
        assert (await shown.get("/v1/freshness")).status_code == 200, "the token was good for nothing"
