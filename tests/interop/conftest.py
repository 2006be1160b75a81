"""One Kafka with what other people's clients published, and one worker that has read all of it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS
from sojourn.events.topics import LIFECYCLE
from tests.conftest import open_folder
from tests.integration.command import PATIENT, WAIT_SECONDS_MAX, Command
from tests.interop.clients import Murmur2, librdkafka, send, send_by_java_sdk, send_by_kcat, send_by_python_sdk
from tests.interop.odd import Place, send_odd_records
from tests.interop.sessions import TENANT, day
from tests.interop.transactions import abort_at_the_end_of_every_partition, send_in_transactions
from tests.kafka_server import KafkaServer, demand_kafka

COMPRESSIONS: Final = ("zstd", "lz4", "snappy", "gzip")
UNBOUND: Final = "librdkafka-default"  # the client that everybody forgets to configure
BOUND: Final = "librdkafka-bound"  # the same, and Sojourn is told
TOO_EARLY: Final = "too early "  # its sessions before that


class Published(NamedTuple):
    """What the clients published to a running Kafka, and what `sojourn` told once a worker had read it."""

    servers: str
    command: Command
    odd: dict[str, Place]
    status: list[dict[str, Any]]
    history: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Publish with every client that is installed, and let a worker read it."""
    demand_kafka()
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.start()
    try:
        with open_folder() as folder:
            command = Command(folder / "data")
            command.environ[BOOTSTRAP_SERVERS] = server.bootstrap_servers
            command.ok("topics", "create")
            odd = _publish(server.bootstrap_servers, command)
            with _worker(command, folder / "worker.log"):
                status = command.wait_applied()
                history = command.rows("history", "--tenant", TENANT, "--open")
                dead_letters = command.rows("dead-letters", "list")
                yield Published(server.bootstrap_servers, command, odd, status, history, dead_letters)
    finally:
        server.stop()
        shutil.rmtree(server.folder / "records")


def _publish(servers: str, command: Command) -> dict[str, Place]:
    if shutil.which("kcat"):
        send_by_kcat(servers, day("kcat"))
    for compression in COMPRESSIONS:
        send(librdkafka(servers, compression_type=compression, **Murmur2), day(compression))
    send(librdkafka(servers), day(UNBOUND))
    send(librdkafka(servers), [one for one in day(BOUND, TOO_EARLY) if one.topic == LIFECYCLE])
    command.ok("brokers", "set", f"/{BOUND}", "--partitioner", "crc32")
    send(librdkafka(servers), day(BOUND))
    send_by_python_sdk(servers, day("python-structured"), binary=False)
    send_by_python_sdk(servers, day("python-binary"), binary=True)
    if shutil.which("javac"):
        modes = {"STRUCTURED": "java-structured", "BINARY": "java-binary"}
        send_by_java_sdk(servers, [(mode, one) for mode, client in modes.items() for one in day(client)])
    send_in_transactions(servers, day("transactional"), day("aborted"))
    odd = send_odd_records(servers)
    command.ok("publish", "-", stdin=b"\n".join(one.value for one in day("sojourn-publish")))
    abort_at_the_end_of_every_partition(servers, [one.value for one in day("aborted") if one.topic == LIFECYCLE][:2])
    return odd


@contextmanager
def _worker(command: Command, log: Path) -> Iterator[None]:
    """Run a worker until the block ends; it must end well then."""
    with log.open("wb") as file:
        process = subprocess.Popen([*PATIENT, "worker"], env=command.environ, stdout=file, stderr=file)
    try:
        yield
        process.terminate()
        assert process.wait(WAIT_SECONDS_MAX) == 0
    except BaseException as error:
        error.add_note(f"the worker wrote: {log.read_text()}")
        raise
    finally:
        process.kill()
        process.wait()
