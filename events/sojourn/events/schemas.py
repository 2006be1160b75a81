"""The contract for machines: a JSON Schema for each event type and one AsyncAPI document, made from the types.

`python -m sojourn.events.schemas DIR` writes them.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT
from sojourn.events.types import (
    EVENT_TYPES,
    DisconnectRequested,
    Event,
    HeartbeatEvent,
    PartitionEvent,
    type_name,
)

ASYNCAPI: Final = "asyncapi.json"
CONTENT_TYPE: Final = "application/cloudevents+json"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_CHANNELS: Final[dict[str, tuple[type[Event], ...]]] = {
    LIFECYCLE: tuple(kind for kind in EVENT_TYPES if not issubclass(kind, HeartbeatEvent)),
    HEARTBEATS: tuple(kind for kind in EVENT_TYPES if issubclass(kind, HeartbeatEvent)),
    COMMANDS: (DisconnectRequested,),
}
_ABOUT: Final = {
    LIFECYCLE: "What begins and ends sessions, and what Sojourn decides: kept until archived, never compacted, timed "
    "by the log.",
    HEARTBEATS: "Proof that sessions and brokers are alive: kept for hours, timed by the log.",
    COMMANDS: "What brokers are asked to do, as it stands in lifecycle: kept for a day, keyed by the broker's source.",
}
_ACTIONS: Final = {LIFECYCLE: "receive", HEARTBEATS: "receive", COMMANDS: "send"}
_SUMMARIES: Final = {
    LIFECYCLE: "Sojourn reads what brokers and itself publish to sojourn.lifecycle.",
    HEARTBEATS: "Sojourn reads what brokers publish to sojourn.heartbeats.",
    COMMANDS: "Sojourn publishes to sojourn.commands, each broker reads what is keyed by its own source.",
}
_SESSION_KEY: Final = {"type": "string", "description": "`tenant/session`, for the default (murmur2) partitioner"}
_BATCH_KEY: Final = {"type": "string", "description": "`~batch/<source>`, with the partition given explicitly"}
_BROKER_KEY: Final = {"type": "string", "description": "the `source` of the broker that is asked, `data.broker`"}


def documents() -> dict[str, dict[str, Any]]:
    """Return all documents by file name."""
    return {f"{type_name(kind)}.json": _schema(kind) for kind in EVENT_TYPES} | {ASYNCAPI: _asyncapi()}


def to_text(document: dict[str, Any]) -> str:
    """Return a document as it is written to its file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _schema(kind: type[Event]) -> dict[str, Any]:
    return {"$schema": DIALECT, "$id": f"{type_name(kind)}.json", **msgspec.json.schema(kind)}


def _asyncapi() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(EVENT_TYPES, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sojourn",
            "version": "1",
            "description": "The events that connection brokers publish, and those that Sojourn appends itself; "
            "docs/contract.md explains them. All may also come in the binary mode of CloudEvents over Kafka.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {_short(topic): _channel(topic, kinds) for topic, kinds in _CHANNELS.items()},
        "operations": {
            f"{'write' if topic == COMMANDS else 'read'}_{_short(topic)}": _operation(topic, kinds)
            for topic, kinds in _CHANNELS.items()
        },
        "components": {"messages": _messages(), "schemas": schemas},
    }


def _short(topic: str) -> str:
    return topic.removeprefix("sojourn.")


def _channel(topic: str, kinds: tuple[type[Event], ...]) -> dict[str, Any]:
    return {
        "address": topic,
        "description": _ABOUT[topic],
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in (_message_name(topic, kind) for kind in kinds)
        },
        "bindings": {
            "kafka": {
                "partitions": PARTITIONS_DEFAULT,
                "topicConfiguration": {"cleanup.policy": ["delete"]},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(topic: str, kinds: tuple[type[Event], ...]) -> dict[str, Any]:
    channel = f"#/channels/{_short(topic)}"
    return {
        "action": _ACTIONS[topic],
        "channel": {"$ref": channel},
        "summary": _SUMMARIES[topic],
        "messages": [{"$ref": f"{channel}/messages/{_message_name(topic, kind)}"} for kind in kinds],
    }


def _messages() -> dict[str, Any]:
    return {_message_name(topic, kind): _message(topic, kind) for topic, kinds in _CHANNELS.items() for kind in kinds}


def _message_name(topic: str, kind: type[Event]) -> str:
    """Return the name of a type's message in a topic: its key differs where the same bytes go to a broker."""
    return f"{kind.__name__}OfBroker" if topic == COMMANDS else kind.__name__


def _message(topic: str, kind: type[Event]) -> dict[str, Any]:
    bindings: dict[str, Any] = {"bindingVersion": "0.5.0"}
    if topic == COMMANDS:
        bindings["key"] = _BROKER_KEY
    elif not issubclass(kind, PartitionEvent):  # they have no key, since Sojourn names their partition
        bindings["key"] = _SESSION_KEY if "subject" in kind.__struct_fields__ else _BATCH_KEY
    return {
        "name": type_name(kind),
        "summary": kind.__doc__,
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        "bindings": {"kafka": bindings},
    }


def main() -> None:
    """Write all documents into the folder that the command line names."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        sys.exit("usage: python -m sojourn.events.schemas DIR")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents().items():
        (folder / name).write_text(to_text(document), encoding="utf-8")


if __name__ == "__main__":
    main()
