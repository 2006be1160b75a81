"""What heartbeat records say about the liveness of one partition's sessions."""

from collections import Counter
from collections.abc import Sequence

from sojourn.consumers.liveness import Liveness
from sojourn.events.codec import Undecodable, canonical_ip, decode
from sojourn.events.log import Record
from sojourn.events.topics import session_partition
from sojourn.events.types import Alive, Heartbeat, HeartbeatData, Heartbeats, type_name
from sojourn.projections.facts import DeadLetter, Key
from sojourn.projections.pages import Detail


def apply_heartbeats(
    records: Sequence[Record], liveness: Liveness, partitions: int
) -> tuple[Counter[str], list[DeadLetter]]:
    """Mark in memory what the records prove alive; return what became of each beat, and the dead letters.

    A record with many sessions counts once for each of them. Beats of sessions not open here are held for a while, and
    counted when they are resolved.
    """
    counts: Counter[str] = Counter()
    dead: list[DeadLetter] = []
    for record in records:
        try:
            event = decode(record.value)
        except Undecodable as error:
            dead.append(DeadLetter(record, error.reason, error.detail, error.tenant, error.session_id))
            counts["dead_letter"] += 1
            continue
        match event:
            case Heartbeat():
                _beat(counts, liveness, record, (event.tenant, event.subject), event.data, partitions)
            case Heartbeats():
                details = event.data.details
                for session_id in event.data.sessions:
                    _beat(counts, liveness, record, (event.tenant, session_id), details.get(session_id), partitions)
            case Alive():
                counts["applied"] += 1
            case _:
                detail = f"no heartbeat, it belongs to the topic sojourn.lifecycle: {type_name(type(event))!r}"
                dead.append(DeadLetter(record, "unknown_type", detail, event.tenant, event.subject))
                counts["dead_letter"] += 1
    if records:
        counts["unknown"] += liveness.expire(records[-1].appended_at)
    return counts, dead


def _beat(
    counts: Counter[str], liveness: Liveness, record: Record, key: Key, data: HeartbeatData | None, partitions: int
) -> None:
    detail = None
    if data is not None and (data.client_ip or data.idle_seconds is not None or data.round_trip_ms is not None):
        client_ip = None if data.client_ip is None else canonical_ip(data.client_ip)
        detail = Detail(client_ip, data.idle_seconds, data.round_trip_ms, record.appended_at)
    if liveness.beat(key, record.appended_at, detail):
        counts["applied"] += 1
    elif session_partition(*key, partitions) != record.partition:
        counts["misrouted"] += 1
    else:
        counts["unknown"] += liveness.hold(key, record.appended_at, detail)
