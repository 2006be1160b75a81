"""One client's day: sessions that begin; those with an even number end, and the others send a heartbeat."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from sojourn.events.topics import HEARTBEATS, LIFECYCLE

TENANT: Final = "interop"
SESSIONS: Final = range(30)  # of 12 partitions, each gets some
USER_NAME: Final = "Zoë Müller, 東京"
ONLINE_SECONDS: Final = 90.0


class Publication(NamedTuple):
    """One record that a client is to publish, by whatever partitioner it has."""

    topic: str
    document: dict[str, Any]

    @property
    def key(self) -> str:
        """The record key of its session."""
        return f"{self.document['tenant']}/{self.document['subject']}"

    @property
    def value(self) -> bytes:
        """The event as structured JSON."""
        return json.dumps(self.document).encode()


def day(client: str, name: str = "") -> list[Publication]:
    """Return what a client publishes; `name` tells its days apart."""
    begun = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    ended = begun + timedelta(seconds=ONLINE_SECONDS)
    published = []
    for number in SESSIONS:
        session_id = _session_id(client, name, number)
        beat = {"idle_seconds": number} if number % 4 == 1 else None  # without data, binary mode has no value
        published.append(_publication(LIFECYCLE, client, session_id, "established", begun, _established(number)))
        if number % 2 == 0:
            reason = {"reason": "network", "detail": "no answer"}
            published.append(_publication(LIFECYCLE, client, session_id, "destroyed", ended, reason))
        else:
            published.append(_publication(HEARTBEATS, client, session_id, "heartbeat", ended, beat))
    return published


def open_sessions(client: str, name: str = "") -> set[str]:
    """Return the ids of the sessions that stay open."""
    return {_session_id(client, name, number) for number in SESSIONS if number % 2}


def ended_sessions(client: str, name: str = "") -> set[str]:
    """Return the ids of the sessions that end."""
    return {_session_id(client, name, number) for number in SESSIONS if number % 2 == 0}


def _session_id(client: str, name: str, number: int) -> str:
    return f"{client} séance {name}{number}"  # a key, and in binary mode a header: UTF-8 has to stay UTF-8


def _established(number: int) -> dict[str, Any]:
    return {
        "user": {"id": f"u-{number}", "name": USER_NAME},
        "desktop": {"id": f"d-{number}", "name": f"CAD-{number}", "pool": "cad"},
        "terminal": {"type": "thin_client", "os": "Linux", "version": "7.1", "name": "TC-1"},
        "client_ip": "10.4.2.17",
        "protocol": "blast",
    }


def _publication(
    topic: str, client: str, session_id: str, kind: str, time: datetime, data: dict[str, Any] | None
) -> Publication:
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{kind}/{session_id}",
        "source": f"/{client}",
        "type": f"sojourn.session.{kind}.v1",
        "time": time.isoformat().replace("+00:00", "Z"),
        "subject": session_id,
        "tenant": TENANT,
        "sequence": "1" if kind == "established" else "2",
    }
    if data is not None:
        document |= {"datacontenttype": "application/json", "data": data}
    return Publication(topic, document)
