"""Sign-ins: a cookie with 256 random bits, of which only the hash is kept, and how long it is good."""

import re
import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from litestar.datastructures import Cookie

from sojourn.console.site.access import AnyConnection
from sojourn.console.site.site import Connection

COOKIE: Final = "__Host-sojourn"
IDLE_MAX: Final = timedelta(minutes=30)  # OWASP: of who left the desk
AGE_MAX: Final = timedelta(hours=12)  # of a working day
SEEN_EVERY: Final = timedelta(minutes=1)  # a write for every request would cost more than most requests
AGENT_CHARACTERS_MAX: Final = 200  # names browser and system, to be recognised

_SECRET_BYTES: Final = 32  # nobody guesses it, so that a plain hash is enough
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def cookie(secret: str, name: str = COOKIE, age: timedelta | None = None) -> Cookie:
    """Return the cookie for a browser; without an age it ends with the browser."""
    seconds = None if age is None else int(age.total_seconds())
    return Cookie(key=name, value=secret, path="/", max_age=seconds, secure=True, httponly=True, samesite="lax")


def no_cookie(name: str = COOKIE) -> Cookie:
    """Return what takes it away."""
    return cookie("", name, timedelta(0))


def shown_cookie(connection: AnyConnection, name: str = COOKIE) -> str | None:
    """Return the one value of a cookie that a request shows; two are none, since one of them is somebody else's."""
    pairs = (pair.strip() for line in connection.headers.getall("cookie", []) for pair in line.split(";"))
    found = [value for key, _, value in (pair.partition("=") for pair in pairs) if key == name]
    return found[0] if len(found) == 1 else None


def shown_sign_in(connection: AnyConnection) -> bytes | None:
    """Return the id of the sign-in whose cookie a request shows."""
    secret = shown_cookie(connection)
    return None if secret is None or not _SECRET.fullmatch(secret) else sign_in_id(secret)


def sign_in_id(secret: str) -> bytes:
    """Return what is kept of a cookie."""
    return sha256(secret.encode()).digest()


async def begin(
    connection: Connection, tenant: str, account_id: UUID, origin: str, agent: str | None, at: datetime
) -> str:
    """Make a sign-in of an account and return its cookie."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    await connection.execute(
        "INSERT INTO sign_in"
        " (tenant, sign_in_id, account_id, created_at, last_seen_at, confirmed_at, origin, agent)"
        " VALUES (%(tenant)s, %(id)s, %(account)s, %(at)s, %(at)s, %(at)s, %(origin)s, %(agent)s)",
        {
            "tenant": tenant,
            "id": sign_in_id(secret),
            "account": account_id,
            "at": at,
            "origin": origin,
            "agent": None if agent is None else agent[:AGENT_CHARACTERS_MAX],
        },
    )
    return secret


async def end(connection: Connection, shown: bytes, at: datetime) -> bool:
    """End a sign-in, if it is one of the connection's tenant."""
    cursor = await connection.execute(
        "UPDATE sign_in SET ended_at = %s WHERE sign_in_id = %s AND ended_at IS NULL", [at, shown]
    )
    return cursor.rowcount == 1


async def end_all(connection: Connection, account_id: UUID, at: datetime) -> None:
    """End all sign-ins of an account."""
    await connection.execute(
        "UPDATE sign_in SET ended_at = %s WHERE account_id = %s AND ended_at IS NULL", [at, account_id]
    )
