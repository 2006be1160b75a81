"""The gate: whose token or cookie a request shows."""

from collections.abc import Collection
from typing import Any, Final

from sojourn.console.http.credentials import Shown
from sojourn.console.http.problems import malformed
from sojourn.console.identity.acts import doer, refused, write_act
from sojourn.console.identity.sign_ins import AGE_MAX, IDLE_MAX, SEEN_EVERY, shown_sign_in
from sojourn.console.identity.tokens import shown_api_token
from sojourn.console.site.access import AnyConnection, address_of
from sojourn.console.site.principal import PERMISSIONS, Principal, permissions_of
from sojourn.console.site.settings import SiteSettings
from sojourn.console.site.site import Site

# Tokens that are good; what their makers may no longer do, they may not either.
_TOKENS: Final = """
    SELECT t.tenant, t.name, t.secret_sha256, t.scopes, t.account_id, a.roles, t.last_used_at
    FROM api_token AS t LEFT JOIN account AS a ON a.account_id = t.account_id
    WHERE t.token_id = %(id)s AND t.revoked_at IS NULL AND t.expires_at > %(now)s
        AND (t.account_id IS NULL OR (a.account_id IS NOT NULL AND a.disabled_at IS NULL))
"""
_SIGN_INS: Final = """
    SELECT a.tenant, a.account_id, a.name, a.display_name, a.roles, a.locale,
        a.password_until IS NOT NULL, s.confirmed_at, s.last_seen_at
    FROM sign_in AS s JOIN account AS a ON a.tenant = s.tenant AND a.account_id = s.account_id
    WHERE s.sign_in_id = %(id)s AND s.ended_at IS NULL AND a.disabled_at IS NULL
        AND s.last_seen_at > %(idle)s AND s.created_at > %(old)s
"""


class Gate:
    """Finds out who asks, each time anew: what was changed or ended holds from the next request on."""

    def __init__(self, site: Site, settings: SiteSettings) -> None:
        self._site, self.settings = site, settings

    async def principal(self, connection: AnyConnection, *, is_use: bool = True) -> Principal | None:
        """See `sojourn.console.site.access.Gate`."""
        given = connection.headers.getall("authorization", [])
        if given and "cookie" in connection.headers:
            raise malformed("either a token or a cookie says who asks, not both")
        if given:
            shown_token = shown_api_token(given[0]) if len(given) == 1 else None
            return None if shown_token is None else await self._of_token(shown_token, connection)
        shown = shown_sign_in(connection)
        return None if shown is None else await self._of_sign_in(shown, connection, is_use=is_use)

    async def note_refusal(self, principal: Principal, action: str, subject: str, why: str) -> None:
        """See `sojourn.console.site.access.Gate`."""
        async with self._site.console(principal.tenant) as connection:
            await write_act(
                connection, principal.tenant, doer(principal), action, subject, refused(why), self._site.now()
            )

    async def _of_token(self, shown: Shown, connection: AnyConnection) -> Principal | None:
        now = self._site.now()
        async with self._site.gatekeeper() as database:
            cursor = await database.execute(_TOKENS, {"id": shown.token_id, "now": now})
            row = await cursor.fetchone()
            tenant, name, kept, scopes, account_id, roles, used_at = row or ("", "", None, [], None, None, None)
            if not shown.is_of(kept):
                return None
            if used_at is None or now - used_at >= SEEN_EVERY:
                await database.execute(
                    "UPDATE api_token SET last_used_at = %s WHERE token_id = %s", [now, shown.token_id]
                )
        return Principal(
            tenant=tenant,
            home=tenant,
            actor=f"token {name}",
            origin=address_of(connection, self.settings),
            permissions=_token_permissions(scopes, roles),
            account_id=account_id,
            display_name=name,
            token_id=shown.token_id,
        )

    async def _of_sign_in(self, shown: bytes, connection: AnyConnection, *, is_use: bool) -> Principal | None:
        now = self._site.now()
        values = {"id": shown, "idle": now - IDLE_MAX, "old": now - AGE_MAX}
        async with self._site.gatekeeper() as database:
            row = await (await database.execute(_SIGN_INS, values)).fetchone()
            if row is None:
                return None
            tenant, account_id, name, display_name, roles, locale, has_to_choose, confirmed_at, seen_at = row
            if is_use and now - seen_at >= SEEN_EVERY:
                await database.execute("UPDATE sign_in SET last_seen_at = %s WHERE sign_in_id = %s", [now, shown])
        return Principal(
            tenant=tenant,
            home=tenant,
            actor=name,
            origin=address_of(connection, self.settings),
            permissions=permissions_of(roles),
            account_id=account_id,
            display_name=display_name,
            locale=locale,
            sign_in_id=shown,
            confirmed_at=confirmed_at,
            has_to_choose=has_to_choose,
        )


def _token_permissions(scopes: Collection[str], roles: Collection[str] | None) -> frozenset[Any]:
    """Return what a token allows: no more than who made it, where that is a person."""
    own = PERMISSIONS if roles is None else permissions_of(roles)
    return own & frozenset(scopes)
