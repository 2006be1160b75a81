"""The pages to sign in, to show again who one is, to choose a password, and the list of tenants to begin with."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body
from litestar.response import Redirect
from msgspec import Struct

from sojourn.console.http.problems import Problem
from sojourn.console.identity.oidc import CALLBACK, FLOW_GOOD, OtherSignIn
from sojourn.console.identity.oidc import COOKIE as OTHER_COOKIE
from sojourn.console.identity.sign_ins import cookie, no_cookie, shown_cookie, shown_sign_in
from sojourn.console.identity.signing_in import Browser, SigningIn
from sojourn.console.pages.render import AnyRequest, Pages, View, segment
from sojourn.console.site.access import OPEN, SIGNED_IN, Gate, Who, address_of, origin_of
from sojourn.console.site.principal import PLATFORM, Principal
from sojourn.projections.read import as_auditor

NEXT_CHARACTERS_MAX: Final = 2000  # browsers and proxies take little more

_LOCAL: Final = re.compile(r"/([^/\\\x00-\x20\x7f][^\\\x00-\x20\x7f]*)?")  # //host and /\host are other sites
_TOO_MANY: Final = 429


class SignInForm(Struct):
    """What the page to sign in on sends."""

    name: str = ""
    password: str = ""
    next: str = "/"


class ConfirmForm(Struct):
    """What the page to show again who one is sends."""

    password: str = ""
    next: str = "/"


class ChooseForm(Struct):
    """What the page to choose a password on sends."""

    password: str = ""
    new: str = ""
    again: str = ""
    next: str = "/"


SignInBody = Annotated[SignInForm, Body(media_type=RequestEncodingType.URL_ENCODED)]
ConfirmBody = Annotated[ConfirmForm, Body(media_type=RequestEncodingType.URL_ENCODED)]
ChooseBody = Annotated[ChooseForm, Body(media_type=RequestEncodingType.URL_ENCODED)]


def sign_in_handlers(
    pages: Pages, gate: Gate, signing_in: SigningIn, other: OtherSignIn | None
) -> list[HTTPRouteHandler]:
    """Return the handlers of signing in and out."""

    def page(request: AnyRequest, status: int = 200, **context: Any) -> Response[bytes]:
        whole = {"problem": None, "name": "", "next": "/", "provider": other and other.name, **context}
        return pages.answer(View(request, None, pages.site.now()), "sign_in.html", whole, status=status)

    @get("/sign-in", opt=OPEN, include_in_schema=False)
    async def show(request: AnyRequest) -> Response[bytes]:
        return page(request, next=next_of(request))

    @post("/sign-in", opt=OPEN, include_in_schema=False, status_code=303)
    async def sign_in(request: AnyRequest, data: SignInBody) -> Response[Any]:
        told = {"name": data.name, "next": local(data.next)}
        try:
            done = await signing_in.sign_in(data.name, data.password, browser_of(request, gate))
        except Problem as problem:
            if problem.status != _TOO_MANY:
                raise
            answer = page(request, _TOO_MANY, problem="limited", **told)
            answer.headers["Retry-After"] = problem.headers["Retry-After"]
            return answer
        if done is None:
            return page(request, 401, problem="wrong", **told)
        after = "/account?" + urlencode({"next": told["next"]}) if done.has_to_choose else told["next"]
        return go(after, cookie(done.secret))

    @post("/sign-out", opt=OPEN, include_in_schema=False, status_code=303)
    async def sign_out(request: AnyRequest) -> Response[Any]:
        principal = await gate.principal(request)
        if principal is not None and principal.sign_in_id is not None:
            await signing_in.sign_out(principal)
        return go("/sign-in", no_cookie())

    return [show, sign_in, sign_out, *([] if other is None else _other_handlers(gate, other, page))]


def _other_handlers(gate: Gate, other: OtherSignIn, page: Callable[..., Response[bytes]]) -> list[HTTPRouteHandler]:
    """Return the handlers of signing in at another service."""

    @get("/sign-in/oidc", opt=OPEN, include_in_schema=False)
    async def leave(request: AnyRequest) -> Response[Any]:
        again = request.query_params.get("confirm") == "yes"
        try:
            begun = await other.begin(origin_of(request, gate.settings), next_of(request), again=again)
        except Problem as problem:
            return page(request, 502, problem="provider", detail=problem.detail, next=next_of(request))
        return go(begun.where, cookie(begun.cookie, OTHER_COOKIE, FLOW_GOOD))

    @get(CALLBACK, opt=OPEN, include_in_schema=False)
    async def come_back(request: AnyRequest) -> Response[Any]:
        shown, origin = shown_cookie(request, OTHER_COOKIE), origin_of(request, gate.settings)
        query = dict(request.query_params.items())
        try:
            came = await other.come_back(origin, query, shown, browser_of(request, gate), await gate.principal(request))
        except Problem as problem:
            answer: Response[Any] = page(request, 403, problem="provider", detail=problem.detail)
            answer.cookies.append(no_cookie(OTHER_COOKIE))
            return answer
        return go(local(came.after), cookie(came.secret), no_cookie(OTHER_COOKIE))

    return [leave, come_back]


def own_account_handlers(pages: Pages, gate: Gate, signing_in: SigningIn) -> list[HTTPRouteHandler]:
    """Return the handlers of what everybody may do for themselves."""

    async def page(
        request: AnyRequest, principal: Principal, purpose: str, status: int = 200, **context: Any
    ) -> Response[bytes]:
        framed = None if principal.has_to_choose else principal
        whole = {
            "purpose": purpose,
            "who": principal,
            "problem": None,
            "next": "/",
            "has_password": await signing_in.has_password(principal),
            **context,
        }
        return pages.answer(View(request, framed, pages.site.now()), "account.html", whole, status=status)

    @get("/confirm", opt=SIGNED_IN, include_in_schema=False)
    async def show_confirm(request: AnyRequest, principal: Who) -> Response[bytes]:
        return await page(request, principal, "confirm", next=next_of(request))

    @post("/confirm", opt=SIGNED_IN, include_in_schema=False, status_code=303)
    async def confirm(request: AnyRequest, principal: Who, data: ConfirmBody) -> Response[Any]:
        person_only(principal)
        secret = await signing_in.confirm(principal, data.password, browser_of(request, gate))
        if secret is None:
            return await page(request, principal, "confirm", 403, problem="wrong", next=local(data.next))
        return go(local(data.next), cookie(secret))

    @get("/account", opt=SIGNED_IN, include_in_schema=False)
    async def show_account(request: AnyRequest, principal: Who) -> Response[bytes]:
        return await page(request, principal, "choose", next=next_of(request))

    @post("/account", opt=SIGNED_IN, include_in_schema=False, status_code=303)
    async def choose(request: AnyRequest, principal: Who, data: ChooseBody) -> Response[Any]:
        person_only(principal)
        after = local(data.next)
        if data.new != data.again:
            return await page(request, principal, "choose", 400, problem="differ", next=after)
        try:
            secret = await signing_in.choose(principal, data.password, data.new, browser_of(request, gate))
        except Problem as problem:
            if problem.kind not in {"weak-password", "wrong-password"}:
                raise
            kind = problem.detail if problem.kind == "weak-password" else "wrong"
            return await page(request, principal, "choose", problem.status, problem=kind, next=after)
        return go(after, cookie(secret))

    return [show_confirm, confirm, show_account, choose, _start_handler(pages)]


def _start_handler(pages: Pages) -> HTTPRouteHandler:
    @get("/", opt=SIGNED_IN, include_in_schema=False)
    async def start(request: AnyRequest, principal: Who) -> Response[Any]:
        if principal.has_to_choose:
            return go("/account")
        if principal.home != PLATFORM:
            return go(f"/t/{segment(principal.home)}/sessions")
        async with pages.site.connection() as connection, as_auditor(connection):
            found = await (await connection.execute("SELECT tenant FROM tenant ORDER BY tenant")).fetchall()
        view = View(request, principal, pages.site.now())
        return pages.answer(view, "tenants.html", {"tenants": [row[0] for row in found]})

    return start


def go(path: str, *cookies: Cookie) -> Response[Any]:
    """Return the answer that leads to a page of this site, with cookies to be set."""
    return Redirect(path, status_code=303, cookies=list(cookies))


def local(path: str) -> str:
    """Return the path if it is one of this site, otherwise the start: nobody is sent to another site."""
    return path if len(path) <= NEXT_CHARACTERS_MAX and _LOCAL.fullmatch(path) else "/"


def next_of(request: AnyRequest) -> str:
    """Return where to go on, as the query says it."""
    return local(request.query_params.get("next", "/"))


def browser_of(request: AnyRequest, gate: Gate) -> Browser:
    """Return where somebody signs in."""
    return Browser(address_of(request, gate.settings), request.headers.get("user-agent"), shown_sign_in(request))


def person_only(principal: Principal) -> None:
    """Raise the problem that a token has no password."""
    if principal.sign_in_id is None:
        raise Problem(403, "forbidden", "not allowed", "this is for people who signed in, not for tokens")
