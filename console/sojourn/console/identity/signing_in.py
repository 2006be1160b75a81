"""Signing in with a password, showing again who one is, choosing a password, signing out."""

from typing import Any, Final, NamedTuple
from uuid import UUID

from sojourn.console.http.problems import Problem
from sojourn.console.identity.accounts import NAME_CHARACTERS_MAX
from sojourn.console.identity.acts import DONE, Doer, doer, refused, write_act
from sojourn.console.identity.passwords import Passwords, weakness
from sojourn.console.identity.rates import Tries
from sojourn.console.identity.sign_ins import begin, end, end_all
from sojourn.console.site.access import signed_out
from sojourn.console.site.principal import PLATFORM, Principal
from sojourn.console.site.site import Connection, Site

UNKNOWN: Final = "an unknown name"  # what was typed is not kept: it may be a password in the wrong field

_FIND: Final = """
    SELECT tenant, account_id, name, password_hash, password_until IS NOT NULL,
        disabled_at IS NULL AND coalesce(password_until > %(now)s, true)
    FROM account WHERE lower(name) = lower(%(name)s)
"""
# Judging a password takes a while, in which the account may be disabled or get another one: that comes before this, or
# waits for it and ends what it began.
_HOLD: Final = """
    SELECT FROM account WHERE account_id = %s AND password_hash = %s AND disabled_at IS NULL FOR UPDATE
"""


class SignedIn(NamedTuple):
    """What came of it: the cookie, and whether they have to choose a password now."""

    secret: str
    tenant: str
    has_to_choose: bool


class Browser(NamedTuple):
    """Where somebody signs in, and the sign-in that the browser showed before."""

    origin: str
    agent: str | None
    shown: bytes | None


class SigningIn:
    """Makes and ends sign-ins of people with a password."""

    def __init__(self, site: Site, passwords: Passwords) -> None:
        self._site, self._passwords = site, passwords
        self._tries = Tries()

    async def sign_in(self, name: str, password: str, browser: Browser) -> SignedIn | None:
        """Begin a sign-in that has nothing of the one before; None, without a reason, for a wrong name or password."""
        self._tries.take(name, browser.origin)
        row = await self._found(name)
        tenant, account_id, known, kept, has_to_choose, is_good = row or (PLATFORM, None, UNKNOWN, None, False, False)
        is_right = await self._passwords.verify(kept, password)
        now = self._site.now()
        async with self._site.console(tenant) as connection:
            secret = None
            if is_right and is_good and await _holds(connection, account_id, kept):
                secret = await begin(connection, tenant, account_id, browser.origin, browser.agent, now)
                await connection.execute(
                    "UPDATE account SET last_sign_in_at = %s WHERE account_id = %s", [now, account_id]
                )
                if browser.shown is not None:
                    await end(connection, browser.shown, now)
            why = (
                "wrong name or password" if not is_right else "disabled, or its password was good for one sign-in only"
            )
            result = DONE if secret is not None else refused(why)
            actor = known if secret is not None else "somebody"
            await write_act(connection, tenant, Doer(actor, browser.origin), "sign_in", known, result, now)
        if secret is None:
            return None
        self._tries.give_back(name, browser.origin)
        return SignedIn(secret, tenant, has_to_choose)

    async def sign_out(self, principal: Principal) -> None:
        """End the sign-in."""
        assert principal.sign_in_id is not None
        now = self._site.now()
        async with self._site.console(principal.home) as connection:
            await end(connection, principal.sign_in_id, now)
            await write_act(connection, principal.home, doer(principal), "sign_out", principal.actor, DONE, now)

    async def confirm(self, principal: Principal, password: str, browser: Browser) -> str | None:
        """Begin a new sign-in in place of this one, and return its cookie; None for a wrong password."""
        own = await self._own(principal, password, browser)
        if own is None:
            await self._note(principal, "confirm", refused("wrong password"))
            return None
        now = self._site.now()
        async with self._site.console(principal.home) as connection:
            await self._hold(connection, principal, own)
            secret = await self._begin_anew(connection, principal, browser)
            await write_act(connection, principal.home, doer(principal), "confirm", principal.actor, DONE, now)
        return secret

    async def choose(self, principal: Principal, password: str, new: str, browser: Browser) -> str:
        """Keep a new password, end all other sign-ins, and return the cookie of a new one.

        Raises the problem that the password is wrong, or that the new one is too weak, or that this sign-in has ended.
        """
        weak = weakness(new, principal.actor) or ("the new password is the old one" if new == password else None)
        if weak is not None:
            raise Problem(400, "weak-password", "choose another password", weak)
        own = await self._own(principal, password, browser)
        if own is None:
            await self._note(principal, "user.choose_password", refused("wrong password"))
            raise Problem(403, "wrong-password", "the password is wrong", "it is the one that you signed in with")
        kept = await self._passwords.hash(new)
        now = self._site.now()
        async with self._site.console(principal.home) as connection:
            await self._hold(connection, principal, own)
            await connection.execute(
                "UPDATE account SET password_hash = %s, password_until = NULL WHERE account_id = %s",
                [kept, principal.account_id],
            )
            await end_all(connection, _account(principal), now)
            secret = await self._begin_anew(connection, principal, browser)
            await write_act(
                connection, principal.home, doer(principal), "user.choose_password", principal.actor, DONE, now
            )
        return secret

    async def has_password(self, principal: Principal) -> bool:
        """Tell whether somebody has a password here, and does not sign in elsewhere."""
        return await self._kept(principal) is not None

    async def _found(self, name: str) -> tuple[Any, ...] | None:
        """Return the account of a name, unless nobody can have it: one that is too long, or what no letters are."""
        if len(name) > NAME_CHARACTERS_MAX or not name.isascii() or not name.isprintable():
            return None
        async with self._site.gatekeeper() as connection:
            cursor = await connection.execute(_FIND, {"name": name, "now": self._site.now()})
            return await cursor.fetchone()

    async def _own(self, principal: Principal, password: str, browser: Browser) -> str | None:
        """Return what is kept of somebody's password if this is it."""
        self._tries.take(principal.actor, browser.origin)
        kept = await self._kept(principal)
        if not await self._passwords.verify(kept, password):
            return None
        self._tries.give_back(principal.actor, browser.origin)
        return kept

    async def _hold(self, connection: Connection, principal: Principal, kept: str) -> None:
        """End the sign-in, for another in its place; raises the problem that something else ended it meanwhile."""
        assert principal.sign_in_id is not None
        is_held = await _holds(connection, principal.account_id, kept)
        if not (is_held and await end(connection, principal.sign_in_id, self._site.now())):
            raise signed_out()

    async def _kept(self, principal: Principal) -> str | None:
        async with self._site.gatekeeper() as connection:
            cursor = await connection.execute(
                "SELECT password_hash FROM account WHERE account_id = %s AND disabled_at IS NULL",
                [principal.account_id],
            )
            row = await cursor.fetchone()
        return None if row is None else row[0]

    async def _begin_anew(self, connection: Connection, principal: Principal, browser: Browser) -> str:
        now = self._site.now()
        return await begin(connection, principal.home, _account(principal), browser.origin, browser.agent, now)

    async def _note(self, principal: Principal, action: str, result: str) -> None:
        async with self._site.console(principal.home) as connection:
            await write_act(
                connection, principal.home, doer(principal), action, principal.actor, result, self._site.now()
            )


async def _holds(connection: Connection, account_id: UUID | None, kept: str | None) -> bool:
    """Tell whether this is still kept of the password, and let nobody change that up to the end of the transaction."""
    return (await connection.execute(_HOLD, [account_id, kept])).rowcount == 1


def _account(principal: Principal) -> UUID:
    assert principal.account_id is not None
    return principal.account_id
