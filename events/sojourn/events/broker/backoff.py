"""How long to wait after a failure, and telling of it once."""

import random
import traceback
from typing import Final

import structlog

from sojourn.events.broker.transport import TryLater
from sojourn.events.errors import SojournError

BACKOFF_SECONDS_MIN: Final = 0.1  # a connection that was closed while idle is opened anew
BACKOFF_SECONDS_MAX: Final = 15.0  # brokers that come back together do not all ask in the same second

_logger: Final = structlog.get_logger()


class Backoff:
    """How long to wait after one failure after the other; each is told once until something works again."""

    def __init__(self, what: str) -> None:
        self._what, self._seconds, self._told = what, BACKOFF_SECONDS_MIN, ""

    def failed(self, error: Exception) -> float:
        """Tell of the error, and return how many seconds to wait."""
        reason = str(error) or type(error).__name__
        if reason != self._told:
            _logger.warning("transport_failed", what=self._what, reason=reason, **trace_of(error))
            self._told = reason
        wait, self._seconds = self._seconds, min(2 * self._seconds, BACKOFF_SECONDS_MAX)
        least = error.seconds if isinstance(error, TryLater) else 0.0
        return max(least, wait * random.uniform(0.5, 1.0))

    def worked(self) -> None:
        """Begin anew."""
        if self._told:
            _logger.info("transport_works_again", what=self._what)
        self._seconds, self._told = BACKOFF_SECONDS_MIN, ""


def trace_of(error: Exception) -> dict[str, str]:
    """Return where an error came from that nobody expected; without the variables, which hold tokens and names."""
    return {} if isinstance(error, SojournError) else {"trace": "".join(traceback.format_exception(error))}
