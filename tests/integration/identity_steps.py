"""One console for a module's tests about people, whose tenants they make themselves."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from psycopg.conninfo import make_conninfo

from sojourn.console.identity import passwords
from sojourn.console.identity.sign_ins import COOKIE
from sojourn.console.site.settings import SiteSettings
from sojourn.events.embedded.database import ExternalDatabase
from tests.integration.rows import insert_tenant
from tests.integration.site_steps import PASSWORD, Console, running_console

ACTS: Final = "SELECT actor, action, subject, result FROM sojourn.admin_action WHERE tenant = %s ORDER BY at"

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(migrated_server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """Serve a console for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:  # argon2 as ever, but at no cost
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        async with new_site(migrated_server, tmp_path_factory) as console:
            yield console


@asynccontextmanager
async def new_site(
    migrated_server: str, tmp_path_factory: pytest.TempPathFactory, settings: SiteSettings | None = None
) -> AsyncIterator[Console]:
    """Serve a console on a database of its own."""
    name = f"site_{next(_numbers)}"
    async with await psycopg.AsyncConnection.connect(migrated_server, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated".encode())
    database = ExternalDatabase(make_conninfo(migrated_server, dbname=name))
    async with running_console(database, Path(tmp_path_factory.mktemp("site")), settings=settings) as console:
        yield console


async def new_tenant(site: Console) -> str:
    """Let a tenant exist that no other test knows."""
    name = f"tenant-{next(_numbers)}"
    async with site.rows() as connection:
        await insert_tenant(connection, name)
    return name


async def acts_of(site: Console, tenant: str) -> list[tuple[Any, ...]]:
    """Return who did what to what of a tenant, with which result."""
    return await site.execute(ACTS, [tenant])


async def signed_in(site: Console, name: str, password: str = PASSWORD) -> int:
    """Return the status of an attempt to sign in: 303 if it succeeds."""
    return (await site.browser().post("/sign-in", data={"name": name, "password": password})).status_code


def cookie_of(answer: Any) -> str:
    """Return what an answer sets our cookie to."""
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == COOKIE
    return str(rest.partition(";")[0])


def still(answer: httpx.Response) -> str:
    """Return a page without the time that its scripts go by."""
    return re.sub(r'data-now="[0-9.]+"', "", answer.text)
