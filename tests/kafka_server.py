"""Real Apache Kafka for tests: one broker in a folder, or the cluster that KAFKA_BOOTSTRAP_SERVERS names."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

RUN: Final = Path(__file__).parents[1] / "deploy" / "kafka" / "run"
START_SECONDS_MAX: Final = 120  # five on an idle machine; the first time Maven fetches 43 MB
STOP_SECONDS_MAX: Final = 60  # it writes out its records; one is usual
_POLL_SECONDS: Final = 0.05


def demand_kafka() -> None:
    """Skip the test where Kafka cannot be started, saying what to install; fail it where CI is set."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if not missing:
        return
    reason = f"real Kafka needs Java 17 and Maven (apt install openjdk-17-jre-headless maven); missing: {missing}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports() -> int:
    """Return a port that is free, as is the one after it, which the controller gets."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class KafkaServer:
    """One broker with its records in a folder; it keeps its port over restarts."""

    def __init__(self, folder: Path, *properties: str) -> None:
        self.folder, self.port, self._properties = folder, free_ports(), properties
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def listen_too(self, *listeners: str) -> None:
        """Listen at further places, like SSL://127.0.0.1:9093, beside the plain ones."""
        ours = f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.port + 1}"
        names = ["CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT"]
        names += [f"{name}:{name}" for name in (listener.partition("://")[0] for listener in listeners)]
        protocols = f"listener.security.protocol.map={','.join(names)}"
        self._properties = (*self._properties, f"listeners={ours},{','.join(listeners)}", protocols)

    def start(self) -> None:
        """Start the broker and wait until it serves."""
        log = self.folder / "kafka.log"
        served = self._served(log)
        self._process = subprocess.Popen(
            [str(RUN), str(self.folder), str(self.port), *self._properties], start_new_session=True
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._served(log) == served:
            assert self._process.poll() is None, log.read_text() if log.exists() else "it ended at once"
            assert time.monotonic() < deadline, f"Kafka does not start: {log.read_text()}"
            time.sleep(_POLL_SECONDS)

    def _served(self, log: Path) -> int:
        return log.read_text().count("Kafka Server started") if log.exists() else 0

    def send(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the broker with a signal; SIGKILL leaves its files as they are."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                self.send(number)
            self._process.wait(STOP_SECONDS_MAX)
            self._process = None
