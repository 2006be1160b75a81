"""Who may call what: every route of the site names the permission that it needs, or that it needs none."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from sojourn.console.http.problems import Problem
from sojourn.console.site.paths import join
from sojourn.console.site.principal import PLATFORM, Permission, Principal
from sojourn.console.site.settings import SiteSettings

OPEN: Final[Mapping[str, Any]] = {"permission": None}  # for what everybody may see, as the page to sign in on
SIGNED_IN: Final[Mapping[str, Any]] = {"permission": "self"}  # for what everybody may do who is known, for themselves

# A page that scripts keep up to date sends this with what nobody asked for: it is no use, and keeps nobody signed in.
UNASKED: Final = "sojourn-unasked"

CONFIRMED_MAX: Final = timedelta(minutes=10)  # for what does much at once, or gives access to somebody else

_ADDRESS_CHARACTERS_MAX: Final = 45  # the longest that IPv6 is written
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")

AnyConnection = ASGIConnection[Any, Any, Any, Any]
Who = NamedDependency[Principal]  # how a handler declares `principal`


class Gate(Protocol):
    """Finds out who asks."""

    settings: SiteSettings

    async def principal(self, connection: AnyConnection, *, is_use: bool = True) -> Principal | None:
        """Return whose cookie or token the request shows, for their own tenant; None for none that is good.

        Streams outlive the request that was let in: they ask every few seconds whether it still would be, which is no
        use and keeps nobody signed in.
        """
        ...

    async def note_refusal(self, principal: Principal, action: str, subject: str, why: str) -> None:
        """Write down that somebody who is known asked for what they may not do."""
        ...


def needs(permission: Permission) -> dict[str, Any]:
    """Return the `opt` of a route that only who has this permission may call."""
    return {"permission": permission}


def access(gate: Gate) -> Guard:
    """Return a guard that refuses who may not, and lets handlers know who asks; a function, since Litestar copies more.

    It raises the problem that nobody is known, that it is not allowed, or that another site sent the request.
    """

    async def guard(connection: AnyConnection, handler: BaseRouteHandler) -> None:
        join(connection.scope)
        if connection.scope.get("method") == "OPTIONS":  # Litestar's own handler, which names the methods of a path
            return
        permission: Permission | None = handler.opt["permission"]  # who adds a route says who may call it
        refuse_foreign(connection, gate.settings, is_open=permission is None)
        if permission is None:
            return
        is_use = UNASKED not in connection.headers and handler.opt.get("is_use", True)
        principal = await gate.principal(connection, is_use=is_use)
        if principal is None:
            raise signed_out()
        if handler.opt != SIGNED_IN:
            principal = await _judged(gate, principal, permission, connection)
        connection.scope["user"] = principal

    return guard


async def _judged(gate: Gate, principal: Principal, permission: Permission, connection: AnyConnection) -> Principal:
    if principal.has_to_choose:
        raise Problem(403, "choose-password", "choose a password first", "this one was good for one sign-in: /account")
    principal = for_tenant(principal, connection)
    if not principal.may(permission):
        if connection.scope.get("method") not in _SAFE:
            action = f"{connection.scope.get('method')} {connection.scope['path_template']}"
            await gate.note_refusal(principal, action, connection.url.path, f"needs the permission {permission}")
        raise forbidden(permission)
    return principal


def refuse_foreign(connection: AnyConnection, settings: SiteSettings, *, is_open: bool) -> None:
    """Raise the problem that this was sent to another host's name, or by a page of another site.

    Another name that leads here is what lets a page of another site read answers (DNS rebinding). A page of another
    site can send what the browser adds a cookie to, and forms to where none is needed, as to sign somebody in as
    another.
    """
    own = origin_of(connection, settings)
    if connection.scope.get("method") in _SAFE or not (is_open or "cookie" in connection.headers):
        return
    site, origin = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    if (site is None and origin is None) or site not in {None, "same-origin"} or origin not in {None, own}:
        raise Problem(403, "foreign-request", "sent by another site", "sign in here and send the form from here")


async def principal_of(request: Request[Any, Any, Any]) -> Principal:
    """Return who asks, for handlers whose route needs a permission."""
    found: Principal = request.scope["user"]
    return found


def require_confirmed(principal: Principal, now: datetime) -> None:
    """Raise the problem that a person has to prove again who they are; a token proves it each time."""
    if principal.sign_in_id is None:
        return
    if principal.confirmed_at is None or now - principal.confirmed_at > CONFIRMED_MAX:
        detail = "sign in again at /confirm, then send this once more; a page of 10 minutes ago may be somebody else's"
        raise Problem(403, "confirm-password", "show again who you are", detail)


def signed_out() -> Problem:
    """Return the one answer to every credential that is not good."""
    detail = "sign in, or send one header `Authorization: Bearer sja_…` with a token of this tenant"
    return Problem(401, "unauthorized", "not signed in", detail, {"WWW-Authenticate": "Bearer"})


def forbidden(permission: str) -> Problem:
    """Return the answer to who is known but may not do this."""
    return Problem(403, "forbidden", "not allowed", f"this needs the permission: {permission}")


def no_such_tenant() -> Problem:
    """Return the answer to a tenant that does not exist, or whose existence is not for the asker to know."""
    return Problem(404, "no-such-tenant", "no such tenant", "there is none of this name that you may see")


def for_tenant(principal: Principal, connection: AnyConnection) -> Principal:
    """Return who asks, about the tenant that the path or the query names."""
    named = connection.path_params.get("tenant") or connection.query_params.get("tenant")
    if named is None:
        if principal.tenant == PLATFORM:
            raise Problem(400, "tenant-missing", "no tenant named", "say about which tenant: ?tenant=…")
        return principal
    if named == principal.tenant:
        return principal
    if not principal.may("platform"):
        raise no_such_tenant()
    return msgspec.structs.replace(principal, tenant=named)


def origin_of(connection: AnyConnection, settings: SiteSettings) -> str:
    """Return the origin that a request was sent to; raises the problem that the console is not served under it."""
    host = connection.headers.get("host", "").lower()
    if settings.origin is not None and host == settings.host:
        return settings.origin
    if not _LOOPBACK.fullmatch(host):
        raise Problem(421, "misdirected", "not served under this name", "SOJOURN_CONSOLE_ORIGIN says under which it is")
    return f"http://{host}"


def address_of(connection: AnyConnection, settings: SiteSettings) -> str:
    """Return the address of who asks; behind the proxy of the console's origin, the one that the proxy tells.

    A proxy appends the address that it sees, so only the last one is its word.
    """
    peer = connection.client.host if connection.client is not None else "unknown"
    if settings.host is None or connection.headers.get("host", "").lower() != settings.host:
        return peer
    told = [part.strip() for line in connection.headers.getall("x-forwarded-for", []) for part in line.split(",")]
    return told[-1][:_ADDRESS_CHARACTERS_MAX] if told and told[-1] else peer
