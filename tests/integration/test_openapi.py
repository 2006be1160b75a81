"""The API against its own description: schemathesis asks what the document allows, and what it does not."""

import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from pathlib import Path
from subprocess import STDOUT
from typing import Final

import pytest

from tests.integration.rows import insert_history, insert_live, insert_tenant
from tests.integration.site_steps import Console

EXAMPLES: Final = 100
SECONDS_MAX: Final = 600  # of asking; it ends well when they are over

CONFIGURATION: Final = """
[checks.positive_data_acceptance]
# 409 and 422 are contradictions that no schema can tell: an empty range, a key that another request had.
expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]

# It never ends, and has a test of its own.
[[operations]]
include-path = "/v1/stream"
enabled = false

# They take times as people write them, in the tenant's zone, and names that are configured: no schema can tell these.
[[operations]]
include-path-regex = "^/v1/(statistics|exports|export-schedules)"
checks.positive_data_acceptance.enabled = false
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_api_does_what_its_description_says(console: Console, tmp_path: Path) -> None:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
        await insert_live(connection, "acme", "s-1")
        await insert_history(connection, "acme", "h-1")
    token = await console.token("acme", ["read", "disconnect", "export", "audit"])
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)

    process = await create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{console.url}/v1/openapi.json",
        "--header", f"Authorization: Bearer {token}", "--max-examples", str(EXAMPLES), "--seed", "1",
        "--generation-deterministic", "--no-color", "--max-time", str(SECONDS_MAX),
        cwd=tmp_path, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    told, _ = await process.communicate()

    assert process.returncode == 0, told.decode()
