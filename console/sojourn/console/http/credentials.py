"""Tokens of brokers: `sjb_<id>_<secret>`, of which only a hash of the secret is kept."""

import re
import secrets
from hashlib import sha256
from hmac import compare_digest
from typing import Final, NamedTuple

_ID_BYTES: Final = 8  # names a row; it is no secret
_SECRET_BYTES: Final = 32  # 256 bits: nobody guesses it, so that a plain hash is enough

_TOKEN: Final = re.compile(rb"sjb_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +" + _TOKEN.pattern)

_NOBODY: Final = bytes(32)  # compared with where there is no such token, so that it takes as long


class NewToken(NamedTuple):
    """A token to be told once, with what is kept of it."""

    token_id: str
    token: str
    secret_sha256: bytes


class Shown(NamedTuple):
    """A token that somebody shows."""

    token_id: str
    secret_sha256: bytes

    def is_of(self, kept: bytes | None) -> bool:
        """Tell whether its secret is the one that is kept, in the same time whatever differs."""
        return compare_digest(self.secret_sha256, _NOBODY if kept is None else kept) and kept is not None

    def __repr__(self) -> str:
        return f"Shown({self.token_id!r})"


def new_token() -> NewToken:
    """Make a token that nobody knows yet."""
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return NewToken(token_id, f"sjb_{token_id}_{secret}", sha256(secret.encode()).digest())


def shown(authorization: bytes) -> Shown | None:
    """Return the token that a header of HTTP shows, if it is one."""
    match = _BEARER.fullmatch(authorization)
    return None if match is None else Shown(match["id"].decode(), sha256(match["secret"]).digest())
