"""What a log's heartbeats say of each session, one by one."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from tests.model.addresses import canonical_address
from tests.model.folding import Place
from tests.model.reading import HEARTBEAT, HEARTBEATS, Reading, Refused, read
from tests.model.telling import Entry

TOPIC = "sojourn.heartbeats"
DETAILS = ("client_ip", "idle_seconds", "round_trip_ms")


class Beat(NamedTuple):
    """A session was alive; `details` are those that were told, by column."""

    appended_at: datetime
    details: Mapping[str, Any]


def beats(entries: Iterable[Entry]) -> dict[Place, list[Beat]]:
    """Return the heartbeats of each session by the partition where they stand, in the order of the log."""
    found: dict[Place, list[Beat]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: (entry.partition, entry.offset)):
        if entry.topic != TOPIC:
            continue
        try:
            said = read(entry.value, entry.headers)
        except Refused:
            continue
        for session_id, data in sessions_of(said):
            assert said.tenant is not None
            found[entry.partition, said.tenant, session_id].append(Beat(entry.appended_at, details_of(data)))
    return found


def sessions_of(said: Reading) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the sessions that a heartbeat names, with what it says of each."""
    if said.type == HEARTBEAT:
        assert said.subject is not None
        return [(said.subject, said.data)]
    if said.type == HEARTBEATS:
        details = said.data.get("details", {})
        return [(session_id, details.get(session_id, {})) for session_id in said.data["sessions"]]
    return []


def details_of(data: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: data[name] for name in DETAILS if data.get(name) is not None}
    if "client_ip" in told:
        told["current_client_ip"] = canonical_address(told.pop("client_ip"))
    return told


def newest(beats_of_session: Iterable[Beat], column: str) -> Any:
    """Return the newest value told in a column, or None."""
    value = None
    for beat in beats_of_session:
        value = beat.details.get(column, value)
    return value
