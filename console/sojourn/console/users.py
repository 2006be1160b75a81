"""`sojourn users`: who may use the console."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
from cyclopts import Parameter

from sojourn.console.accounts import account
from sojourn.console.identity.accounts import Account, Accounts, Giver, New, find_name, list_accounts
from sojourn.console.identity.acts import Doer
from sojourn.console.identity.passwords import Passwords, weakness
from sojourn.console.opening import SWITCH, DataDir, Json, Opened, opened
from sojourn.console.output import Columns, cell, write_json, write_line
from sojourn.console.site.principal import PLATFORM
from sojourn.console.site.site import Site
from sojourn.console.tokens import check_tenants
from sojourn.events.errors import SojournError, UsageError

FIRST: Final = "admin"  # the name of the first administrator

NO_USERS: Final = "no user yet; `sojourn users add` makes one"

Name = Annotated[str, Parameter(help="The name that they sign in with, in any case.")]
RoleNames = Annotated[
    list[str],
    Parameter(
        name="--role",
        negative="",
        help="viewer, operator, analyst, auditor, tenant_admin or platform_admin; may be repeated.",
    ),
]
FromStdin = Annotated[
    bool, SWITCH, Parameter(name="--password-stdin", help="Read the password from a line of standard input.")
]


class NoSuchUser(SojournError):
    """there is no user of this name"""


class _Parts(NamedTuple):
    site: Site
    accounts: Accounts
    giver: Giver


async def add(
    name: Annotated[str, Parameter(help="The name that they sign in with; nobody shares one, in whatever case.")],
    /,
    *,
    role: RoleNames,
    tenant: Annotated[str | None, Parameter(help="Their tenant; all of them if left out.")] = None,
    display_name: Annotated[str | None, Parameter(help="How pages call them; their name if left out.")] = None,
    password_stdin: FromStdin = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Let somebody use the console, and print a password for their first sign-in, this once."""
    check_tenants(None if tenant is None else [tenant])
    password = _given(name) if password_stdin else None
    new = New(name, display_name or name, role)
    async with _opened(data_dir) as parts:
        made, told = await parts.accounts.add(tenant or PLATFORM, new, parts.giver, password)
    _tell(made, None if password else told, json=json)


async def list_(
    *,
    tenant: Annotated[str | None, Parameter(help="Those of this tenant only.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List who may use the console."""
    check_tenants(None if tenant is None else [tenant])
    async with _opened(data_dir) as parts, parts.site.gatekeeper() as connection:
        found = [one for one in await list_accounts(connection) if tenant in {None, one.tenant}]
    columns = Columns(("NAME", "SHOWN AS", "TENANT", "ROLES", "LAST SIGN-IN", "DISABLED"))
    for one in found:
        if json:
            write_json(document(one))
            continue
        whose = "the platform" if one.tenant == PLATFORM else one.tenant
        texts = (one.name, one.display_name, whose, ", ".join(one.roles), one.last_sign_in_at, one.disabled_at)
        columns.write([cell(text) for text in texts])
    if not json:
        columns.close()
        if not found:
            write_line(NO_USERS)


async def set_roles(name: Name, /, *, role: RoleNames, json: Json = False, data_dir: DataDir = None) -> None:
    """Give somebody these roles in place of those they have."""
    async with _opened(data_dir) as parts:
        one = await _found(parts, name)
        changed = await parts.accounts.set_roles(one.tenant, one.account_id, role, parts.giver)
    _say(changed, f"{changed.name} has the roles {', '.join(changed.roles)}", json=json)


async def disable(name: Name, /, *, json: Json = False, data_dir: DataDir = None) -> None:
    """Let somebody in no more: their sign-ins and tokens end at once."""
    async with _opened(data_dir) as parts:
        one = await _found(parts, name)
        changed = await parts.accounts.disable(one.tenant, one.account_id, parts.giver)
    _say(changed, f"{changed.name} is disabled; what they signed in to and their tokens are good no more", json=json)


async def enable(name: Name, /, *, json: Json = False, data_dir: DataDir = None) -> None:
    """Let somebody in again who was disabled."""
    async with _opened(data_dir) as parts:
        one = await _found(parts, name)
        changed = await parts.accounts.enable(one.tenant, one.account_id, parts.giver)
    _say(changed, f"{changed.name} may sign in", json=json)


async def reset_password(
    name: Name, /, *, password_stdin: FromStdin = False, json: Json = False, data_dir: DataDir = None
) -> None:
    """End somebody's sign-ins, and print a new password for their next one, this once."""
    password = _given(name) if password_stdin else None
    async with _opened(data_dir) as parts:
        one = await _found(parts, name)
        changed, told = await parts.accounts.reset_password(one.tenant, one.account_id, parts.giver, password)
    _tell(changed, None if password else told, json=json)


async def first_administrator(parts: Opened) -> str | None:
    """Make an administrator of the platform where there is no user at all, and return the password to be told once."""
    site = Site(parts.database, parts.log, parts.settings.data_dir)
    try:
        async with site.gatekeeper() as connection:
            if await list_accounts(connection):
                return None
        giver = Giver(Doer(account(), "sojourn up"))
        new = New(FIRST, "Administrator", ["platform_admin"])
        _, told = await Accounts(site, Passwords()).add(PLATFORM, new, giver)
    finally:
        await site.close()
    return told


def document(one: Account) -> dict[str, object]:
    """Return a user as one object of JSON."""
    return {name: str(value) if name == "account_id" else value for name, value in msgspec.structs.asdict(one).items()}


@asynccontextmanager
async def _opened(data_dir: Path | None) -> AsyncIterator[_Parts]:
    async with opened(data_dir) as parts:
        site = Site(parts.database, parts.log, parts.settings.data_dir)
        try:
            yield _Parts(site, Accounts(site, Passwords()), Giver(Doer(account(), "command line")))
        finally:
            await site.close()


async def _found(parts: _Parts, name: str) -> Account:
    async with parts.site.gatekeeper() as connection:
        found = await find_name(connection, name)
    if found is None:
        raise NoSuchUser(f"{NoSuchUser.__doc__}; see `sojourn users list`: {name!r}")
    return found


def _given(name: str) -> str:
    """Return the password on standard input."""
    try:
        password = sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError("the password on standard input is no UTF-8") from error
    weak = weakness(password, name)
    if weak is not None:
        raise UsageError(f"{weak}; it is the first line of standard input")
    return password


def _tell(one: Account, password: str | None, *, json: bool) -> None:
    """Say who may sign in, and with which password, unless they know it."""
    if json:
        write_json(document(one) | ({} if password is None else {"password": password}))
        return
    if password is not None:
        write_line(password)
        write_line("this is the only time that it is shown; with it they sign in once and choose their own")
    _say(one, f"{one.name} may sign in {_whose(one.tenant)} as {', '.join(one.roles)}", json=False)


def _say(one: Account, line: str, *, json: bool) -> None:
    if json:
        write_json(document(one))
    else:
        write_line(line)


def _whose(tenant: str) -> str:
    return "for all tenants" if tenant == PLATFORM else f"for {cell(tenant)}"
