"""`/v1/tokens`: what programs show to use the API of a tenant."""

from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath
from msgspec import Meta, Struct

from sojourn.console.api.paging import AnyRequest, Paged, link_header
from sojourn.console.api.parameters import INSTANT, PAGE_ROWS, Cursor, Limit, instant_of
from sojourn.console.api.problems import CONFIRMED
from sojourn.console.api.users import known_tenant
from sojourn.console.identity.api_tokens import (
    NAME,
    NAME_CHARACTERS_MAX,
    ApiToken,
    add_token,
    revoke_token,
    tokens_page,
)
from sojourn.console.site.access import Who, needs, require_confirmed
from sojourn.console.site.principal import Permission
from sojourn.console.site.site import Site

GOOD_DEFAULT: Final = timedelta(days=90)  # long enough for a project, short enough to be asked for again

_TAGS: Final = ["tokens"]

# What stands in `extra_json_schema` is for readers; `add_token` judges it, with its own words.
_NAME: Final = {"pattern": f"^{NAME.pattern}$", "maxLength": NAME_CHARACTERS_MAX}


class TokenRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made: worth no more than who makes it, for a year at most, for 90 days if no end is named."""

    name: Annotated[str, Meta(extra_json_schema=_NAME, examples=["reports"])]
    scopes: Annotated[list[Permission], Meta(extra_json_schema={"minItems": 1}, examples=[["read"]])]
    expires_at: Annotated[str, Meta(extra_json_schema=INSTANT)] | None = None


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
    """A page of the tokens of the tenant that were ever made, those that were not revoked first."""

    tokens: list[TokenAnswer]
    next: str | None
    previous: str | None


def token_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers about tokens."""

    @get(
        "/v1/tokens",
        opt=needs("administer"),
        operation_id="listTokens",
        tags=_TAGS,
        summary="The tenant's tokens",
    )
    async def list_(
        request: AnyRequest, principal: Who, limit: Limit = PAGE_ROWS, cursor: Cursor = None
    ) -> Response[TokensAnswer]:
        """List the tokens, also those that were revoked or have ended; never their secrets."""
        tenant = await known_tenant(site, principal)
        paged = Paged(await site.cursors(), tenant, ["tokens"])
        place = paged.place(cursor)
        async with site.console(tenant) as connection:
            page = await tokens_page(connection, place, limit)
        beside = paged.beside(page)
        answer = TokensAnswer(msgspec.convert(page.rows, list[TokenAnswer]), beside["next"], beside["previous"])
        return Response(answer, headers=link_header(request, beside))

    return [list_, *_changing_handlers(site)]


def _changing_handlers(site: Site) -> list[HTTPRouteHandler]:
    @post(
        "/v1/tokens",
        opt=needs("administer"),
        operation_id="createToken",
        tags=_TAGS,
        summary="Make a token",
        responses=CONFIRMED,
    )
    async def create(principal: Who, data: Annotated[TokenRequest, Body()]) -> NewTokenAnswer:
        """Make a token and tell it this once; it ends with the account of who made it."""
        require_confirmed(principal, site.now())
        await known_tenant(site, principal)
        expires_at = instant_of("expires_at", data.expires_at) or site.now() + GOOD_DEFAULT
        made, token = await add_token(site, principal, data.name, data.scopes, expires_at)
        return NewTokenAnswer(**msgspec.structs.asdict(made), token=token)

    @post(
        "/v1/tokens/{token_id:str}/revoke",
        opt=needs("administer"),
        operation_id="revokeToken",
        tags=_TAGS,
        summary="End a token",
        status_code=200,
    )
    async def revoke(principal: Who, token_id: FromPath[str]) -> TokenAnswer:
        """End a token: from the next request on it is refused."""
        return _shown(await revoke_token(site, principal, token_id))

    return [create, revoke]


def _shown(one: ApiToken) -> TokenAnswer:
    return TokenAnswer(**msgspec.structs.asdict(one))
