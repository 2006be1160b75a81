"""Run the adapter: `python -m sojourn.events.xrdp`, on the machine where xrdp runs, as root."""

import argparse
import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import structlog

from sojourn.events.broker.transports import Transport, http_transport, kafka_transport
from sojourn.events.errors import SojournError, UsageError
from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS, KafkaSettings
from sojourn.events.xrdp.adapter import Options, run


def main() -> int:
    """Return the exit code; errors are one line, as with the `sojourn` command."""
    words = _arguments().parse_args()
    options = Options(words.source, words.tenant, socket.gethostname(), words.spool, words.sesman_log, words.xrdp_log)
    try:
        if os.geteuid() != 0:
            raise UsageError("the adapter sees the sockets of xrdp and ends its processes: run it as root")
        asyncio.run(_run(options, words.url, words.token_file))
    except SojournError as error:
        sys.stderr.write(f"sojourn: {error}\n")
        return error.exit_code
    return 0


async def _run(options: Options, url: str | None, token_file: Path | None) -> None:
    transport = _transport(url, token_file)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(options, transport, stop)


def _transport(url: str | None, token_file: Path | None) -> Transport:
    kafka = KafkaSettings.from_environment(os.environ)
    if url is None and kafka is not None:
        return kafka_transport(kafka)
    if url is None or token_file is None:
        raise UsageError(f"name Sojourn by --url and --token-file, or Kafka by {BOOTSTRAP_SERVERS}")
    try:
        return http_transport(url, token_file.read_text().strip())
    except OSError as error:
        raise UsageError(f"the token cannot be read: {token_file}") from error


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m sojourn.events.xrdp", description=__doc__)
    parser.add_argument("--source", required=True, help="the broker's name in its events, like /brokers/xrdp-1")
    parser.add_argument("--tenant", required=True, help="whose sessions these are")
    parser.add_argument("--spool", required=True, type=Path, help="a folder of the adapter's own")
    parser.add_argument("--url", help="where Sojourn listens for brokers, if not on Kafka")
    parser.add_argument("--token-file", type=Path, help="holds the token of `sojourn brokers add`")
    parser.add_argument("--sesman-log", type=Path, default=Path("/var/log/xrdp-sesman.log"))
    parser.add_argument("--xrdp-log", type=Path, default=Path("/var/log/xrdp.log"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
