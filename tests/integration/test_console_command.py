"""`sojourn console` as a process: it serves beside others, says that it is well, and stops when it is told to."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from sojourn.events.settings import Settings
from tests.integration.command import SOJOURN, WAIT_SECONDS_MAX, Command, free_port


@contextmanager
def console(command: Command) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run it, and return the process and its address once it has started."""
    port = free_port()
    process = subprocess.Popen(
        [SOJOURN, "console", "--port", str(port)], env=command.environ, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert json.loads(first)["event"] == "console.started", first
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def status(url: str) -> int:
    """Ask until the port answers; an answer of any status is one."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
                return int(answer.status)
        except urllib.error.HTTPError as answer:
            return answer.code
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_console_serves_pages_and_api_and_stops_when_told(settings: Settings) -> None:
    with console(Command(settings.data_dir)) as (process, url):
        assert status(f"{url}/health") == 200
        assert status(f"{url}/v1/freshness") == 401
        assert status(f"{url}/v1/events") == 404  # brokers come to the gateway

        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS_MAX) == 0
        assert process.stderr is not None
        assert json.loads(process.stderr.read().splitlines()[-1])["event"] == "console.stopped"
