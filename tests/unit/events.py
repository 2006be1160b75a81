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


def source_bound(**fields: Any) -> dict[str, Any]:
    data = {"source": "/brokers/eu-1", "partitioner": "crc32"}
    event = {**established(), "source": "/sojourn", "type": "sojourn.broker.source_bound.v1", "data": data, **fields}
    del event["subject"], event["tenant"]
    return event


def gap_accepted(**fields: Any) -> dict[str, Any]:
    data = {"topic": "sojourn.lifecycle", "partition": 0, "from_offset": 7, "to_offset": 9, "reason": "", "who": "me"}
    event = {**established(), "source": "/sojourn", "type": "sojourn.log.gap_accepted.v1", "data": data, **fields}
    del event["subject"], event["tenant"]
    return event


def decided(name: str, own_id: str, data: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a decision of Sojourn's about a session."""
    return {
        **established(),
        "source": "/sojourn",
        "type": f"sojourn.session.{name}.v1",
        "id": own_id,
        "data": data,
        **fields,
    }


def lost(seen: str = "2026-11-24T09:28:30Z", until: str = "2026-11-24T09:30:00Z", **fields: Any) -> dict[str, Any]:
    data = {"last_seen_at": seen, "deadline": until, "timeout_seconds": 90, "heartbeat_offset": 7}
    return decided("lost", f"lost/{seen}", data, **fields)


def recovered(loss: dict[str, Any], seen: str = "2026-11-24T09:31:00Z", **fields: Any) -> dict[str, Any]:
    data = {"seen_at": seen, "heartbeat_offset": 9, "lost": loss["id"]}
    return decided("recovered", f"recovered/{loss['id']}", data, **fields)


def lost_ended(loss: dict[str, Any], **fields: Any) -> dict[str, Any]:
    between = {"ended_after": loss["data"]["last_seen_at"], "ended_before": loss["data"]["deadline"]}
    data = {**between, "grace_seconds": 1800, "lost": loss["id"]}
    return decided("lost_ended", f"lost_ended/{loss['id']}", data, **fields)


def requested(command: str = "c-1", **fields: Any) -> dict[str, Any]:
    data = {
        "command": command,
        "kind": "disconnect",
        "broker": "/brokers/eu-1",
        "reason": "maintenance",
        "requested_by": "ada",
        "expires_at": "2026-11-24T09:35:00Z",
    }
    return decided("disconnect_requested", f"requested/{command}", data, **fields)


def expired(command: str = "c-1", **fields: Any) -> dict[str, Any]:
    data = {"command": command, "deadline": "2026-11-24T09:35:00Z"}
    return decided("disconnect_expired", f"expired/{command}", data, **fields)


def answered(answer: str, command: str = "c-1", **fields: Any) -> dict[str, Any]:
    """Return a broker's answer: `delivered`, `acknowledged`, or the outcome `refused` or `failed`."""
    failed = answer in {"refused", "failed"}
    data = {"command": command, "outcome": answer, "detail": "why"} if failed else {"command": command}
    name = f"disconnect_{'failed' if failed else answer}"
    return {
        **established(),
        "id": f"{answer}/{command}",
        "type": f"sojourn.session.{name}.v1",
        "data": data,
        **fields,
    }


def configured(**fields: Any) -> dict[str, Any]:
    """Return what holds for a tenant; `data` says what."""
    event = {**established(), "source": "/sojourn", "type": "sojourn.tenant.configured.v1", "data": {}, **fields}
    del event["subject"]
    return event


def silent(**fields: Any) -> dict[str, Any]:
    data = {
        "source": "/brokers/eu-1",
        "last_heard_at": "2026-11-24T09:28:30Z",
        "deadline": "2026-11-24T09:30:00Z",
        "heartbeat_offset": 7,
    }
    event = {**established(), "id": "silent/1", "source": "/sojourn", "type": "sojourn.broker.silent.v1", "data": data}
    del event["subject"], event["tenant"]
    return {**event, **fields}


def returned(silence: dict[str, Any], **fields: Any) -> dict[str, Any]:
    data = {
        "source": silence["data"]["source"],
        "heard_at": "2026-11-24T09:31:00Z",
        "heartbeat_offset": 9,
        "silent": silence["id"],
    }
    event = {**silence, "id": f"returned/{silence['id']}", "type": "sojourn.broker.returned.v1", "data": data}
    return {**event, **fields}


def resolved(offset: int, resolution: str = "requeued", **fields: Any) -> dict[str, Any]:
    """Return what is done with the dead letter at `offset` of partition 0; `fields` are those of its data."""
    data = {
        "topic": "sojourn.lifecycle",
        "partition": 0,
        "offset": offset,
        "appended_at": "2026-11-24T09:30:00Z",
        "resolution": resolution,
        "reason": "mended",
        "who": "ada",
        **fields,
    }
    event = {**established(), "id": f"resolved/{offset}", "source": "/sojourn", "data": data}
    del event["subject"], event["tenant"]
    return {**event, "type": "sojourn.log.dead_letter_resolved.v1"}


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
