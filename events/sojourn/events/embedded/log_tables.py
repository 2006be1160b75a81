"""Which table keeps the records of which topic."""

from typing import Final

from sojourn.events.errors import SojournError
from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE

TABLES: Final = {LIFECYCLE: "lifecycle", HEARTBEATS: "heartbeats", COMMANDS: "commands"}


class UnknownTopic(SojournError):
    """the log has no such topic or partition"""


def table_of(topic: str) -> str:
    """Return the table of a topic, or raise `UnknownTopic`."""
    try:
        return TABLES[topic]
    except KeyError:
        raise UnknownTopic(f"the log has no such topic: {topic!r}") from None
