"""What the SDK asks of a way to Sojourn. `tests/contract/broker_contract.py` holds each to it."""

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

from sojourn.events.errors import Unreachable
from sojourn.events.types import DisconnectRequested


class Rejection(NamedTuple):
    """An event that the other side will never take, and why."""

    value: bytes
    reason: str
    detail: str


class TryLater(Unreachable):
    """Sojourn asks to be left alone for a while"""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Transport(Protocol):
    """Carries events to the log and commands to the broker; one broker uses it, in one event loop."""

    marks_delivered: bool  # the other side says by itself that a command was delivered

    async def publish(self, values: Sequence[bytes]) -> list[Rejection]:
        """Return when the log has acknowledged all, in this order, except those that it returns.

        When it raises, any of them may have been appended: all are published again, and readers know them by their ids.
        """

    def commands(self, source: str) -> AsyncGenerator[DisconnectRequested, None]:
        """Yield the broker's commands without end, some more than once; raises when it should be called again."""

    async def close(self) -> None:
        """Let go of connections; whoever still waits for something is told that there is no connection."""
