"""What heartbeat records say about the liveness of one partition's sessions."""

from collections import Counter
from collections.abc import Sequence

from sojourn.consumers.liveness import Liveness
from sojourn.consumers.signs import Signs
from sojourn.events.codec import Undecodable, canonical_ip, decode
from sojourn.events.log import Record
from sojourn.events.modes import structured
from sojourn.events.topics import session_partition
from sojourn.events.types import Alive, Event, Heartbeat, HeartbeatData, HeartbeatEvent, Heartbeats, type_name
from sojourn.projections.decided import Decided
from sojourn.projections.facts import DeadLetter, Key, about, refused_source
from sojourn.projections.pages import Detail


def apply_heartbeats(
    records: Sequence[Record], liveness: Liveness, signs: Signs, partitions: int, decided: Decided
) -> tuple[Counter[str], list[DeadLetter]]:
    """Mark in memory what the records prove alive; return what became of each beat, and the dead letters.

    A record with many sessions counts once for each of them. Beats of sessions not open here are held for a while, and
    counted when they are resolved.
    """
    beats = _Beats(liveness, signs, partitions, decided)
    counts, dead = beats.counts, list[DeadLetter]()
    for record in records:
        try:
            event = decode(structured(record.value, record.headers))
        except Undecodable as error:
            dead.append(DeadLetter(record, error.reason, error.detail, error.tenant, error.session_id))
            counts["dead_letter"] += 1
            continue
        refusal = _refusal(event, decided)
        if refusal is not None:
            dead.append(DeadLetter(record, *refusal, *about(event)))
            counts["dead_letter"] += 1
            continue
        signs.hear(event.source, event.time, record.appended_at)
        match event:
            case Heartbeat():
                beats.take(record, event.source, (event.tenant, event.subject), event.data)
            case Heartbeats() if not event.data.details:
                beats.take_all(record, event.source, [(event.tenant, session_id) for session_id in event.data.sessions])
            case Heartbeats():
                details = event.data.details
                for session_id in event.data.sessions:
                    beats.take(record, event.source, (event.tenant, session_id), details.get(session_id))
            case Alive():
                signs.live(event, record.appended_at)
                counts["applied"] += 1
    if records:
        counts["unknown"] += liveness.expire(records[-1].appended_at)
    return counts, dead


def _refusal(event: Event, decided: Decided) -> tuple[str, str] | None:
    """Return the reason code and its detail where the event is no heartbeat, or its source may not say this."""
    if not isinstance(event, HeartbeatEvent):
        return "unknown_type", f"no heartbeat, it belongs to the topic sojourn.lifecycle: {type_name(type(event))!r}"
    return refused_source(event, decided)


class _Beats:
    """Takes one beat after the other; what becomes of each is counted."""

    def __init__(self, liveness: Liveness, signs: Signs, partitions: int, decided: Decided) -> None:
        self.counts: Counter[str] = Counter()
        self._liveness, self._signs, self._partitions, self._decided = liveness, signs, partitions, decided

    def take(self, record: Record, source: str, key: Key, data: HeartbeatData | None) -> None:
        detail = None if data is None else _detail(record, data)
        if self._liveness.beat(key, record.appended_at, detail):
            self.counts["applied"] += 1
        else:
            self._stray(record, source, key, detail)

    def take_all(self, record: Record, source: str, keys: Sequence[Key]) -> None:
        """Take the beats of a record that says no more of its sessions than that they are alive: nearly all do."""
        strays = self._liveness.beat_all(keys, record.appended_at)
        self.counts["applied"] += len(keys) - len(strays)
        for key in strays:
            self._stray(record, source, key, None)

    def _stray(self, record: Record, source: str, key: Key, detail: Detail | None) -> None:
        partitioner = self._decided.partitioners.get(source, "murmur2")
        if session_partition(*key, self._partitions, partitioner) != record.partition:
            self.counts["misrouted"] += 1
            self._signs.misroute(source, record.appended_at)
        else:
            self.counts["unknown"] += self._liveness.hold(key, record.appended_at, detail)


def _detail(record: Record, data: HeartbeatData) -> Detail | None:
    """Return what else a heartbeat tells, if it tells anything."""
    if not data.client_ip and data.idle_seconds is None and data.round_trip_ms is None:
        return None
    client_ip = None if data.client_ip is None else canonical_ip(data.client_ip)
    return Detail(client_ip, data.idle_seconds, data.round_trip_ms, record.appended_at)
