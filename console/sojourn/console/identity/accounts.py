"""Accounts: who may use the console, in which tenant, with which roles.

Each change writes its administrative act in the same transaction, also where it is refused; a refusal is raised as
`Refused` once that stands.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, get_args
from uuid import UUID

import sqlalchemy as sa
from msgspec import Struct

from sojourn.console.http.problems import Problem
from sojourn.console.identity.acts import DONE, Doer, doer, refused, write_act
from sojourn.console.identity.passwords import Passwords, one_time_password
from sojourn.console.identity.sign_ins import end_all
from sojourn.console.site.names import is_readable
from sojourn.console.site.principal import PERMISSIONS, PLATFORM, Permission, Principal, Role, permissions_of
from sojourn.console.site.site import Connection, Site
from sojourn.events.errors import SojournError, UsageError
from sojourn.projections.console_tables import account as accounts
from sojourn.projections.listing import Page, Place, Unpaged, page_of, ties_by
from sojourn.projections.read import by_bytes

NAME_CHARACTERS_MAX: Final = 100  # is read in a table cell; an address for e-mail is mostly shorter
DISPLAY_CHARACTERS_MAX: Final = 100  # as above
ONE_TIME_GOOD: Final = timedelta(days=7)  # until who gets it is back from holidays, or asks for another

ROLE_NAMES: Final[Sequence[Role]] = get_args(Role)

# Two administrators who disable each other at the same time are one after the other, and the second is refused.
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtext('sojourn.account'), hashtext(%s))"

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")
_COLUMNS: Final = (
    "account_id, tenant, name, display_name, roles, issuer, created_at, created_by, disabled_at, last_sign_in_at"
)


class Refused(SojournError):
    """this may not be done"""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind, self.why = kind, why


class Unfit(UsageError):
    """this does not fit what there is"""


_STATUS: Final = {"no-such-user": 404, "no-such-token": 404, "beyond-own": 403}  # all others: 409, as things stand


def refusal_problem(refusal: Refused) -> Problem:
    """Return a refusal as it is answered over HTTP."""
    return Problem(_STATUS.get(refusal.kind, 409), refusal.kind, "this may not be done", refusal.why)


class Account(Struct, frozen=True):
    """One person as lists show them."""

    account_id: UUID
    tenant: str
    name: str
    display_name: str
    roles: list[str]
    issuer: str | None
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    last_sign_in_at: datetime | None


Change = Callable[[Connection, Account, datetime], Awaitable[Refused | None]]


class Giver(NamedTuple):
    """Who changes accounts: their roles are no more than `permissions`; `account_id` is their own."""

    by: Doer
    permissions: frozenset[Permission] = PERMISSIONS
    account_id: UUID | None = None


def giver_of(principal: Principal) -> Giver:
    """Return who asks as the one who changes accounts."""
    return Giver(doer(principal), principal.permissions, principal.account_id)


class New(NamedTuple):
    """An account to be made."""

    name: str
    display_name: str
    roles: Sequence[str]


def check_new(tenant: str, new: New) -> None:
    """Raise `UsageError` for what no account can be."""
    if len(new.name) > NAME_CHARACTERS_MAX or not NAME.fullmatch(new.name):
        rule = (
            f"a name has letters, digits and . _ @ + -, at most {NAME_CHARACTERS_MAX}, and begins with one of the first"
        )
        raise UsageError(f"{rule} two, not: {new.name!r}")
    if not new.display_name.strip() or len(new.display_name) > DISPLAY_CHARACTERS_MAX:
        raise UsageError(f"the name that is shown has 1 to {DISPLAY_CHARACTERS_MAX} characters")
    if not is_readable(new.display_name):
        raise UsageError("the name that is shown has no control characters")
    check_roles(tenant, new.roles)


def check_roles(tenant: str, roles: Collection[str]) -> None:
    """Raise `UsageError` for what nobody of this tenant can be."""
    unknown = sorted(set(roles) - set(ROLE_NAMES))
    if unknown:
        raise UsageError(f"a role is one of {', '.join(ROLE_NAMES)}, not: {unknown[0]!r}")
    if not roles:
        raise UsageError("without any role nobody can see anything; disable the account instead")
    if (tenant == PLATFORM) != ("platform_admin" in roles):
        raise Unfit("platform_admin is the role of who belongs to no tenant, and their only one")
    if tenant == PLATFORM and set(roles) != {"platform_admin"}:
        raise Unfit("platform_admin allows everything already; it goes with no other role")


async def list_accounts(connection: Connection) -> list[Account]:
    """Return all accounts that the connection may see, by tenant and name."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM account ORDER BY tenant, lower(name)".encode()  # noqa: S608 - a constant
    )
    return [Account(*row) for row in await cursor.fetchall()]


async def accounts_page(connection: Connection, after: Place | None, rows_max: int) -> Page:
    """Return a page of the accounts that the connection may see, by name."""
    c = accounts.c
    names = tuple(Account.__struct_fields__)
    ties = ties_by(c.account_id, c.created_at)
    rows = sa.select(*(c[name] for name in names))
    listed = Unpaged(rows, names, by_bytes(sa.func.lower(c.name)), ties, is_falling=False)
    return await page_of(connection, listed, after, rows_max)


async def find_account(connection: Connection, account_id: UUID) -> Account | None:
    """Return one account that the connection may see."""
    query = f"SELECT {_COLUMNS} FROM account WHERE account_id = %s"  # noqa: S608 - a constant
    row = await (await connection.execute(query.encode(), [account_id])).fetchone()
    return None if row is None else Account(*row)


async def find_name(connection: Connection, name: str) -> Account | None:
    """Return the account of a name, in whatever case it is written."""
    query = f"SELECT {_COLUMNS} FROM account WHERE lower(name) = lower(%s)"  # noqa: S608 - a constant
    row = await (await connection.execute(query.encode(), [name])).fetchone()
    return None if row is None else Account(*row)


class Accounts:
    """Changes accounts."""

    def __init__(self, site: Site, passwords: Passwords) -> None:
        self._site, self.passwords = site, passwords

    async def add(self, tenant: str, new: New, giver: Giver, password: str | None = None) -> tuple[Account, str]:
        """Make an account and return it with a password for one sign-in; a `password` that is given is kept as its own.

        Raises `UsageError`, and `Refused` where the name is taken or the roles are more than the giver's.
        """
        check_new(tenant, new)
        told = password or one_time_password()
        kept = await self.passwords.hash(told)
        now = self._site.now()
        account = Account(
            uuid.uuid4(), tenant, new.name, new.display_name.strip(), _ordered(new.roles), None, now, giver.by.actor,
            None, None,
        )  # fmt: skip
        async with self._site.console(tenant) as connection:
            refusal = _beyond(new.roles, giver)
            if refusal is None and not await _insert(
                connection, account, kept, None if password else now + ONE_TIME_GOOD
            ):
                refusal = Refused("name-taken", "the name is taken, and nobody shares one")
            await _note(connection, tenant, giver, "user.add", _subject(new.name, new.roles), refusal, now)
        if refusal is not None:
            raise refusal
        return account, told

    async def set_roles(self, tenant: str, account_id: UUID, roles: Sequence[str], giver: Giver) -> Account:
        """Give an account other roles; raises as `add` does."""
        check_roles(tenant, roles)

        async def change(connection: Connection, account: Account, _: datetime) -> Refused | None:
            refusal = _beyond(account.roles, giver) or _beyond(roles, giver)
            if refusal is None and "administer" not in permissions_of(roles):
                refusal = await _last_of(connection, account, giver)
            if refusal is None:
                await connection.execute(
                    "UPDATE account SET roles = %s WHERE account_id = %s", [_ordered(roles), account_id]
                )
            return refusal

        return await self._change(tenant, account_id, giver, "user.set_roles", change, roles)

    async def disable(self, tenant: str, account_id: UUID, giver: Giver) -> Account:
        """Let an account, its sign-ins and its tokens be good no more."""

        async def change(connection: Connection, account: Account, now: datetime) -> Refused | None:
            refusal = _beyond(account.roles, giver) or await _last_of(connection, account, giver)
            if refusal is None:
                await connection.execute(
                    "UPDATE account SET disabled_at = coalesce(disabled_at, %s) WHERE account_id = %s",
                    [now, account_id],
                )
                await end_all(connection, account_id, now)
            return refusal

        return await self._change(tenant, account_id, giver, "user.disable", change)

    async def enable(self, tenant: str, account_id: UUID, giver: Giver) -> Account:
        """Let an account be good again, with the tokens that it has; its sign-ins stay ended."""

        async def change(connection: Connection, account: Account, _: datetime) -> Refused | None:
            refusal = _beyond(account.roles, giver)
            if refusal is None:
                await connection.execute("UPDATE account SET disabled_at = NULL WHERE account_id = %s", [account_id])
            return refusal

        return await self._change(tenant, account_id, giver, "user.enable", change)

    async def reset_password(
        self, tenant: str, account_id: UUID, giver: Giver, password: str | None = None
    ) -> tuple[Account, str]:
        """Return a new password for one sign-in, or keep the given one, and end the sign-ins of the account."""
        told = password or one_time_password()
        kept = await self.passwords.hash(told)

        async def change(connection: Connection, account: Account, now: datetime) -> Refused | None:
            if account.issuer is not None:
                return Refused("other-sign-in", f"who signs in at {account.issuer} has no password here")
            refusal = _beyond(account.roles, giver)
            if refusal is None:
                until = None if password else now + ONE_TIME_GOOD
                await connection.execute(
                    "UPDATE account SET password_hash = %s, password_until = %s WHERE account_id = %s",
                    [kept, until, account_id],
                )
                await end_all(connection, account_id, now)
            return refusal

        return await self._change(tenant, account_id, giver, "user.reset_password", change), told

    async def _change(
        self,
        tenant: str,
        account_id: UUID,
        giver: Giver,
        action: str,
        change: Change,
        roles: Sequence[str] | None = None,
    ) -> Account:
        """Change one account of the tenant and write it down; return it as it is then."""
        now = self._site.now()
        refusal: Refused | None
        async with self._site.console(tenant) as connection:
            await connection.execute(_ONE_AT_A_TIME, [tenant])
            account = await find_account(connection, account_id)
            if account is None:
                refusal = Refused("no-such-user", "there is no such user")
            else:
                refusal = await change(connection, account, now)
            subject = str(account_id) if account is None else _subject(account.name, roles)
            await _note(connection, tenant, giver, action, subject, refusal, now)
            account = await find_account(connection, account_id)
        if refusal is not None:
            raise refusal
        assert account is not None
        return account


def _subject(name: str, roles: Sequence[str] | None) -> str:
    return name if roles is None else f"{name}: {', '.join(_ordered(roles))}"


def _ordered(roles: Collection[str]) -> list[str]:
    return [role for role in ROLE_NAMES if role in set(roles)]


def _beyond(roles: Collection[str], giver: Giver) -> Refused | None:
    """Return why these roles are not for the giver to give, take, or act upon."""
    if permissions_of(roles) <= giver.permissions:
        return None
    return Refused("beyond-own", "nobody gives or takes a role that allows more than their own")


async def _last_of(connection: Connection, account: Account, giver: Giver) -> Refused | None:
    """Return why an account has to go on administering: it is the last of those that the giver belongs to."""
    if giver.account_id is None or "administer" not in permissions_of(account.roles):
        return None
    role = "platform_admin" if account.tenant == PLATFORM else "tenant_admin"
    cursor = await connection.execute(
        "SELECT account_id, disabled_at IS NULL AND %s = ANY(roles) FROM account WHERE account_id <> %s",
        [role, account.account_id],
    )
    others = dict(await cursor.fetchall())
    is_theirs = giver.account_id in {account.account_id, *others}  # or somebody of the platform can mend it
    if not is_theirs or any(others.values()):
        return None
    return Refused("last-administrator", "the last administrator stays one; make another one first")


async def _insert(connection: Connection, account: Account, kept: str, until: datetime | None) -> bool:
    cursor = await connection.execute(
        "INSERT INTO account (tenant, account_id, name, display_name, password_hash, password_until, roles, created_at,"
        " created_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            account.tenant,
            account.account_id,
            account.name,
            account.display_name,
            kept,
            until,
            account.roles,
            account.created_at,
            account.created_by,
        ],
    )
    return cursor.rowcount == 1


async def _note(
    connection: Connection,
    tenant: str,
    giver: Giver,
    action: str,
    subject: str,
    refusal: Refused | None,
    at: datetime,
) -> None:
    await write_act(
        connection, tenant, giver.by, action, subject, DONE if refusal is None else refused(refusal.why), at
    )
