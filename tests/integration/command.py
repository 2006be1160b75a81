"""The `sojourn` command as a process of its own, and a running `sojourn up`."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.forks import Start, shared_forks

SOJOURN: Final = str(Path(sys.executable).with_name("sojourn"))
WAIT_SECONDS_MAX: Final = 60  # a fresh data directory takes two seconds; a busy machine more
EVENTS: Final = Path(__file__).with_name("events")  # the contract's examples, as they were published with it
POLL_SECONDS: Final = 0.05  # a command that asks again and again would take the processor from what it waits for


def patient(*others: str) -> tuple[str, ...]:
    """Return a `sojourn` that runs other statements first.

    It calls nobody lost or silent, since most events of these tests have no heartbeats, and writes those that come
    without waiting five seconds for more.
    """
    statements = (
        "import sys",
        "from sojourn.consumers import partition, sweep",
        "sweep.TIMEOUT_SECONDS = 7 * 86400",
        "sweep.SILENT_BEATS = 100_000",
        "partition.FLUSH_SECONDS = 0.2",
        f"sys.argv[0] = {SOJOURN!r}",
        "from sojourn.console.cli import main",
        *others,
        "sys.exit(main())",
    )
    return (sys.executable, "-c", "; ".join(statements))


PATIENT: Final = patient()


class Command:
    """Runs `sojourn` on one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environ = {**os.environ, "SOJOURN_DATA_DIR": str(data_dir)}

    def __call__(self, *words: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command and return what it wrote, whatever its exit code; its process is forked, which is cheap."""
        arguments = [str(word) for word in words]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            given, output, errors = folder / "input", folder / "output", folder / "errors"
            given.write_bytes(stdin or b"")
            order = Start("command", arguments, self.environ, str(given), str(output), str(errors))
            code = shared_forks().run(order)
            return subprocess.CompletedProcess(
                arguments, code, output.read_bytes().decode(), errors.read_bytes().decode(errors="replace")
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
            time.sleep(POLL_SECONDS)

    @contextmanager
    def up(
        self, *words: str, judging: bool = False, program: Sequence[str] = PATIENT
    ) -> Iterator[subprocess.Popen[str]]:
        """Run `sojourn up` until the block ends; it must end well then. `judging` lets it call sessions lost."""
        process = subprocess.Popen(
            [*([SOJOURN] if judging else program), "up", "--port", str(free_port()), *words],
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
