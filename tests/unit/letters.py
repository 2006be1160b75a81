"""Dead letters and what operators decide about them, for tests to write down."""

import base64
import json
from datetime import datetime
from typing import Any

from sojourn.events.log import Record
from tests.unit.events import established, to_bytes


def dead_letter_resolved(
    offset: int, appended_at: datetime, resolution: str = "requeued", value: bytes | None = None, /, **fields: Any
) -> dict[str, Any]:
    """Return the decision about the letter of partition 0 at this place; `value` are the corrected bytes."""
    data: dict[str, Any] = {
        "topic": "sojourn.lifecycle",
        "partition": 0,
        "offset": offset,
        "appended_at": appended_at.isoformat(),
        "resolution": resolution,
        "reason": "mended",
        "who": "ada",
        **fields,
    }
    if value is not None:
        data["value"] = base64.b64encode(value).decode()
    kind = "sojourn.log.dead_letter_resolved.v1"
    event = {**established(), "id": f"resolved/{offset}", "source": "/sojourn", "type": kind, "data": data}
    del event["subject"], event["tenant"]
    return event


def resolve(record: Record, resolution: str = "requeued", value: bytes | None = None, /, **fields: Any) -> bytes:
    """Return the bytes of the decision about a record."""
    return to_bytes(dead_letter_resolved(record.offset, record.appended_at, resolution, value, **fields))


def spoilt(value: bytes, path: str = "data") -> bytes:
    """Return an event that lacks a field, and still names its session."""
    document = json.loads(value)
    del document[path]
    return json.dumps(document).encode()
