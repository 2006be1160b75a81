"""Making, listing and revoking tokens of the API; each act is written in the same transaction."""

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from msgspec import Struct

from sojourn.console.identity.accounts import Refused, Unfit
from sojourn.console.identity.acts import DONE, doer, refused, write_act
from sojourn.console.identity.tokens import new_api_token
from sojourn.console.site.principal import PERMISSIONS, PLATFORM, Principal
from sojourn.console.site.site import Connection, Site
from sojourn.events.errors import UsageError
from sojourn.projections.console_tables import api_token
from sojourn.projections.listing import Page, Place, Unpaged, page_of, ties_by
from sojourn.projections.read import by_bytes

NAME_CHARACTERS_MAX: Final = 100  # is read in a table cell
GOOD_MAX: Final = timedelta(days=366)  # what nobody looks at for a year is forgotten

NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_COLUMNS: Final = "token_id, name, scopes, created_by, created_at, expires_at, revoked_at, last_used_at"


class ApiToken(Struct, frozen=True):
    """A token as lists show it: all but its secret."""

    token_id: str
    name: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


async def add_token(
    site: Site, principal: Principal, name: str, scopes: Collection[str], expires_at: datetime
) -> tuple[ApiToken, str]:
    """Make a token and return it with what is told once; raises `UsageError`, and `Refused` once that is written."""
    now = site.now()
    _check(name, scopes, expires_at, now)
    tenant, made = principal.tenant, new_api_token()
    ordered = sorted(set(scopes))
    async with site.console(tenant) as connection:
        refusal = _beyond(scopes, principal)
        if refusal is None:
            cursor = await connection.execute(
                "INSERT INTO api_token (tenant, token_id, name, secret_sha256, scopes, account_id, created_by,"
                " created_at, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    tenant,
                    made.token_id,
                    name,
                    made.secret_sha256,
                    ordered,
                    principal.account_id,
                    principal.actor,
                    now,
                    expires_at,
                ],
            )
            if cursor.rowcount == 0:
                refusal = Refused("name-taken", "a token of this name was made before, and no name is used twice")
        result = DONE if refusal is None else refused(refusal.why)
        subject = f"{name}: {', '.join(ordered)}, until {expires_at:%Y-%m-%d}"
        await write_act(connection, tenant, doer(principal), "token.add", subject, result, now)
        added = None if refusal is not None else await find_token(connection, made.token_id)
    if refusal is not None:
        raise refusal
    assert added is not None
    return added, made.token


async def revoke_token(site: Site, principal: Principal, token_id: str) -> ApiToken:
    """End a token, also one that has ended; raises `Refused` where the tenant has none of this id."""
    now = site.now()
    async with site.console(principal.tenant) as connection:
        await connection.execute(
            "UPDATE api_token SET revoked_at = coalesce(revoked_at, %s) WHERE token_id = %s", [now, token_id]
        )
        found = await find_token(connection, token_id)
        subject, result = ("an unknown token", refused("no such token")) if found is None else (found.name, DONE)
        await write_act(connection, principal.tenant, doer(principal), "token.revoke", subject, result, now)
    if found is None:
        raise Refused("no-such-token", "there is no such token")
    return found


async def list_tokens(connection: Connection) -> list[ApiToken]:
    """Return all tokens of the connection's tenant, those that are good first."""
    query = f"SELECT {_COLUMNS} FROM api_token ORDER BY revoked_at IS NOT NULL, lower(name)"  # noqa: S608 - a constant
    return [ApiToken(*row) for row in await (await connection.execute(query.encode())).fetchall()]


async def tokens_page(connection: Connection, after: Place | None, rows_max: int) -> Page:
    """Return a page of the tokens of the connection's tenant: those that were not revoked first, each by name."""
    c = api_token.c
    names = tuple(ApiToken.__struct_fields__)
    key = by_bytes(sa.case((c.revoked_at.is_(None), "0"), else_="1") + sa.func.lower(c.name))
    ties = ties_by(c.token_id, c.created_at)
    listed = Unpaged(sa.select(*(c[name] for name in names)), names, key, ties, is_falling=False)
    return await page_of(connection, listed, after, rows_max)


async def find_token(connection: Connection, token_id: str) -> ApiToken | None:
    """Return one token of the connection's tenant."""
    query = f"SELECT {_COLUMNS} FROM api_token WHERE token_id = %s"  # noqa: S608 - a constant
    row = await (await connection.execute(query.encode(), [token_id])).fetchone()
    return None if row is None else ApiToken(*row)


def _check(name: str, scopes: Collection[str], expires_at: datetime, now: datetime) -> None:
    if len(name) > NAME_CHARACTERS_MAX or not NAME.fullmatch(name):
        raise UsageError(f"a token's name has letters, digits and . _ -, at most {NAME_CHARACTERS_MAX}, not: {name!r}")
    unknown = sorted(set(scopes) - PERMISSIONS)
    if unknown or not scopes:
        raise UsageError(f"a scope is one of {', '.join(sorted(PERMISSIONS))}, not: {(unknown or ['none'])[0]!r}")
    if expires_at.tzinfo is None or not now < expires_at <= now + GOOD_MAX:
        raise Unfit("a token expires within a year, at an instant with its offset, like 2026-12-31T00:00:00Z")


def _beyond(scopes: Collection[str], principal: Principal) -> Refused | None:
    if not set(scopes) <= principal.permissions:
        return Refused("beyond-own", "a token allows no more than who makes it may do")
    if "platform" in scopes and principal.tenant != PLATFORM:
        return Refused("beyond-own", "a token of one tenant does not reach the others: make it on the platform's page")
    return None
