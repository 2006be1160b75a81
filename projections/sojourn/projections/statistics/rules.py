"""What every answer says of itself: the rule behind its numbers, its range, and what it counted and left out."""

from datetime import datetime
from typing import Final

from msgspec import Struct

RULES: Final = {
    "work_hours": (
        "The time in which a user had at least one session: parallel sessions count once, each day of the time zone "
        "from midnight to midnight. A session that was lost counts until it was last seen (least) and until that was "
        "noticed (most); an open one until this answer's instant. Sessions of unknown login are left out."
    ),
    "frequency": (
        "How often users logged in and desktops were used: sessions that began in the range, each on the day of its "
        "login in the time zone. Sessions of unknown login are left out, and those that began before the range."
    ),
    "terminals": (
        "The sessions that overlap the range, by what the user connected with. Online time is clipped to the range and "
        "added up session by session, parallel ones too; the share is of sessions."
    ),
    "access": (
        "The sessions that overlap the range, by whether the user came from inside or from the public internet. Online "
        "time is clipped to the range and added up session by session, parallel ones too; the share is of sessions."
    ),
    "concurrency": (
        "How many sessions were connected at the same time, exactly: a session counts from its login until just before "
        "its end, so one that ends at an instant frees its place for one that begins then. A session that was lost "
        "counts until it was last seen (least) and until that was noticed (most)."
    ),
    "durations": (
        "How long the sessions lasted that ended in the range, from login to logout, also where they began before. A "
        "percentile is the shortest duration that as many percent of them do not exceed. A session that was lost "
        "lasted until it was last seen. Open sessions and those of unknown login are left out."
    ),
    "hours": (
        "How many sessions were connected on average in each hour of the week in the time zone: their time in that "
        "hour, divided by how much of that hour the range holds. A session that was lost counts until it was last seen "
        "(least) and until that was noticed (most)."
    ),
}


class Rule(Struct, frozen=True):
    """By what rule the numbers were made: its key, and the same in words."""

    key: str
    sentence: str


class Range(Struct, frozen=True, rename={"from_at": "from", "to_at": "to"}):
    """The instants [from, to) that were counted: what was asked for, ending at the answer's own instant."""

    from_at: datetime
    to_at: datetime


class Answer(Struct, frozen=True, kw_only=True):
    """What every statistic says: of `sessions` that it counts `open` are not over and `uncertain` ended in a span."""

    rule: Rule
    range: Range
    time_zone: str
    as_of: datetime
    sessions: int
    open: int
    uncertain: int
    left_out: dict[str, int]


def rule(key: str) -> Rule:
    """Return a rule by its key."""
    return Rule(key, RULES[key])
