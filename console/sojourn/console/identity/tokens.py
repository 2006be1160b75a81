"""Tokens of the API: `sja_<id>_<secret>`, of which only a hash of the secret is kept."""

import re
import secrets
from hashlib import sha256
from typing import Final

from sojourn.console.http.credentials import NewToken, Shown

_ID_BYTES: Final = 8  # names a row; it is no secret
_SECRET_BYTES: Final = 32  # 256 bits: nobody guesses it, so that a plain hash is enough

_BEARER: Final = re.compile(r"bearer +sja_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})", re.IGNORECASE)


def new_api_token() -> NewToken:
    """Make a token that nobody knows yet."""
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return NewToken(token_id, f"sja_{token_id}_{secret}", sha256(secret.encode()).digest())


def shown_api_token(authorization: str) -> Shown | None:
    """Return the token that a header of HTTP shows, if it is one."""
    match = _BEARER.fullmatch(authorization)
    return None if match is None else Shown(match["id"], sha256(match["secret"].encode()).digest())
