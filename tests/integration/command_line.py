"""The command line within the process of a test, which spares each command the start of an interpreter."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog

from sojourn.console.cli import main
from tests.conftest import open_folder
from tests.integration.command import EVENTS, Command


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    error: str

    def line(self, code: int) -> str:
        """Return what was said, which must be one line and nothing that looks like a result."""
        assert (self.code, self.out) == (code, "")
        assert self.error.startswith("sojourn: ")
        assert self.error.endswith("\n")
        assert self.error.count("\n") == 1
        return self.error.removeprefix("sojourn: ").rstrip("\n")


Run = Callable[..., Said]


@contextmanager
def run_here(monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], data_dir: Path) -> Iterator[Run]:
    """Give a function that runs the command line with these words."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("SOJOURN_DATA_DIR", str(data_dir))
    monkeypatch.delenv("SOJOURN_DATABASE_DSN", raising=False)

    def run(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["sojourn", *map(str, words)])
        code = main()
        return Said(code, *capture.readouterr())

    yield run
    structlog.reset_defaults()
    signal.signal(signal.SIGTERM, handler)


@contextmanager
def up_with_examples() -> Iterator[Command]:
    """Run Sojourn with the examples published and applied."""
    with open_folder() as folder, (command := Command(folder / "data")).up():
        for name in ("examples", "bad"):
            command.ok("publish", EVENTS / f"{name}.ndjson")
        command.wait_applied()
        yield command
