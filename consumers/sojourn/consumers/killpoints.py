"""Named points at which fault tests end the process; otherwise nobody listens."""

from collections.abc import Callable
from typing import Final

KILL_POINTS: Final = (
    "partition.acquired",
    "lifecycle.folded",
    "lifecycle.staged",
    "lifecycle.fenced",
    "lifecycle.written",
    "lifecycle.committed",
    "heartbeats.fenced",
    "heartbeats.written",
    "heartbeats.committed",
)
DECISION_POINTS: Final = (
    "decisions.decided",
    "decisions.committed",
    "relay.checked",
    "relay.appended",
    "relay.deleted",
)

listeners: Final[list[Callable[[str], None]]] = []


def reach(name: str) -> None:
    """Tell the listeners that the process stands at this point."""
    for listener in listeners:
        listener(name)
