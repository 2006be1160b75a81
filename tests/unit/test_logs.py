"""What a service's log shows of what libraries say."""

import json
import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, Final

import pytest

from sojourn.console import logs
from sojourn.console.logs import REPEAT_SECONDS, Libraries

PROGRAM: Final = """
import logging, sys, threading
import structlog
from sojourn.console.logs import log_lines, mute_libraries

def fail():
    raise RuntimeError("in a thread")

log_lines("eu-1")
structlog.get_logger().info("worker.starting", version="1", partition=3)
logging.getLogger("aiokafka.client").error("cannot connect to %s", "host")
logging.getLogger("aiokafka.client").info("connected")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
mute_libraries()
loud = logging.getLogger("psycopg")
loud.setLevel(logging.WARNING)
loud.warning("closing connection")
structlog.get_logger().info("worker.stopped")
"""


def said(words: str, *arguments: object, name: str = "aiokafka.client", level: int = logging.ERROR) -> Any:
    return logging.LogRecord(name, level, __file__, 1, words, arguments, None)


def test_everything_is_one_json_object_a_line_with_the_name_of_the_worker() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert [(line["event"], line["level"]) for line in lines] == [
        ("worker.starting", "info"),
        ("cannot connect to host", "warning"),
        ("a thread ended by an error", "error"),
        ("worker.stopped", "info"),
    ]
    assert {line["worker"] for line in lines} == {"eu-1"}
    assert list(lines[0]) == ["timestamp", "level", "event", "worker", "partition", "version"]
    assert lines[1]["logger"] == "aiokafka.client"
    assert "RuntimeError: in a thread" in lines[2]["exception"]


def test_what_is_routine_at_a_start_or_rebalance_is_not_shown() -> None:
    libraries = Libraries()

    shown = libraries.filter(said("Group Coordinator Request failed: %s", "not available"))

    assert not shown


def test_what_a_library_repeats_is_shown_now_and_then_with_how_often_it_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([0.0, 1.0, 2.0, REPEAT_SECONDS])
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: next(times)))
    libraries, records = Libraries(), [said("cannot connect to %s", f"host-{number}") for number in range(4)]

    shown = [record.getMessage() for record in records if libraries.filter(record)]

    assert shown == ["cannot connect to host-0", "cannot connect to host-3 (and 2 times more in the 30 s before)"]


def test_an_error_of_a_library_that_does_not_try_again_stays_an_error() -> None:
    record = said("it failed", name="asyncio")

    shown = Libraries().filter(record)

    assert shown
    assert record.levelno == logging.ERROR
