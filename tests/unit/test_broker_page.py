"""The page on brokers: its programs run, its numbers are the code's."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sojourn.events.broker import backoff, beats, broker, drain, over_log, transports
from sojourn.events.broker.broker import Broker
from sojourn.events.broker.transports import log_transport
from sojourn.events.types import Destroyed, DisconnectAcknowledged, DisconnectDelivered, DisconnectFailed, Established
from tests.contract.broker_ways import SOURCE, MemoryLog, events_of, give, requested
from tests.unit.tree import ROOT

PAGE = (ROOT / "docs/brokers.md").read_text(encoding="utf-8")
WORKED = PAGE.index("## A worked example")
FIRST, BLOCKING, OBEY = re.findall(r"^```python\n(.*?)^```$", PAGE[:WORKED], re.MULTILINE | re.DOTALL)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryLog:
    """Give a log in memory to whatever transport a program asks for, and a folder to run in."""
    log = MemoryLog()
    monkeypatch.chdir(tmp_path)
    for name in ("kafka_transport", "http_transport"):
        monkeypatch.setattr(transports, name, lambda *_: log_transport(log))
    return log


def run(program: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(program, "docs/brokers.md", "exec"), names)  # noqa: S102 - our own page
    return names


def test_the_first_program_tells_of_a_session_from_its_beginning_to_its_end(log: MemoryLog) -> None:
    run(FIRST)

    told = asyncio.run(events_of(log))
    assert [type(event) for event in told] == [Established, Destroyed]
    assert [event.sequence for event in told] == ["1", "2"]
    assert {event.source for event in told} == {"/brokers/eu-1"}


def test_the_program_without_await_tells_of_an_end(log: MemoryLog) -> None:
    run(BLOCKING)

    (told,) = asyncio.run(events_of(log))
    assert isinstance(told, Destroyed)
    assert (told.source, told.data.detail) == ("/brokers/eu-2", "30 minutes")


async def test_the_program_for_commands_answers_each_as_it_went(log: MemoryLog, tmp_path: Path) -> None:
    async def disconnect(session_id: str) -> bool:
        if session_id == "s-broken":
            raise OSError("no route")
        return session_id == "s-there"

    for session_id in ("s-there", "s-gone", "s-broken"):
        await give(log, requested(f"c-{session_id}", session_id))
    obey = run(OBEY)["obey"]

    async with Broker(SOURCE, log_transport(log), spool=tmp_path / "spool") as broker, asyncio.timeout(60):
        obeying = asyncio.create_task(obey(broker, disconnect))
        while broker.counts.acknowledged < 9:  # noqa: ASYNC110 - three events for each command
            await asyncio.sleep(0.01)
    await obeying

    by_session: dict[str, list[type]] = {}
    for event in await events_of(log):
        by_session.setdefault(getattr(event, "subject", ""), []).append(type(event))
    begun = [DisconnectDelivered, DisconnectAcknowledged]
    assert by_session == {
        "s-there": [*begun, Destroyed],
        "s-gone": [*begun, DisconnectFailed],
        "s-broken": [*begun, DisconnectFailed],
    }


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        (broker.SPOOL_BYTES_MAX >> 20, "takes {} MiB at most"),
        (broker.CLOSE_SECONDS_MAX, "what is left for up to {:.0f} seconds"),
        (broker.EVERY_SECONDS, "every_seconds={:.0f}"),
        (drain.EVENTS_MAX, "sends up to {} events again"),
        (beats.WAIT_SECONDS_MAX, "after {:.0f} seconds at most"),
        (backoff.BACKOFF_SECONDS_MAX, "every {:.0f} seconds at last"),
        (over_log.LOOK_BACK.total_seconds() / 60, "the commands of the last {:.0f} minutes"),
    ],
)
def test_the_page_names_the_limits_of_the_code(limit: float, sentence: str) -> None:
    assert sentence.format(limit) in " ".join(PAGE.split())


def test_the_sdk_needs_nothing_of_a_server() -> None:
    """What [server] brings is hidden from a process that imports the SDK; test_imports reads the files one by one."""
    hidden = ["psycopg", "numpy", "litestar", "uvicorn", "sqlalchemy", "pyarrow", "faust"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden!r}));"
        "import sojourn.events.broker.blocking, sojourn.events.broker.transports"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
