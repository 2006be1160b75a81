"""Cursors of lists: where a page ended, signed, so that nobody continues another tenant's list or another filter."""

import base64
import secrets
from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac
from typing import Any, Final, TypeVar

import msgspec
from psycopg import AsyncConnection

from sojourn.console.http.problems import Problem

T = TypeVar("T")

_KEY_BYTES: Final = 32
_MARK_BYTES: Final = 16  # half of SHA-256: nobody guesses 128 bits


class Cursors:
    """Makes and reads cursors with a key that all consoles of one database share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, tenant: str, about: Any, place: Any) -> str:
        """Return a cursor; `about` is what the list shows and its order, `place` where it goes on (both JSON)."""
        body = msgspec.json.encode(place)
        return base64.urlsafe_b64encode(self._mark(tenant, about, body) + body).rstrip(b"=").decode()

    def open(self, tenant: str, about: Any, cursor: str, kind: type[T]) -> T:
        """Return the place of a cursor; raises the problem that it belongs to another list, or is none."""
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            mark, body = sealed[:_MARK_BYTES], sealed[_MARK_BYTES:]
            if compare_digest(mark, self._mark(tenant, about, body)):
                return msgspec.json.decode(body, type=kind)
        except (ValueError, msgspec.MsgspecError):  # not even Base64, or of an older Sojourn
            pass
        detail = "a cursor goes on with the list that gave it, with the same filter and order; begin without one"
        raise Problem(409, "bad-cursor", "the cursor is not of this list", detail)

    def _mark(self, tenant: str, about: Any, body: bytes) -> bytes:
        text = msgspec.json.encode([tenant, about], order="deterministic")
        return hmac(self._key, len(text).to_bytes(8) + text + body, sha256).digest()[:_MARK_BYTES]


async def load_cursors(connection: AsyncConnection[Any]) -> Cursors:
    """Return the cursors of this database, as the gatekeeper; the first console of all makes their key."""
    await connection.execute(
        "INSERT INTO console_key (name, value, made_at) VALUES ('cursor', %s, now()) ON CONFLICT DO NOTHING",
        [secrets.token_bytes(_KEY_BYTES)],
    )
    row = await (await connection.execute("SELECT value FROM console_key WHERE name = 'cursor'")).fetchone()
    assert row is not None
    return Cursors(row[0])
