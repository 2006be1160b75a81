"""How much one token may ask for at once, so that one broker cannot take what all need."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sojourn.console.http.problems import too_many

REQUESTS_PER_SECOND_MAX: Final = 50.0  # in batches of a thousand that is more than a machine projects
REQUESTS_AT_ONCE_MAX: Final = 100  # a broker that drains its spool begins with a burst
BODIES_MAX: Final = 16  # of one token under way; each may hold its 4 MiB in memory
POLLS_MAX: Final = 16  # of one token under way: a broker of many processes has one each
BUSY_SECONDS: Final = 1  # until another may be let in


class Rate:
    """A bucket for each token that fills with time; a request takes one out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, advice: str = "batch events") -> None:
        self._clock, self._advice = clock, advice
        self._left: dict[str, tuple[float, float]] = {}  # of known tokens only, so there are few

    def spend(self, token_id: str) -> None:
        """Take one, or raise the problem that says when there will be one."""
        now = self._clock()
        left, at = self._left.get(token_id, (REQUESTS_AT_ONCE_MAX, now))
        left = min(REQUESTS_AT_ONCE_MAX, left + (now - at) * REQUESTS_PER_SECOND_MAX)
        if left < 1:
            self._left[token_id] = left, now
            wait = math.ceil((1 - left) / REQUESTS_PER_SECOND_MAX)
            raise too_many(wait, f"one may send {REQUESTS_PER_SECOND_MAX:g} requests a second; {self._advice}")
        self._left[token_id] = left - 1, now


class Slots:
    """A number of places for each token."""

    def __init__(self, most: int, of_what: str) -> None:
        self._most, self._of_what = most, of_what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, token_id: str) -> Iterator[None]:
        """Hold a place as long as the block runs, or raise the problem that all are taken."""
        if self._taken[token_id] >= self._most:
            raise too_many(BUSY_SECONDS, f"a token may have {self._most} {self._of_what} under way")
        self._taken[token_id] += 1
        try:
            yield
        finally:
            self._taken[token_id] -= 1
            if not self._taken[token_id]:
                del self._taken[token_id]
