"""How often somebody may try to sign in: each failure takes one of a few tries, which come back with time."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from sojourn.console.http.problems import too_many

NAME_TRIES_MAX: Final = 10  # who mistypes has had enough of them; who guesses has not
NAME_SECONDS: Final = 30.0  # until one comes back: 2880 guesses a day, of 99 bits
ADDRESS_TRIES_MAX: Final = 50  # an office is one address, and begins work together
ADDRESS_SECONDS: Final = 5.0  # until one comes back
NAME_CHARACTERS_MAX: Final = 100  # of a name that are remembered: whoever asks may send a megabyte
KEYS_MAX: Final = 10_000  # names and addresses that are remembered, a hundred bytes each; the oldest are forgotten


class Tries:
    """The tries that are left to each name and to each address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._names = _Buckets(NAME_TRIES_MAX, NAME_SECONDS)
        self._addresses = _Buckets(ADDRESS_TRIES_MAX, ADDRESS_SECONDS)

    def take(self, name: str, address: str) -> None:
        """Take a try before the password is judged, or raise the problem that says when there will be one."""
        now, name = self._clock(), _folded(name)
        wait = max(self._names.wait(name, now), self._addresses.wait(address, now))
        if wait > 0:
            raise too_many(math.ceil(wait), "too many attempts to sign in; nothing was tried this time")
        self._names.add(name, -1, now)
        self._addresses.add(address, -1, now)

    def give_back(self, name: str, address: str) -> None:
        """Let a try that succeeded count for nothing."""
        now = self._clock()
        self._names.add(_folded(name), 1, now)
        self._addresses.add(address, 1, now)


def _folded(name: str) -> str:
    return name.casefold()[:NAME_CHARACTERS_MAX]


class _Buckets:
    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until there is a try."""
        return max(0.0, (1 - self._now_left(key, now)) * self._seconds)

    def add(self, key: str, change: int, now: float) -> None:
        self._left[key] = min(self._most, self._now_left(key, now) + change), now
        self._left.move_to_end(key)
        if len(self._left) > KEYS_MAX:
            self._left.popitem(last=False)

    def _now_left(self, key: str, now: float) -> float:
        left, at = self._left.get(key, (self._most, now))
        return min(self._most, left + (now - at) / self._seconds)
