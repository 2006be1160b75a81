"""The pages about who may use the console, the tokens of programs, and the trail of administrative acts."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sojourn.console.api.paging import Paged
from sojourn.console.api.users import known_tenant
from sojourn.console.http.problems import Problem
from sojourn.console.identity.accounts import ROLE_NAMES, Account, Accounts, New, Refused, giver_of, list_accounts
from sojourn.console.identity.api_tokens import add_token, list_tokens, revoke_token
from sojourn.console.identity.trail import ActFilter, acts_page
from sojourn.console.pages.ranges import ANY, BETWEEN, BadChoice, chosen
from sojourn.console.pages.render import AnyRequest, Pages, View, with_query
from sojourn.console.site.access import Who, needs, require_confirmed
from sojourn.console.site.principal import PERMISSIONS, PLATFORM, Principal, permissions_of
from sojourn.events.errors import UsageError

ROWS: Final = 100  # of one page of the trail
DAYS: Final = ("7", "30", "90", "365")  # that a token may be good for, as the page offers them

_FIELDS: Final = ("actor", "action", "from", "to")


def user_page_handlers(pages: Pages, accounts: Accounts) -> list[HTTPRouteHandler]:
    """Return the handlers of the page of users."""

    async def page(
        request: AnyRequest, principal: Principal, told: tuple[Account, str] | None = None, error: str = "", **form: Any
    ) -> Response[bytes]:
        view = await _view(pages, request, principal)
        async with pages.site.console(principal.tenant) as connection:
            users = await list_accounts(connection)
        context = {
            "users": users,
            "roles": _roles_for(principal),
            "told": told,
            "error": error,
            "form": {"name": "", "display_name": "", "roles": [], **form},
        }
        return pages.answer(view, "users.html", context, status=400 if error else 200)

    @get("/t/{tenant:str}/users", opt=needs("administer"), include_in_schema=False)
    async def users(request: AnyRequest, principal: Who) -> Response[bytes]:
        return await page(request, principal)

    @post("/t/{tenant:str}/users", opt=needs("administer"), include_in_schema=False, status_code=200)
    async def add(request: AnyRequest, principal: Who) -> Response[bytes]:
        require_confirmed(principal, pages.site.now())
        await known_tenant(pages.site, principal)
        form = await request.form()
        name, shown, roles = str(form.get("name", "")), str(form.get("display_name", "")), _all(form, "role")
        try:
            told = await accounts.add(principal.tenant, New(name, shown or name, roles), giver_of(principal))
        except (UsageError, Refused) as error:
            return await page(request, principal, error=str(error), name=name, display_name=shown, roles=roles)
        return await page(request, principal, told=told)

    @post(
        "/t/{tenant:str}/users/{account_id:uuid}/{act:str}",
        opt=needs("administer"),
        include_in_schema=False,
        status_code=200,
    )
    async def change(
        request: AnyRequest, principal: Who, account_id: FromPath[UUID], act: FromPath[str]
    ) -> Response[bytes]:
        if act != "disable":
            require_confirmed(principal, pages.site.now())
        await known_tenant(pages.site, principal)
        whose = (principal.tenant, account_id)
        told = None
        try:
            match act:
                case "roles":
                    await accounts.set_roles(*whose, _all(await request.form(), "role"), giver_of(principal))
                case "disable":
                    await accounts.disable(*whose, giver_of(principal))
                case "enable":
                    await accounts.enable(*whose, giver_of(principal))
                case "password":
                    told = await accounts.reset_password(*whose, giver_of(principal))
                case _:
                    raise Problem(404, "not-found", "there is nothing under this path")
        except (UsageError, Refused) as error:
            return await page(request, principal, error=str(error))
        return await page(request, principal, told=told)

    return [users, add, change]


def token_page_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handlers of the page of tokens."""

    async def page(
        request: AnyRequest, principal: Principal, told: Any = None, error: str = "", **form: Any
    ) -> Response[bytes]:
        view = await _view(pages, request, principal)
        async with pages.site.console(principal.tenant) as connection:
            tokens = await list_tokens(connection)
        context = {
            "tokens": tokens,
            "scopes": sorted(_scopes_for(principal)),
            "days": DAYS,
            "told": told,
            "error": error,
            "form": {"name": "", "scopes": ["read"], "days": "90", **form},
        }
        return pages.answer(view, "tokens.html", context, status=400 if error else 200)

    @get("/t/{tenant:str}/tokens", opt=needs("administer"), include_in_schema=False)
    async def tokens(request: AnyRequest, principal: Who) -> Response[bytes]:
        return await page(request, principal)

    @post("/t/{tenant:str}/tokens", opt=needs("administer"), include_in_schema=False, status_code=200)
    async def add(request: AnyRequest, principal: Who) -> Response[bytes]:
        require_confirmed(principal, pages.site.now())
        await known_tenant(pages.site, principal)
        form = await request.form()
        name, days, scopes = str(form.get("name", "")), str(form.get("days", "")), _all(form, "scope")
        try:
            told = await add_token(pages.site, principal, name, scopes, pages.site.now() + _good(days))
        except (UsageError, Refused) as error:
            return await page(request, principal, error=str(error), name=name, days=days, scopes=scopes)
        return await page(request, principal, told=told)

    @post(
        "/t/{tenant:str}/tokens/{token_id:str}/revoke",
        opt=needs("administer"),
        include_in_schema=False,
        status_code=200,
    )
    async def revoke(request: AnyRequest, principal: Who, token_id: FromPath[str]) -> Response[bytes]:
        await known_tenant(pages.site, principal)
        try:
            await revoke_token(pages.site, principal, token_id)
        except Refused as error:
            return await page(request, principal, error=str(error))
        return await page(request, principal)

    return [tokens, add, revoke]


def audit_page_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handler of the page of the trail."""

    @get("/t/{tenant:str}/audit", opt=needs("audit"), include_in_schema=False)
    async def audit(request: AnyRequest, principal: Who) -> Response[bytes]:
        view = await _view(pages, request, principal)
        query = {name: request.query_params.get(name, "").strip() for name in _FIELDS}
        cursor = request.query_params.get("cursor")
        errors: list[tuple[str, str]] = []
        span: tuple[datetime | None, datetime | None] = (None, None)
        try:
            choice = BETWEEN if query["from"] or query["to"] else ANY
            span = chosen({**query, "range": choice}, view.zone, pages.site.now())[1:]
        except BadChoice as error:
            errors.append((error.field, view.words.gettext(str(error))))
        which = ActFilter(query["actor"] or None, query["action"] or None, *span)
        paged = Paged(await pages.site.cursors(), principal.tenant, ["admin-actions", which])
        place = paged.place(cursor)
        async with pages.site.console(principal.tenant) as connection:
            page = await acts_page(connection, principal.tenant, which, place, ROWS)
        on = paged.beside(page)["next"]
        context = {
            "acts": page.rows,
            "query": query,
            "errors": errors,
            "first": with_query(query) if cursor else None,
            "older": None if on is None else with_query(query, cursor=on),
        }
        return pages.answer(view, "audit.html", context, status=400 if errors else 200)

    return [audit]


async def _view(pages: Pages, request: AnyRequest, principal: Principal) -> View:
    """Return what the page knows; the platform has no lists, and so none that could be fresh."""
    if principal.tenant == PLATFORM:
        return View(request, principal, pages.site.now())
    async with pages.site.reader(principal.tenant) as connection:
        return await pages.view(request, principal, connection)


def _roles_for(principal: Principal) -> list[str]:
    """Return the roles that may be given to people of the tenant."""
    if principal.tenant == PLATFORM:
        return ["platform_admin"]
    return [role for role in ROLE_NAMES if role != "platform_admin" and permissions_of([role]) <= principal.permissions]


def _scopes_for(principal: Principal) -> frozenset[Any]:
    return (
        principal.permissions if principal.tenant == PLATFORM else principal.permissions & (PERMISSIONS - {"platform"})
    )


def _good(days: str) -> timedelta:
    if days not in DAYS:
        raise UsageError(f"a token is good for one of {', '.join(DAYS)} days")
    return timedelta(days=int(days))


def _all(form: Any, name: str) -> list[str]:
    return [str(value) for value in form.getall(name, [])]
