"""Events as brokers with all their faults publish them: a function of the seed and of an instant."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

TENANTS: Final = ("acme", "globex", "initech")
REASONS: Final = ("logoff", "idle_timeout", "admin_disconnect", "network", "error", "broker_shutdown", "unknown")
TERMINALS: Final = ("thin_client", "soft_client", "mobile", "browser", "other")
EARLY_MAX: Final = 12  # events by which one may overtake others; more than a batch of one partition holds
OPEN_MAX: Final = 60  # sessions under way at once: few, so that slots of liveness pages are used again

# What the brokers' clocks are off by; two show a time that is none of this century or still to come.
CLOCKS: Final = {
    "/brokers/right": timedelta(),
    "/brokers/fast": timedelta(hours=1),
    "/brokers/slow": timedelta(hours=-1),
    "/brokers/1970": None,
    "/brokers/2038": None,
}
FIXED: Final = {
    "/brokers/1970": datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC),
    "/brokers/2038": datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC),
}

# Each tells of another rule that it breaks; tests/fault/test_poison.py goes through all of them.
BAD: Final = (b"not json", b'{"specversion":"1.0","id":"cut"', b"\xff\xfe\x00", b"[]", b'{"type":"sojourn.none.v1"}')

Document = dict[str, Any]


class Workload:
    """An endless stream of values to publish; `started` counts the sessions so far."""

    def __init__(self, seed: int, now: datetime) -> None:
        self._random = random.Random(seed)
        self._name = f"{seed}"
        self._now = now
        self._open: list[tuple[str, str]] = []
        self._values = self._shuffled()
        self.started = 0

    def chunk(self, values: int) -> list[bytes]:
        """Return the next `values` values."""
        return [next(self._values) for _ in range(values)]

    def _shuffled(self) -> Iterator[bytes]:
        """Let events overtake each other a little, across sessions and within one."""
        waiting: list[bytes] = []
        for value in self._all():
            waiting.append(value)
            if len(waiting) > EARLY_MAX:
                early = self._random.random() < 0.2
                yield waiting.pop(self._random.randrange(len(waiting)) if early else 0)

    def _all(self) -> Iterator[bytes]:
        """Interleave the stories of many sessions."""
        stories: list[Iterator[bytes]] = []
        while True:
            if len(stories) < OPEN_MAX:
                stories.append(self._session())
            story = self._random.choice(stories)
            try:
                yield next(story)
            except StopIteration:
                stories.remove(story)
            if self._random.random() < 0.02:
                yield self._random.choice(BAD) + str(self._random.random()).encode()
            if self._random.random() < 0.04:
                yield self._of_broker()

    def _session(self) -> Iterator[bytes]:
        """Tell one session's life, with the faults that brokers have."""
        draw = self._random
        self.started += 1
        tenant, session_id = draw.choice(TENANTS), f"s-{self._name}-{self.started}"
        source = draw.choices(list(CLOCKS), weights=[8, 2, 2, 1, 1])[0]
        established = self._event("session.established", source, tenant, session_id, 1, self._login())
        destroyed = self._event(
            "session.destroyed", source, tenant, session_id, 90, {"reason": draw.choice(REASONS), "detail": "x"}
        )
        orphan, late_login = draw.random() < 0.05, draw.random() < 0.05
        if not orphan and not late_login:
            yield from self._told(established)
        self._open.append((tenant, session_id))
        for number in range(draw.randrange(6)):
            data = draw.choice([None, {}, {"idle_seconds": number, "round_trip_ms": 40, "client_ip": "10.9.8.7"}])
            yield msgspec.json.encode(self._event("session.heartbeat", source, tenant, session_id, 2 + number, data))
        self._open.remove((tenant, session_id))
        if draw.random() < 0.85 or orphan or late_login:
            yield from self._told(destroyed)
        if late_login:
            yield from self._told(established)

    def _told(self, event: Document) -> Iterator[bytes]:
        """Say it once, twice, under another id, with another content, or against a competing event."""
        draw = self._random
        yield msgspec.json.encode(event)
        if draw.random() < 0.08:
            yield msgspec.json.encode(event)
        if draw.random() < 0.05:
            yield msgspec.json.encode(event | {"id": f"{event['id']}-again"})
        if draw.random() < 0.05:
            yield msgspec.json.encode(event | {"data": self._other(event["data"])})
        if draw.random() < 0.08:
            rank = int(event["sequence"]) + draw.choice([-1, 1])
            rival = {"id": f"{event['id']}-rival", "sequence": str(rank), "data": self._other(event["data"])}
            yield msgspec.json.encode(event | rival)

    def _other(self, data: Document) -> Document:
        return data | ({"protocol": "rdp"} if "protocol" in data else {"reason": "error", "detail": "other"})

    def _event(
        self, name: str, source: str, tenant: str, session_id: str, sequence: int, data: Document | None
    ) -> Document:
        event: Document = {
            "specversion": "1.0",
            "id": f"{session_id}-{sequence}",
            "source": source,
            "type": f"sojourn.{name}.v1",
            "time": self._time(source),
            "tenant": tenant,
            "subject": session_id,
            "sequence": str(sequence),
        }
        return event if data is None else event | {"data": data}

    def _time(self, source: str) -> str:
        offset = CLOCKS[source]
        self._now += timedelta(milliseconds=self._random.randrange(1, 400))
        at = FIXED[source] if offset is None else self._now + offset
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _login(self) -> Document:
        draw = self._random
        number = draw.randrange(500)
        return {
            "user": {"id": f"u-{number}", "name": f"Ünal Ω {number}"},
            "desktop": {"id": f"d-{number}", "name": f"CAD-{number}", "pool": "cad"},
            "terminal": {"type": draw.choice(TERMINALS), "os": "Linux", "version": "7.1", "name": ""},
            "client_ip": draw.choice([f"10.0.{number % 256}.9", "203.0.113.9", "2001:db8::7", "fe80::1"]),
            "protocol": "blast",
        }

    def _of_broker(self) -> bytes:
        """Say that a broker, or many sessions of a tenant, known and unknown, are alive."""
        draw = self._random
        tenant, source = draw.choice(TENANTS), "/brokers/right"
        event = {"specversion": "1.0", "id": f"b-{draw.random()}", "source": source, "time": self._time(source)}
        if draw.random() < 0.2:
            return msgspec.json.encode(event | {"type": "sojourn.broker.alive.v1", "data": {"sessions": 3}})
        here = [session_id for owner, session_id in self._open if owner == tenant] + [f"never-{draw.randrange(9)}"]
        data = {"sessions": here, "details": {here[0]: {"idle_seconds": 5}}}
        return msgspec.json.encode(event | {"type": "sojourn.session.heartbeats.v1", "tenant": tenant, "data": data})
