"""The `sojourn` command as a process of its own, and a running `sojourn up`."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

SOJOURN: Final = str(Path(sys.executable).with_name("sojourn"))
WAIT_SECONDS_MAX: Final = 60  # a fresh data directory takes two seconds; a busy machine more
EVENTS: Final = Path(__file__).with_name("events")  # the contract's examples, as they were published with it


class Command:
    """Runs `sojourn` on one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environ = {**os.environ, "SOJOURN_DATA_DIR": str(data_dir)}

    def __call__(self, *words: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command and return what it wrote, whatever its exit code."""
        done = subprocess.run(
            [SOJOURN, *map(str, words)], input=stdin, env=self.environ, capture_output=True, check=False
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")
        )

    def ok(self, *words: str | Path, stdin: bytes | None = None) -> str:
        """Run a command that must succeed and return its output."""
        done = self(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, *words: str | Path) -> list[dict[str, Any]]:
        """Run a command with --json and return its objects."""
        return [json.loads(line) for line in self.ok(*words, "--json").splitlines()]

    def wait_applied(self) -> list[dict[str, Any]]:
        """Wait until all that stands in the log is applied and return the rows of `sojourn status`."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            rows = self.rows("status")
            if all(row["lag_records"] == 0 for row in rows if "topic" in row):
                return rows
            assert time.monotonic() < deadline, rows

    @contextmanager
    def up(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run `sojourn up` until the block ends; it must end well then."""
        process = subprocess.Popen(
            [SOJOURN, "up", "--port", str(free_port()), *words],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert "Sojourn is running" in first, first + process.stdout.read()
            yield process
            process.terminate()
            assert process.wait(WAIT_SECONDS_MAX) == 0, process.stdout.read()
        finally:
            process.kill()
            process.communicate()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
