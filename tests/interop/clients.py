"""Other people's clients: each publishes as its users would, with nothing of ours in between."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import KafkaError, Message, Producer

from tests.interop.sessions import Publication

JAVA: Final = Path(__file__).with_name("java")
DELIVERY_SECONDS_MAX: Final = 30  # a broker on this machine takes milliseconds
LARGEST_BYTES: Final = 4 << 20  # what the producer lets through; the topic allows more

Murmur2: Final = {"partitioner": "murmur2_random"}


def demand(program: str, package: str) -> None:
    """Skip the test where another's client is not installed, saying what to install; `.ci/run` tries to."""
    if shutil.which(program) is None:
        pytest.skip(f"reading what {program} publishes needs it: apt install {package}")


def librdkafka(servers: str, **options: str) -> Producer:
    """Return a producer of confluent-kafka that gathers records into batches, which is what gets compressed."""
    return Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 50,
            "message.max.bytes": LARGEST_BYTES,
            **{name.replace("_", "."): value for name, value in options.items()},
        }
    )


def send(producer: Producer, publications: Sequence[Publication]) -> None:
    """Publish structured events and wait until Kafka has acknowledged each."""
    for topic, key, value in ((one.topic, one.key, one.value) for one in publications):
        producer.produce(topic, value, key, on_delivery=_demand_delivered)
    flush(producer)


def flush(producer: Producer) -> None:
    """Wait until Kafka has acknowledged all."""
    assert producer.flush(DELIVERY_SECONDS_MAX) == 0


def send_by_kcat(servers: str, publications: Sequence[Publication]) -> None:
    """Publish with kcat, which takes lines of key and value."""
    for topic in {one.topic for one in publications}:
        lines = [f"{one.key}\t".encode() + one.value for one in publications if one.topic == topic]
        command = ["kcat", "-P", "-b", servers, "-t", topic, "-K", "\\t", "-z", "snappy"]
        subprocess.run([*command, "-X", "partitioner=murmur2_random"], input=b"\n".join(lines), check=True)


def send_by_python_sdk(servers: str, publications: Sequence[Publication], *, binary: bool) -> None:
    """Publish what the CloudEvents SDK for Python makes of the events."""
    producer = librdkafka(servers, **Murmur2)
    for publication in publications:
        attributes = {name: value for name, value in publication.document.items() if name != "data"}
        attributes["time"] = datetime.fromisoformat(attributes["time"])
        event = CloudEvent(attributes, publication.document.get("data"))
        convert = to_binary_event if binary else to_structured_event
        message: KafkaMessage = convert(event)
        producer.produce(
            publication.topic,
            message.value,
            publication.key,
            headers=list(message.headers.items()),
            on_delivery=_demand_delivered,
        )
    flush(producer)


def send_by_java_sdk(servers: str, publications: Sequence[tuple[str, Publication]]) -> None:
    """Publish with the CloudEvents SDK for Java, each event in its mode: STRUCTURED or BINARY."""
    lines = [f"{mode}\t{one.topic}\t{one.key}\t{json.dumps(one.document)}" for mode, one in publications]
    java("publish", servers, stdin="\n".join(lines))


def java(*words: str, stdin: str = "") -> str:
    """Run java/Interop.java and return what it writes."""
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", _class_path(), str(JAVA / "Interop.java"), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def _class_path() -> str:
    with tempfile.NamedTemporaryFile(prefix="sojourn-class-path-") as file:
        command = ["mvn", "--quiet", "--batch-mode", "--file", str(JAVA / "pom.xml"), "dependency:build-classpath"]
        subprocess.run([*command, f"-Dmdep.outputFile={file.name}"], check=True, stdout=subprocess.DEVNULL)
        return Path(file.name).read_text()


def _demand_delivered(error: KafkaError | None, message: Message) -> None:
    assert error is None, f"{error}: {message.key()!r}"
