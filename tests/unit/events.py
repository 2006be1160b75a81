"""Events as JSON documents, for tests to change one thing in."""

import json
from typing import Any, Final

from tests.integration.command import EVENTS

TIME: Final = "2026-11-24T08:00:00Z"


def lines(name: str) -> list[bytes]:
    """Return the lines of one of the contract's files of examples."""
    return (EVENTS / f"{name}.ndjson").read_bytes().split(b"\n")[:-1]


def established(**fields: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "/brokers/eu-1",
        "type": "sojourn.session.established.v1",
        "time": TIME,
        "subject": "s-1",
        "tenant": "acme",
        "data": {
            "user": {"id": "u-1", "name": "Ada"},
            "desktop": {"id": "d-1", "name": "CAD-1", "pool": "cad"},
            "terminal": {"type": "browser", "os": "Linux", "version": "7", "name": ""},
            "client_ip": "10.4.2.17",
            "protocol": "blast",
        },
        **fields,
    }


def destroyed(**fields: Any) -> dict[str, Any]:
    data = {"reason": "logoff"}
    return {**established(), "id": "2", "type": "sojourn.session.destroyed.v1", "data": data, **fields}


def heartbeat(**fields: Any) -> dict[str, Any]:
    return {**established(), "id": "3", "type": "sojourn.session.heartbeat.v1", "data": {}, **fields}


def heartbeats(**fields: Any) -> dict[str, Any]:
    event = {
        **established(),
        "id": "4",
        "type": "sojourn.session.heartbeats.v1",
        "data": {"sessions": ["s-1"]},
        **fields,
    }
    del event["subject"]
    return event


def alive(**fields: Any) -> dict[str, Any]:
    event = {**established(), "id": "5", "type": "sojourn.broker.alive.v1", "data": {}, **fields}
    del event["subject"], event["tenant"]
    return event


def with_data(event: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the event with fields of its data set; `part__field` names a field of a part."""
    data = dict(event["data"])
    for name, value in fields.items():
        part, _, field = name.partition("__")
        data[part] = {**data[part], field: value} if field else value
    return {**event, "data": data}


def without(event: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the event without the field at `path`."""
    copy: dict[str, Any] = json.loads(json.dumps(event))
    *parents, last = path.split(".")
    holder = copy
    for parent in parents:
        holder = holder[parent]
    del holder[last]
    return copy


def to_bytes(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()
