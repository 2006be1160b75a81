"""The state table: what an event does to a session, by where the session stands.

An event of a kind that the session already has competes with it: the lowest rank (sequence, time, id) counts. Where it
wins, the table's row applies; where it loses, it is `late` and changes nothing.
"""

from typing import Final

from sojourn.events.types import Destroyed, Established, LifecycleEvent
from sojourn.projections.session import Phase

TRANSITIONS: Final[dict[tuple[Phase, type[LifecycleEvent]], tuple[Phase, str]]] = {
    # session is   event              then it is   because (the revision's cause)
    ("unknown", Established): ("active", "established"),
    ("unknown", Destroyed): ("orphan", "ended_before_established"),
    ("active", Established): ("active", "earlier_established"),
    ("active", Destroyed): ("ended", "destroyed"),
    ("ended", Established): ("ended", "earlier_established"),
    ("ended", Destroyed): ("ended", "earlier_destroyed"),
    ("orphan", Established): ("ended", "established_found"),
    ("orphan", Destroyed): ("orphan", "earlier_destroyed"),
}

DISPOSITIONS: Final = {
    "applied": "it made a revision of its session",
    "orphan": "it ended a session whose `established` has not come: a revision without login",
    "duplicate": "the same content was applied or late before, under this id or another",
    "conflict": "its id was seen before with other content; also a dead letter",
    "late": "an event of its kind with a lower rank counts",
    "dead_letter": "it could not be read or stands in the wrong partition; see its reason",
    "parked": "it waits behind a dead letter of its session",
    "misrouted": "a heartbeat in another partition than its session",
    "unknown": "a heartbeat of no session that is open",
    "gap": "a heartbeat that the log dropped before it was read",
}
