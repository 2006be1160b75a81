"""What the adapter's command line refuses, in one line and with an exit code."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS
from sojourn.events.xrdp.__main__ import main
from sojourn.events.xrdp.state import StateFile

WORDS = ["xrdp", "--source", "/brokers/xrdp-1", "--tenant", "acme", "--spool", "spool"]


@pytest.fixture(autouse=True)
def _as_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv(BOOTSTRAP_SERVERS, raising=False)
    yield
    structlog.reset_defaults()  # it logs to an output that is this test's


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], f"name Sojourn by --url and --token-file, or Kafka by {BOOTSTRAP_SERVERS}"),
        (["--url", "http://127.0.0.1:1"], f"name Sojourn by --url and --token-file, or Kafka by {BOOTSTRAP_SERVERS}"),
        (
            ["--url", "http://127.0.0.1:1", "--token-file", "/nowhere/token"],
            "the token cannot be read: /nowhere/token",
        ),
    ],
)
def test_an_adapter_that_cannot_reach_sojourn_says_what_is_missing(
    words: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*WORDS, *words])

    assert main() == 2
    assert capsys.readouterr().err == f"sojourn: {complaint}\n"


def test_an_adapter_of_an_ordinary_user_says_why_it_needs_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", WORDS)

    assert main() == 2
    assert "run it as root" in capsys.readouterr().err


def test_a_state_that_is_none_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token, state = tmp_path / "token", tmp_path / "xrdp.json"
    token.write_text("sjb_0123456789abcdef_secret")
    state.write_text('{"boot": 7}')
    words = ["--spool", str(tmp_path), "--url", "http://127.0.0.1:1", "--token-file", str(token)]
    monkeypatch.setattr(sys, "argv", [*WORDS, *words])

    assert main() == 2
    assert capsys.readouterr().err.endswith(f"sojourn: this is no state of the xrdp adapter: {state}\n")


def test_what_was_never_saved_is_no_state(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "xrdp.json")

    file.touch()

    assert file.load() is None
