"""`sojourn console` as a process: it serves beside others, says that it is well, and stops when it is told to."""

import asyncio
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from sojourn.events.embedded.database import open_database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.settings import Settings
from tests.integration.command import SOJOURN, WAIT_SECONDS_MAX, Command, free_port
from tests.integration.rows import insert_tenant
from tests.integration.site_steps import Console
from tests.integration.test_stream import listening


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


async def test_a_console_serves_pages_and_api_and_stops_when_told_whoever_listens_or_is_slow(
    settings: Settings,
) -> None:
    with console(Command(settings.data_dir)) as (process, url):
        for path, expected in (("/health", 200), ("/v1/freshness", 401), ("/v1/events", 404)):  # brokers: the gateway
            assert await asyncio.to_thread(status, url + path) == expected
        database = await open_database(settings)
        asking = Console(database, EmbeddedLog(database), int(url.rpartition(":")[2]))
        async with asking.rows() as connection:
            await insert_tenant(connection, "acme")
        async with listening(await asking.client("acme", "read")) as stream:
            await stream.next("changes")
            _, slow = await asyncio.open_connection("127.0.0.1", asking.port)
            slow.write(b"POST /v1/disconnects HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
            await slow.drain()

            process.send_signal(signal.SIGTERM)

            await stream.end()
            assert await asyncio.to_thread(process.wait, WAIT_SECONDS_MAX) == 0
        slow.close()
        await asking.close()
        await database.close()
        assert process.stderr is not None
        assert json.loads(process.stderr.read().splitlines()[-1])["event"] == "console.stopped"
