"""`/v1/users`: who may use the console of a tenant, and with which roles."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Response, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath
from msgspec import Meta, Struct

from sojourn.console.api.paging import AnyRequest, Paged, link_header
from sojourn.console.api.parameters import PAGE_ROWS, Cursor, Limit
from sojourn.console.api.problems import CONFIRMED
from sojourn.console.identity.accounts import (
    DISPLAY_CHARACTERS_MAX,
    NAME,
    NAME_CHARACTERS_MAX,
    Account,
    Accounts,
    New,
    accounts_page,
    giver_of,
)
from sojourn.console.site.access import Who, needs, require_confirmed
from sojourn.console.site.names import READABLE_PATTERN
from sojourn.console.site.principal import PLATFORM, Principal, Role
from sojourn.console.site.site import Site

_TAGS: Final = ["users"]

# What stands in `extra_json_schema` is for readers; `Accounts` judges it, with its own words.
_NAME: Final = {"pattern": f"^{NAME.pattern}$", "maxLength": NAME_CHARACTERS_MAX}
_SHOWN: Final = {"pattern": READABLE_PATTERN, "maxLength": DISPLAY_CHARACTERS_MAX}
Roles = Annotated[list[Role], Meta(extra_json_schema={"minItems": 1}, examples=[["viewer"]])]


class UserRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who is to use the console."""

    name: Annotated[str, Meta(extra_json_schema=_NAME, examples=["ada"])]
    roles: Roles
    display_name: Annotated[str, Meta(extra_json_schema=_SHOWN)] | None = None


class RolesRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The roles that somebody is to have."""

    roles: Roles


class UserAnswer(Struct, frozen=True):
    """Somebody who may use the console."""

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


class NewUserAnswer(UserAnswer, frozen=True):
    """The same, with the password for the next sign-in, which is told this once."""

    password: str


class UsersAnswer(Struct, frozen=True):
    """A page of those who may use the console of the tenant, by name."""

    users: list[UserAnswer]
    next: str | None
    previous: str | None


async def known_tenant(site: Site, principal: Principal) -> str:
    """Return the tenant asked for; raises `NoSuchTenant` where somebody of the platform mistyped it."""
    if principal.tenant not in {principal.home, PLATFORM}:
        async with site.reader(principal.tenant):
            pass
    return principal.tenant


def user_handlers(site: Site, accounts: Accounts) -> list[HTTPRouteHandler]:
    """Return the handlers about users."""

    @get(
        "/v1/users",
        opt=needs("administer"),
        operation_id="listUsers",
        tags=_TAGS,
        summary="Who may use the console",
    )
    async def list_(
        request: AnyRequest, principal: Who, limit: Limit = PAGE_ROWS, cursor: Cursor = None
    ) -> Response[UsersAnswer]:
        """List the accounts of the tenant by name, also those that were disabled."""
        tenant = await known_tenant(site, principal)
        paged = Paged(await site.cursors(), tenant, ["users"])
        place = paged.place(cursor)
        async with site.console(tenant) as connection:
            page = await accounts_page(connection, place, limit)
        beside = paged.beside(page)
        answer = UsersAnswer(msgspec.convert(page.rows, list[UserAnswer]), beside["next"], beside["previous"])
        return Response(answer, headers=link_header(request, beside))

    @post(
        "/v1/users",
        opt=needs("administer"),
        operation_id="createUser",
        tags=_TAGS,
        summary="Let somebody in",
        responses=CONFIRMED,
    )
    async def create(principal: Who, data: Annotated[UserRequest, Body()]) -> NewUserAnswer:
        """Make an account in the tenant; nobody gives a role that allows more than their own."""
        require_confirmed(principal, site.now())
        new = New(data.name, data.name if data.display_name is None else data.display_name, data.roles)
        made, password = await accounts.add(await known_tenant(site, principal), new, giver_of(principal))
        return NewUserAnswer(**msgspec.structs.asdict(made), password=password)

    return [list_, create, *_one_handlers(site, accounts)]


def _one_handlers(site: Site, accounts: Accounts) -> list[HTTPRouteHandler]:
    @patch(
        "/v1/users/{account_id:uuid}",
        opt=needs("administer"),
        operation_id="updateUser",
        tags=_TAGS,
        summary="Give somebody other roles",
        responses=CONFIRMED,
    )
    async def set_roles(
        principal: Who, account_id: FromPath[UUID], data: Annotated[RolesRequest, Body()]
    ) -> UserAnswer:
        """Give an account these roles in the place of those that it has; they hold from its next request on."""
        require_confirmed(principal, site.now())
        return _shown(await accounts.set_roles(principal.tenant, account_id, data.roles, giver_of(principal)))

    @post(
        "/v1/users/{account_id:uuid}/disable",
        opt=needs("administer"),
        operation_id="disableUser",
        tags=_TAGS,
        summary="Let somebody in no more",
        status_code=200,
    )
    async def disable(principal: Who, account_id: FromPath[UUID]) -> UserAnswer:
        """End the sign-ins and the tokens of an account at once."""
        return _shown(await accounts.disable(principal.tenant, account_id, giver_of(principal)))

    @post(
        "/v1/users/{account_id:uuid}/enable",
        opt=needs("administer"),
        operation_id="enableUser",
        tags=_TAGS,
        summary="Let somebody in again",
        status_code=200,
        responses=CONFIRMED,
    )
    async def enable(principal: Who, account_id: FromPath[UUID]) -> UserAnswer:
        """Let an account be good again, with its password and the tokens that it has."""
        require_confirmed(principal, site.now())
        return _shown(await accounts.enable(principal.tenant, account_id, giver_of(principal)))

    @post(
        "/v1/users/{account_id:uuid}/password",
        opt=needs("administer"),
        operation_id="resetPassword",
        tags=_TAGS,
        summary="Give somebody a new password",
        status_code=200,
        responses=CONFIRMED,
    )
    async def reset(principal: Who, account_id: FromPath[UUID]) -> NewUserAnswer:
        """End the sign-ins of an account and return a password for its next one, told this once."""
        require_confirmed(principal, site.now())
        one, password = await accounts.reset_password(principal.tenant, account_id, giver_of(principal))
        return NewUserAnswer(**msgspec.structs.asdict(one), password=password)

    return [set_roles, disable, enable, reset]


def _shown(one: Account) -> UserAnswer:
    return UserAnswer(**msgspec.structs.asdict(one))
