"""People whom another service signs in: accounts are made when they first come, and are what it says each time."""

import re
import secrets
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from sojourn.console.http.problems import Problem
from sojourn.console.identity.accounts import DISPLAY_CHARACTERS_MAX, NAME_CHARACTERS_MAX, ROLE_NAMES, check_roles
from sojourn.console.identity.acts import DONE, Doer, refused, write_act
from sojourn.console.identity.provider import Flow, Provider, ProviderFailed
from sojourn.console.identity.sign_ins import begin, end, end_all
from sojourn.console.identity.signing_in import Browser
from sojourn.console.site.principal import PLATFORM, Principal
from sojourn.console.site.settings import OidcSettings
from sojourn.console.site.site import Connection, Site
from sojourn.events.checks import is_tenant
from sojourn.events.errors import UsageError

COOKIE: Final = "__Host-sojourn-oidc"
CALLBACK: Final = "/sign-in/oidc/callback"
FLOW_GOOD: Final = timedelta(minutes=10)  # to type a password and find the telephone
FLOWS_MAX: Final = 10_000  # that are remembered to have ended, so that none ends twice; the oldest are forgotten
FRESH_SECONDS_MAX: Final = 300  # since the provider last saw the password of who shows again who they are

_SUBJECT_CHARACTERS_MAX: Final = 255  # OpenID Connect Core, 2
_COOKIE: Final = re.compile(r"(?P<secret>[A-Za-z0-9_-]{43})\.(?P<again>[01])\.(?P<after>[A-Za-z0-9_-]*)")
_NOT_OF_NAMES: Final = re.compile(r"[^A-Za-z0-9._@+-]+|^[^A-Za-z0-9]+")


class Begun(NamedTuple):
    """Where a browser goes now, and the cookie that it comes back with."""

    where: str
    cookie: str


class Came(NamedTuple):
    """Somebody who came back and is signed in: their cookie, and where they wanted to go."""

    secret: str
    after: str


class _Person(NamedTuple):
    """What the provider says of somebody."""

    subject: str
    name: str
    display_name: str
    tenant: str
    roles: Sequence[str]


class OtherSignIn:
    """Signs people in whom the provider knows."""

    def __init__(self, site: Site, settings: OidcSettings) -> None:
        self._site, self._settings = site, settings
        self._provider = Provider(settings)
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.name = urlsplit(settings.issuer).netloc

    async def begin(self, origin: str, after: str, *, again: bool) -> Begun:
        """Begin an attempt; `again` is for who shows again who they are. Raises the problem that it cannot be begun."""
        secret = secrets.token_urlsafe(32)
        try:
            where = await self._provider.where(_flow(secret, origin), again=again)
        except ProviderFailed as error:
            raise _problem(str(error)) from error
        return Begun(where, f"{secret}.{int(again)}.{_in_base64(after.encode())}")

    async def come_back(
        self, origin: str, query: Mapping[str, str], cookie: str | None, browser: Browser, principal: Principal | None
    ) -> Came:
        """End an attempt with a sign-in; `principal` is who is signed in now. Raises the problem that it is none."""
        match = _COOKIE.fullmatch(cookie or "")
        if match is None:
            raise _problem("it was not begun in this browser, or more than ten minutes ago")
        flow, again = _flow(match["secret"], origin), match["again"] == "1"
        try:
            self._end_once(flow, query)
            claims = await self._provider.claims(flow, query.get("code", ""))
            person = self._person(claims)
            if again:
                self._judge_again(claims)
        except ProviderFailed as error:
            await self._note_failure(browser, str(error))
            raise _problem(str(error)) from error
        secret = await self._sign_in(person, browser, principal if again else None, again=again)
        after = match["after"]
        return Came(secret, urlsafe_b64decode(after + "=" * (-len(after) % 4)).decode(errors="replace"))

    def _end_once(self, flow: Flow, query: Mapping[str, str]) -> None:
        if not compare_digest(query.get("state", "").encode(), flow.state.encode()):
            raise ProviderFailed("this is the answer to another attempt")
        if query.get("iss", self._settings.issuer) != self._settings.issuer:
            raise ProviderFailed("this is the answer of another issuer")
        if flow.state in self._ended:
            raise ProviderFailed("this attempt has ended before")
        self._ended[flow.state] = None
        if len(self._ended) > FLOWS_MAX:
            self._ended.popitem(last=False)
        if "error" in query or not query.get("code"):
            raise ProviderFailed("it refused, or you cancelled")

    def _judge_again(self, claims: Mapping[str, Any]) -> None:
        at = claims.get("auth_time")
        if not isinstance(at, int | float) or self._site.now().timestamp() - at > FRESH_SECONDS_MAX:
            raise ProviderFailed("it did not ask for the password again")

    def _person(self, claims: Mapping[str, Any]) -> _Person:
        subject = claims.get("sub")
        if (
            not isinstance(subject, str)
            or not 1 <= len(subject) <= _SUBJECT_CHARACTERS_MAX
            or not subject.isprintable()
        ):
            raise ProviderFailed("it names nobody")
        tenant = _claim(claims, self._settings.tenant_claim)
        if not isinstance(tenant, str) or not (is_tenant(tenant) or tenant == PLATFORM):
            raise ProviderFailed("it names no tenant of yours; your administrator there can mend that")
        told = _claim(claims, self._settings.roles_claim)
        named = told if isinstance(told, list) else [told]
        roles = [role for role in ROLE_NAMES if role in named]
        try:
            check_roles(tenant, roles)
        except UsageError as error:
            raise ProviderFailed("it gives you no role here; your administrator there can mend that") from error
        texts = [claims.get(name) for name in ("preferred_username", "email", "sub")]
        name = next((_name(text) for text in texts if isinstance(text, str) and _name(text)), "somebody")
        shown = claims.get("name")
        display = "".join(c for c in shown if c.isprintable()).strip() if isinstance(shown, str) else ""
        return _Person(subject, name, (display or name)[:DISPLAY_CHARACTERS_MAX], tenant, roles)

    async def _sign_in(self, person: _Person, browser: Browser, now_in: Principal | None, *, again: bool) -> str:
        now = self._site.now()
        async with self._site.gatekeeper() as connection:
            cursor = await connection.execute(
                "SELECT tenant, account_id, name, disabled_at IS NOT NULL FROM account"
                " WHERE issuer = %s AND subject = %s",
                [self._settings.issuer, person.subject],
            )
            row = await cursor.fetchone()
        tenant, account_id, name, is_disabled = row or (person.tenant, None, person.name, False)
        refusal = "disabled here" if is_disabled else None
        if again and (now_in is None or now_in.account_id != account_id):
            refusal = "another person than the one who is signed in"
        secret = ""
        async with self._site.console(tenant) as connection:
            if refusal is None:
                if tenant != person.tenant:
                    await self._leave(connection, tenant, account_id, name, browser)
                    account_id = None
                if account_id is None:
                    account_id, name = await self._add(connection, person)
                await connection.execute(
                    "UPDATE account SET roles = %s, display_name = %s, last_sign_in_at = %s WHERE account_id = %s",
                    [list(person.roles), person.display_name, now, account_id],
                )
                tenant = person.tenant
                secret = await begin(connection, tenant, account_id, browser.origin, browser.agent, now)
                if browser.shown is not None:
                    await end(connection, browser.shown, now)
            action, result = "confirm" if again else "sign_in", DONE if refusal is None else refused(refusal)
            subject = f"{name}: {', '.join(person.roles)}, by {self.name}"
            await write_act(connection, tenant, Doer(name, browser.origin), action, subject, result, now)
        if refusal is not None:
            raise _problem(f"this account is {refusal}" if is_disabled else f"this was {refusal}")
        return secret

    async def _leave(
        self, connection: Connection, tenant: str, account_id: UUID | None, name: str, browser: Browser
    ) -> None:
        """End the account of a person who now belongs to another tenant; the connection acts for the new one then."""
        assert account_id is not None
        now = self._site.now()
        await connection.execute(
            "UPDATE account SET disabled_at = %s, issuer = NULL, subject = NULL WHERE account_id = %s",
            [now, account_id],
        )
        await end_all(connection, account_id, now)
        by = Doer(self.name, browser.origin)
        await write_act(connection, tenant, by, "user.disable", name, f"{DONE}: belongs to another tenant", now)

    async def _add(self, connection: Connection, person: _Person) -> tuple[UUID, str]:
        await connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [person.tenant])
        account_id = uuid.uuid4()
        mark = sha256(f"{self._settings.issuer}\n{person.subject}".encode()).hexdigest()
        for name in (person.name, f"{person.name[: NAME_CHARACTERS_MAX - 9]}-{mark[:8]}"):
            cursor = await connection.execute(
                "INSERT INTO account (tenant, account_id, name, display_name, issuer, subject, roles, created_at,"
                " created_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    person.tenant,
                    account_id,
                    name,
                    person.display_name,
                    self._settings.issuer,
                    person.subject,
                    list(person.roles),
                    self._site.now(),
                    self.name,
                ],
            )
            if cursor.rowcount == 1:
                return account_id, name
        raise _problem("this account is being made just now; try again")

    async def _note_failure(self, browser: Browser, why: str) -> None:
        async with self._site.console(PLATFORM) as connection:
            by = Doer("somebody", browser.origin)
            now = self._site.now()
            await write_act(connection, PLATFORM, by, "sign_in", f"somebody by {self.name}", refused(why), now)


def _flow(secret: str, origin: str) -> Flow:
    """Return what an attempt is known by; all of it follows from the secret that only its browser has."""

    def part(purpose: str) -> str:
        return _in_base64(sha256(f"{purpose}\n{secret}".encode()).digest())

    return Flow(part("state"), part("nonce"), part("verifier"), origin + CALLBACK)


def _in_base64(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return what stands under a name, or under names within each other."""
    if path in claims:  # as `https://example.com/roles`, whose dots are part of it
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _name(text: str) -> str:
    return _NOT_OF_NAMES.sub("", text)[:NAME_CHARACTERS_MAX]


def _problem(why: str) -> Problem:
    return Problem(403, "other-sign-in", "signing in there did not work", why)
