"""`sojourn brokers add` and `revoke`: the tokens by which brokers without Kafka publish over HTTP."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from cyclopts import Parameter
from psycopg import AsyncConnection

from sojourn.console.accounts import account
from sojourn.console.http.credentials import new_token
from sojourn.console.identity.acts import Doer, write_act
from sojourn.console.opening import DataDir, Json, opened
from sojourn.console.output import cell, write_json, write_line
from sojourn.console.site.principal import PLATFORM
from sojourn.console.times import parse_instant
from sojourn.events.checks import is_tenant
from sojourn.events.errors import SojournError, UsageError
from sojourn.events.fields import TEXT_CHARACTERS_MAX
from sojourn.events.types import SOJOURN

NAME_CHARACTERS_MAX: Final = 100  # is read in a table cell
SOURCES_MAX: Final = 100  # each poll looks for commands to all of them
TENANTS_MAX: Final = 1000  # as above

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class NameTaken(SojournError):
    """a token of this name was made before"""


class NoSuchToken(SojournError):
    """there is no token of this name"""


class TokenRow(NamedTuple):
    """A token as it is listed: all but its secret."""

    name: str
    sources: list[str]
    tenants: list[str] | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


async def add(
    name: Annotated[str, Parameter(help="What lists call the token; no name is used twice.")],
    /,
    *,
    source: Annotated[list[str], Parameter(negative="", help="A broker that it speaks for; may be repeated.")],
    tenant: Annotated[
        list[str] | None, Parameter(negative="", help="A tenant that it tells of; may be repeated. Any if left out.")
    ] = None,
    expires: Annotated[str | None, Parameter(help="When it ends to be good. Never if left out.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a token for brokers that publish over HTTP, and print it, this once."""
    sources, tenants = sorted(set(source)), None if tenant is None else sorted(set(tenant))
    _check(name, sources, tenants)
    expires_at = None if expires is None else parse_instant(expires, "--expires")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise UsageError(f"a token has to be good for a while, so --expires is later than now: {expires!r}")
    made = new_token()
    async with _as_owner(data_dir) as connection:
        cursor = await connection.execute(
            "INSERT INTO sojourn.broker_token (token_id, name, secret_sha256, sources, tenants, created_at, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, now(), %s) ON CONFLICT (name) DO NOTHING",
            [made.token_id, name, made.secret_sha256, sources, tenants, expires_at],
        )
        is_new = cursor.rowcount == 1
        await _note(connection, "broker_token.add", name, tenants, "done" if is_new else "refused: the name is taken")
    if not is_new:
        raise NameTaken(f"{NameTaken.__doc__}, and no name is used twice; choose another: {name!r}")
    if json:
        told = {"name": name, "token_id": made.token_id, "token": made.token, "sources": sources, "tenants": tenants}
        write_json({**told, "expires_at": expires_at})
        return
    write_line(made.token)
    write_line("this is the only time that it is shown: what is kept does not give it back")
    until = "until it is revoked" if expires_at is None else f"until {cell(expires_at)} UTC"
    about = "any tenant" if tenants is None else ", ".join(tenants)
    write_line(f"{name} speaks for {', '.join(map(cell, sources))} about {about} {until}")


async def revoke(
    name: Annotated[str, Parameter(help="The token's name.")], /, *, json: Json = False, data_dir: DataDir = None
) -> None:
    """End a token: from the next request on it is refused. It stays in the list."""
    async with _as_owner(data_dir) as connection:
        cursor = await connection.execute(
            "UPDATE sojourn.broker_token SET revoked_at = coalesce(revoked_at, now()) WHERE name = %s"
            " RETURNING tenants, revoked_at, revoked_at < now()",
            [name],
        )
        found = await cursor.fetchone()
        tenants, revoked_at, before = found or (None, None, False)
        result = "refused: no such token" if found is None else "revoked before" if before else "done"
        await _note(connection, "broker_token.revoke", name, tenants, result)
    if found is None:
        raise NoSuchToken(f"{NoSuchToken.__doc__}; see `sojourn brokers list`: {name!r}")
    if json:
        write_json({"name": name, "revoked_at": revoked_at})
    else:
        write_line(f"{name} {'was' if before else 'is'} revoked, at {cell(revoked_at)} UTC")


async def tokens(connection: AsyncConnection[Any]) -> list[TokenRow]:
    """Return all tokens that were ever made, by name, as the auditor."""
    cursor = await connection.execute(
        "SELECT name, sources, tenants, expires_at, revoked_at, last_used_at FROM sojourn.broker_token ORDER BY name"
    )
    return [TokenRow(*row) for row in await cursor.fetchall()]


def _check(name: str, sources: Sequence[str], tenants: Sequence[str] | None) -> None:
    if len(name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(name):
        rule = f"a token's name has letters, digits and . _ -, at most {NAME_CHARACTERS_MAX}"
        raise UsageError(f"{rule}, not: {name!r}")
    for source in sources:
        check_source(source)
        if source == SOJOURN:
            raise UsageError(f"no broker speaks for Sojourn itself, whose source this is: {source!r}")
    check_tenants(tenants)
    if len(sources) > SOURCES_MAX or len(tenants or ()) > TENANTS_MAX:
        counts = f"{len(sources)} and {len(tenants or ())}"
        raise UsageError(f"a token has at most {SOURCES_MAX} sources and {TENANTS_MAX} tenants, not: {counts}")


def check_source(source: str) -> None:
    """Raise `UsageError` for what no event can have as its source."""
    if not 1 <= len(source) <= TEXT_CHARACTERS_MAX or _CONTROL.search(source):
        rule = f"a source is 1 to {TEXT_CHARACTERS_MAX:,} characters, no control characters"
        raise UsageError(f"{rule}, not: {source!r}")


def check_tenants(tenants: Sequence[str] | None) -> None:
    """Raise `UsageError` for what can be no tenant."""
    for tenant in tenants or ():
        if not is_tenant(tenant):
            raise UsageError(f"a tenant is 1 to 63 of a-z, 0-9 and -, not: {tenant!r}")


@asynccontextmanager
async def _as_owner(data_dir: Path | None) -> AsyncIterator[AsyncConnection[Any]]:
    """Change things in one transaction, as who owns the tables."""
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        connection.transaction(),
    ):
        await connection.execute("SET LOCAL ROLE sojourn_owner; SET LOCAL search_path = sojourn")
        yield connection


async def _note(
    connection: AsyncConnection[Any], action: str, name: str, tenants: Sequence[str] | None, result: str
) -> None:
    """Write who did what to a token with what result, for each tenant that it is about."""
    for tenant in tenants or [PLATFORM]:
        await connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [tenant])
        await write_act(connection, tenant, Doer(account(), "command line"), action, name, result, datetime.now(UTC))
