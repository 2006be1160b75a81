"""`/v1/users`: who may use the console of a tenant, and with which roles."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from sojourn.console.api.parameters import HANDLERS
from sojourn.console.identity.accounts import Account, Accounts, New, Refused, giver_of, list_accounts, refusal_problem
from sojourn.console.site.access import Who, needs, require_confirmed
from sojourn.console.site.principal import PLATFORM, Principal, Role
from sojourn.console.site.site import Site

_TAGS: Final = ["users"]


class UserRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who is to use the console."""

    name: str
    roles: list[Role]
    display_name: str | None = None


class RolesRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The roles that somebody is to have."""

    roles: list[Role]


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
    """All who may use the console of the tenant, by name."""

    users: list[UserAnswer]


async def known_tenant(site: Site, principal: Principal) -> str:
    """Return the tenant asked for; raises `NoSuchTenant` where somebody of the platform mistyped it."""
    if principal.tenant not in {principal.home, PLATFORM}:
        async with site.reader(principal.tenant):
            pass
    return principal.tenant


def _refused(_: Request[Any, Any, Any], refusal: Refused) -> Response[bytes]:
    return refusal_problem(refusal).response()


ANSWERS: Final[ExceptionHandlersMap] = {**HANDLERS, Refused: _refused}


def user_handlers(site: Site, accounts: Accounts) -> list[HTTPRouteHandler]:
    """Return the handlers about users."""

    @get(
        "/v1/users", opt=needs("administer"), operation_id="listUsers", tags=_TAGS, summary="Who may use the console",
        exception_handlers=ANSWERS,
    )  # fmt: skip
    async def list_(principal: Who) -> UsersAnswer:
        async with site.console(await known_tenant(site, principal)) as connection:
            return UsersAnswer([shown(one) for one in await list_accounts(connection)])

    @post(
        "/v1/users", opt=needs("administer"), operation_id="createUser", tags=_TAGS, summary="Let somebody in",
        exception_handlers=ANSWERS,
    )  # fmt: skip
    async def create(principal: Who, data: Annotated[UserRequest, Body()]) -> NewUserAnswer:
        """Make an account in the tenant; nobody gives a role that allows more than their own."""
        require_confirmed(principal, site.now())
        new = New(data.name, data.display_name or data.name, data.roles)
        made, password = await accounts.add(await known_tenant(site, principal), new, giver_of(principal))
        return NewUserAnswer(**msgspec.structs.asdict(made), password=password)

    return [list_, create, *_one_handlers(site, accounts)]


def _one_handlers(site: Site, accounts: Accounts) -> list[HTTPRouteHandler]:
    @patch(
        "/v1/users/{account_id:uuid}", opt=needs("administer"), operation_id="updateUser", tags=_TAGS,
        summary="Give somebody other roles", exception_handlers=ANSWERS,
    )  # fmt: skip
    async def set_roles(
        principal: Who, account_id: FromPath[UUID], data: Annotated[RolesRequest, Body()]
    ) -> UserAnswer:
        require_confirmed(principal, site.now())
        return shown(await accounts.set_roles(principal.tenant, account_id, data.roles, giver_of(principal)))

    @post(
        "/v1/users/{account_id:uuid}/disable", opt=needs("administer"), operation_id="disableUser", tags=_TAGS,
        summary="Let somebody in no more", status_code=200, exception_handlers=ANSWERS,
    )  # fmt: skip
    async def disable(principal: Who, account_id: FromPath[UUID]) -> UserAnswer:
        """End the sign-ins and the tokens of an account at once."""
        return shown(await accounts.disable(principal.tenant, account_id, giver_of(principal)))

    @post(
        "/v1/users/{account_id:uuid}/enable", opt=needs("administer"), operation_id="enableUser", tags=_TAGS,
        summary="Let somebody in again", status_code=200, exception_handlers=ANSWERS,
    )  # fmt: skip
    async def enable(principal: Who, account_id: FromPath[UUID]) -> UserAnswer:
        require_confirmed(principal, site.now())
        return shown(await accounts.enable(principal.tenant, account_id, giver_of(principal)))

    @post(
        "/v1/users/{account_id:uuid}/password", opt=needs("administer"), operation_id="resetPassword", tags=_TAGS,
        summary="Give somebody a new password", status_code=200, exception_handlers=ANSWERS,
    )  # fmt: skip
    async def reset(principal: Who, account_id: FromPath[UUID]) -> NewUserAnswer:
        """End the sign-ins of an account and return a password for its next one, told this once."""
        require_confirmed(principal, site.now())
        one, password = await accounts.reset_password(principal.tenant, account_id, giver_of(principal))
        return NewUserAnswer(**msgspec.structs.asdict(one), password=password)

    return [set_roles, disable, enable, reset]


def shown(one: Account) -> UserAnswer:
    """Return an account as the API tells of it."""
    return UserAnswer(**msgspec.structs.asdict(one))
