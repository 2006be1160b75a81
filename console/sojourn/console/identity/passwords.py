"""Passwords: which may be chosen, how they are kept, and made-up ones that are good for one sign-in."""

import asyncio
import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sojourn.console.http.problems import too_many

CHARACTERS_MIN: Final = 12  # OWASP asks for 8, and wishes for 15
CHARACTERS_MAX: Final = 200  # a sentence; hashing more costs time for nothing
DISTINCT_MIN: Final = 6  # `aaaaaaaaaaaa` and `121212121212` are guessed first
HASHING_MAX: Final = 2  # each takes 64 MiB and a core for a tenth of a second
WAITING_MAX: Final = 20  # for one of those; who would wait longer than a second or two is told to come back
RETRY_SECONDS: Final = 5  # until those that wait are done

_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is mistaken for something else when it is read out
_GROUPS: Final = 4  # of five letters: 99 bits, which nobody guesses in the days that it is good
_GROUP_LETTERS: Final = 5

# What common passwords of twelve and more characters are made of; of two that begin alike the longer one comes first.
_COMMON: Final = (
    *("password", "passwort", "passw0rd", "letmein", "welcome", "iloveyou", "trustno1", "sojourn", "admin"),
    *("qwertyuiop", "qwertz", "qwerty", "asdfghjkl", "zxcvbnm", "qazwsx", "zaq12wsx"),
    *("1q2w3e4r5t6y", "1q2w3e4r", "q1w2e3r4t5y6", "q1w2e3r4", "1qaz2wsx", "3edc4rfv", "1234567890", "123456789"),
    *("0987654321", "987654321", "123456", "654321", "abcdef", "football", "baseball", "princess", "sunshine"),
    *("superman", "monkey", "dragon", "master", "michael", "computer", "internet"),
)

_hasher: Final = PasswordHasher()  # argon2id as RFC 9106 recommends where memory is short


class Passwords:
    """Hashes and checks passwords beside the event loop, a few at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(HASHING_MAX)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """Return what is kept of a password."""
        return await self._beside(password, None)

    async def verify(self, kept: str | None, password: str) -> bool:
        """Tell whether this is the password; it takes as long where there is no such account."""
        if self._nobodys is None:
            self._nobodys = await self.hash(secrets.token_urlsafe())
        answer = await self._beside(password, kept or self._nobodys)
        return answer == "" and kept is not None

    async def _beside(self, password: str, kept: str | None) -> str:
        if self._waiting >= WAITING_MAX:
            raise too_many(RETRY_SECONDS, "too many people sign in at once; try again in a moment")
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(_hash_or_verify, password[:CHARACTERS_MAX], kept)
        finally:
            self._waiting -= 1


def one_time_password() -> str:
    """Return a made-up password: `k7qxm-4zt9r-w2hfc-8npbd`."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LETTERS)) for _ in range(_GROUPS))
    return "-".join(groups)


def weakness(password: str, name: str) -> str | None:
    """Return what is wrong with a password that somebody wants to choose; None for nothing."""
    if not CHARACTERS_MIN <= len(password) <= CHARACTERS_MAX:
        return f"a password has {CHARACTERS_MIN} to {CHARACTERS_MAX} characters"
    if len(set(password)) < DISTINCT_MIN:
        return f"a password has at least {DISTINCT_MIN} different characters"
    folded = password.casefold()
    rest = folded.replace(name.casefold(), "")
    for word in _COMMON:
        rest = rest.replace(word, "")
    if len(rest) < CHARACTERS_MIN // 2:
        return "a password is more than a name or a common word with something behind it"
    return None


def _hash_or_verify(password: str, kept: str | None) -> str:
    """Return the hash of a password, or "" where it is the kept one and "wrong" where it is not."""
    if kept is None:
        return _hasher.hash(password)
    try:
        _hasher.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return "wrong"
    return ""
