"""What no request to brokers can be is told before anything is opened."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.command_line import Run, run_here

ASK = ("--tenant", "acme", "--reason", "host maintenance")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """Give the command line on a data directory that must not come to be."""
    with run_here(monkeypatch, capsys, tmp_path / "data") as run:
        yield run
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("disconnect", "s-1", "--bogus", *ASK), "no such option"),
        (("disconnect", "s-1", "--tenant", "acme"), "a value is missing; see `sojourn disconnect --help`: --reason"),
        (("disconnect", "s-1", "--tenant", "acme", "--reason", " "), "it cannot be blank"),
        (("disconnect", "s-1", *ASK, "--expires", "0"), "--expires"),
        (("disconnect", "s-1", *ASK, "--wait", "-1"), "--wait"),
        (("disconnect", "s\x01", *ASK), "no control characters, not: 's\\x01'"),
        (("send-message", "s-1", *ASK, "--message", " "), "a message says something; it cannot be blank"),
    ],
)
def test_what_no_request_can_be_is_wrong_usage_in_one_line(run: Run, words: tuple[str, ...], line: str) -> None:
    assert line in run(*words).line(2)


def test_standard_input_without_sessions_is_wrong_usage(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))

    line = run("disconnect", "-", *ASK).line(2)

    assert line == "no session is named; give their ids, or - for those on standard input"
