"""One broker of Apache Kafka for all tests of the log on Kafka."""

import asyncio
import shutil
from collections.abc import Iterator

import pytest

from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.kafka.topics import create_topics
from tests.kafka_server import KafkaServer, demand_kafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Run a broker with Sojourn's topics; a test that changes them makes them anew."""
    demand_kafka()
    # Kafka's default: whoever asks for a topic by name may create it, with settings that nobody chose.
    server = KafkaServer(tmp_path_factory.mktemp("kafka"), "auto.create.topics.enable=true")
    try:
        server.start()
        asyncio.run(create_topics(KafkaSettings(server.bootstrap_servers)))
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder / "records", ignore_errors=True)
