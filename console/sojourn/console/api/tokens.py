"""`/v1/tokens`: what programs show to use the API of a tenant."""

from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath
from msgspec import Struct

from sojourn.console.api.users import ANSWERS, known_tenant
from sojourn.console.identity.api_tokens import ApiToken, add_token, list_tokens, revoke_token
from sojourn.console.site.access import Who, needs, require_confirmed
from sojourn.console.site.principal import Permission
from sojourn.console.site.site import Site

GOOD_DEFAULT: Final = timedelta(days=90)  # long enough for a project, short enough to be asked for again

_TAGS: Final = ["tokens"]


class TokenRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made: worth no more than who makes it, for a year at most, for 90 days if no end is named."""

    name: str
    scopes: list[Permission]
    expires_at: datetime | None = None


class TokenAnswer(Struct, frozen=True):
    """A token, without its secret."""

    token_id: str
    name: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewTokenAnswer(TokenAnswer, frozen=True):
    """The same, with what programs show, which is told this once."""

    token: str


class TokensAnswer(Struct, frozen=True):
    """All tokens of the tenant that were ever made, those that were not revoked first."""

    tokens: list[TokenAnswer]


def token_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers about tokens."""

    @get(
        "/v1/tokens", opt=needs("administer"), operation_id="listTokens", tags=_TAGS, summary="The tenant's tokens",
        exception_handlers=ANSWERS,
    )  # fmt: skip
    async def list_(principal: Who) -> TokensAnswer:
        async with site.console(await known_tenant(site, principal)) as connection:
            return TokensAnswer([shown(one) for one in await list_tokens(connection)])

    @post(
        "/v1/tokens", opt=needs("administer"), operation_id="createToken", tags=_TAGS, summary="Make a token",
        exception_handlers=ANSWERS,
    )  # fmt: skip
    async def create(principal: Who, data: Annotated[TokenRequest, Body()]) -> NewTokenAnswer:
        """Make a token and tell it this once; it ends with the account of who made it."""
        require_confirmed(principal, site.now())
        await known_tenant(site, principal)
        expires_at = data.expires_at or site.now() + GOOD_DEFAULT
        made, token = await add_token(site, principal, data.name, data.scopes, expires_at)
        return NewTokenAnswer(**msgspec.structs.asdict(made), token=token)

    @post(
        "/v1/tokens/{token_id:str}/revoke", opt=needs("administer"), operation_id="revokeToken", tags=_TAGS,
        summary="End a token", status_code=200, exception_handlers=ANSWERS,
    )  # fmt: skip
    async def revoke(principal: Who, token_id: FromPath[str]) -> TokenAnswer:
        """End a token: from the next request on it is refused."""
        return shown(await revoke_token(site, principal, token_id))

    return [list_, create, revoke]


def shown(one: ApiToken) -> TokenAnswer:
    """Return a token as the API tells of it."""
    return TokenAnswer(**msgspec.structs.asdict(one))
