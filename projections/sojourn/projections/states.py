"""The state table: what an event does to a session, by where the session stands.

An event of a kind that the session already has competes with it: the lowest rank (sequence, time, id) counts. Where it
wins, the table's row applies; where it loses, it is `late` and changes nothing. A decision about liveness that the
table does not name is late, too: something else happened to the session before it came.
"""

from typing import Final

from sojourn.events.types import Destroyed, Established, LifecycleEvent, LivenessDecision, Lost, LostEnded, Recovered
from sojourn.projections.session import Phase

TRANSITIONS: Final[dict[tuple[Phase, type[LifecycleEvent | LivenessDecision]], tuple[Phase, str]]] = {
    # session is       event         then it is    because (the revision's cause)
    ("unknown", Established): ("active", "established"),
    ("unknown", Destroyed): ("orphan", "ended_before_established"),
    ("active", Established): ("active", "earlier_established"),
    ("active", Destroyed): ("ended", "destroyed"),
    ("active", Lost): ("lost", "heartbeats_stopped"),
    ("lost", Established): ("lost", "earlier_established"),
    ("lost", Destroyed): ("ended", "destroyed"),
    ("lost", Recovered): ("active", "recovered"),
    ("lost", LostEnded): ("lost_ended", "stayed_lost"),
    ("lost_ended", Established): ("lost_ended", "earlier_established"),
    ("lost_ended", Destroyed): ("ended", "end_found"),
    ("lost_ended", Recovered): ("active", "reopened"),
    ("ended", Established): ("ended", "earlier_established"),
    ("ended", Destroyed): ("ended", "earlier_destroyed"),
    ("orphan", Established): ("ended", "established_found"),
    ("orphan", Destroyed): ("orphan", "earlier_destroyed"),
}

DISPOSITIONS: Final = {
    "applied": "it made a revision of its session, moved a command on, or decided something for its partition",
    "orphan": "it ended a session whose `established` has not come: a revision without login",
    "duplicate": "the same content was applied or late before, under this id or another; or it decides nothing new",
    "conflict": "its id was seen before with other content; also a dead letter",
    "late": "an event of its kind with a lower rank counts, or its session or command has moved on",
    "dead_letter": "it could not be read or stands in the wrong partition; see its reason",
    "parked": "it waits behind a dead letter of its session",
    "misrouted": "a heartbeat in another partition than its session",
    "unknown": "a heartbeat of no session that is open",
    "gap": "a heartbeat that the log dropped before it was read",
}
