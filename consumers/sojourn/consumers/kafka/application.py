"""The Faust application: one agent over both topics, which hands batches to the feed."""

from pathlib import Path
from typing import Any, Final

import faust
from faust.app.base import BootStrategy
from faust.serializers.codecs import Codec, register

from sojourn.consumers.kafka.feed import Feed
from sojourn.consumers.kafka.transport import GROUP, BatchTransport, Group
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

_CODEC: Final = "sojourn-batch"


class Whole(Codec):
    """Leaves a batch as it is."""

    def _loads(self, s: Any) -> Any:
        return s


class Boot(BootStrategy):
    """Starts no producer: nothing is sent through Faust."""

    enable_kafka_producer = False


class Application(faust.App):
    """An application that only consumes."""

    BootStrategy = Boot


def application(kafka: KafkaSettings, worker_name: str | None, feed: Feed, group: Group, folder: Path) -> Application:
    """Return the application, not started; `folder` is where Faust wants to keep its files, of which there are none."""
    register(_CODEC, Whole())
    app = Application(
        GROUP,
        autodiscover=False,
        broker="kafka://",  # the transport connects by the settings
        datadir=str(folder),
        store="memory://",
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.transport = BatchTransport(app, kafka, worker_name, feed, group)

    async def deliver(batches: Any) -> None:
        async for batch in batches:
            feed.put(batch)

    app.agent(app.topic(LIFECYCLE, HEARTBEATS, value_serializer=_CODEC), name="sojourn.feed")(deliver)
    return app
