"""A console and workers of its exports, with a tenant's history, for the tests of export jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from sojourn.console.jobs.runner import Exports
from sojourn.console.site.site import Site
from sojourn.events.embedded.database import Database
from tests.integration.rows import insert_history, insert_live, insert_tenant
from tests.integration.site_steps import WAIT_SECONDS_MAX, Console, running_console

DAYS = 3
A_DAY = 40
ROWS = DAYS * A_DAY


class Exporting(Console):
    """A console whose exports are worked on when a test says so."""

    data_dir: Path
    archive: Path

    @asynccontextmanager
    async def site(self) -> AsyncIterator[Site]:
        """Give another process's way to the database."""
        site = Site(self.database, self.log, self.data_dir, {"archive": self.archive})
        try:
            yield site
        finally:
            await site.close()

    @asynccontextmanager
    async def workers(self) -> AsyncIterator[Exports]:
        """Give what one process does about exports."""
        async with self.site() as site:
            yield Exports(site)

    async def work(self) -> None:
        """Let one process do all that there is to do."""
        async with self.workers() as exports:
            await finish(exports)

    async def exported(self, client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
        """Ask for an export, let it be worked on, and return how it stands."""
        answer = await client.post("/v1/exports", json={"dataset": "history", "format": "csv", **asked})
        assert answer.status_code == 202, answer.text
        await self.work()
        return await self.job(client, answer.json()["job_id"])

    async def job(self, client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
        """Return how a job stands."""
        answer = await client.get(f"/v1/exports/{job_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def folder(self, job: dict[str, Any], tenant: str = "acme") -> Path:
        """Return where the files of a job lie."""
        return self.data_dir / "exports" / tenant / str(job["job_id"])

    async def acts(self, action: str) -> list[tuple[Any, ...]]:
        """Return who did what, and what came of it, in the order of time."""
        return await self.execute(
            "SELECT actor, subject, result::json->>'outcome', result::json->>'detail' FROM sojourn.admin_action"
            " WHERE action = %s ORDER BY at",
            [action],
        )


async def finish(exports: Exports) -> None:
    """Work until nothing waits."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        await exports.round()
        while exports._working:
            await asyncio.gather(*exports._working)
            await exports.round()


@asynccontextmanager
async def exporting(database: Database, folder: Path) -> AsyncIterator[Exporting]:
    """Serve a console with a destination, and a tenant beside another that has the same ids."""
    data_dir, archive = folder / "data", folder / "archive"
    data_dir.mkdir()
    archive.mkdir()
    async with running_console(database, data_dir, {"archive": archive}) as console:
        found = Exporting(console.database, console.log, console.port)
        found.data_dir, found.archive = data_dir, archive
        async with found.rows() as connection:
            await fill(connection)
        yield found
        await found.close()


async def fill(connection: psycopg.AsyncConnection[Any], rows: int = ROWS, a_day: int = A_DAY) -> None:
    """Let acme have days of history and an open session, and globex the same ids."""
    for tenant in ("acme", "globex"):
        await insert_tenant(connection, tenant)
        await insert_history(connection, tenant, "first", user_name="=1+1" if tenant == "acme" else tenant)
        await insert_live(connection, tenant, "s-open")
    await connection.execute(
        """
        INSERT INTO sojourn_v1.session_history
        SELECT (jsonb_populate_record(h, jsonb_build_object(
            'session_id', 's-' || n, 'offset', n, 'user_id', 'u-' || n %% 10,
            'login_at', h.login_at + n / %(per_day)s * interval '1 day',
            'logout_at', h.logout_at + n / %(per_day)s * interval '1 day' + n * interval '1 microsecond'))).*
        FROM sojourn_v1.session_history AS h, generate_series(1, %(rows)s) AS n WHERE h.tenant = 'acme'
        """,
        {"rows": rows - 1, "per_day": a_day},
    )
    for partition in range(12):
        await connection.execute(
            "INSERT INTO sojourn_v1.position VALUES ('sojourn.lifecycle', %s, 1, 7, NULL, NULL, NULL, now())",
            [partition],
        )
