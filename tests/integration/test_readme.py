"""What the README and the quickstart tell people to type is run here, in order, beside a running `make run`."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from tests.conftest import open_folder
from tests.integration.command import POLL_SECONDS, WAIT_SECONDS_MAX, Command, free_port
from tests.kafka_server import KafkaServer, demand_kafka
from tests.unit.tree import ROOT

README: Final = Path("README.md")
QUICKSTART: Final = Path("docs/quickstart.md")
MAKE_RUN: Final = "exec .venv/bin/sojourn up --demo"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Return what a page tells people to type, a command a line."""
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def targets() -> dict[str, str]:
    """Return the rules of the Makefile that have a `##` comment, with that comment."""
    return dict(re.findall(r"^([a-z-]+):.*?## (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_command_of_the_readme_is_a_target_or_a_sojourn_command() -> None:
    strangers = [line for line in commands(README) if line.split()[0] not in {"make", "sojourn"}]

    missing = {line.split()[1] for line in commands(README) if line.startswith("make ")} - set(targets())

    assert not strangers, f"a reader of the README needs nothing but make and sojourn: {strangers}"
    assert not missing, f"the Makefile has no such target: {sorted(missing)}"


def test_make_help_lists_every_target_that_people_type() -> None:
    result = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)

    listed = dict(re.findall(r"^make ([a-z-]+) +(.+)$", result.stdout, re.MULTILINE))

    assert listed == targets()
    assert listed.keys() >= {"run", "test", "test-full", "check", "bench", "lock", "clean", "help"}


def test_make_run_ends_in_the_command_that_this_test_runs() -> None:
    recipe = re.search(r"^run:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert recipe is not None
    assert recipe[1].splitlines()[-1].strip().lstrip("@") == MAKE_RUN


@pytest.fixture(scope="module")
def environ() -> Iterator[dict[str, str]]:
    """Run what `make run` runs, for the readers of both pages; return what their shells know."""
    with open_folder() as folder:
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SOJOURN_DATA_DIR": str(folder / "sojourn"),
        }
        words = ["sojourn", *MAKE_RUN.split()[2:], "--port", str(free_port())]
        up = subprocess.Popen(words, cwd=folder, env=environ, stdout=subprocess.DEVNULL)
        try:
            yield environ
            up.terminate()
            assert up.wait(WAIT_SECONDS_MAX) == 0, "sojourn up did not end well"
        finally:
            up.kill()
            up.wait()


@pytest.fixture
def shell(environ: dict[str, str], tmp_path: Path) -> dict[str, Any]:
    """Return how to run a command as the reader of a page would, beside a running `make run`."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return {"cwd": tmp_path, "env": environ, "text": True}


def ids(kind: str, shell: dict[str, Any]) -> set[str]:
    """Return the ids that `sojourn sessions` or `sojourn history` shows for the tenant of the examples."""
    command = Command(Path(shell["env"]["SOJOURN_DATA_DIR"]))
    command.environ = shell["env"]
    shown = command(kind, "--tenant", "acme", "--json")
    return {json.loads(line)["session_id"] for line in shown.stdout.splitlines()}


def wait_shown(shell: dict[str, Any]) -> None:
    """Wait until both lists show what was published."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not ("s-1" in ids("sessions", shell) and "s-2" in ids("history", shell)):
        assert time.monotonic() < deadline, "what was published does not appear"
        time.sleep(POLL_SECONDS)


@pytest.mark.parametrize("page", [README, QUICKSTART], ids=str)
def test_what_a_page_tells_people_to_type_works_as_it_stands(
    page: Path, shell: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, *others = [line for line in commands(page) if "sojourn " in line]

    subprocess.run(["sh", "-ec", publish], check=True, **shell)
    wait_shown(shell)
    for command in others:
        subprocess.run(["sh", "-ec", command], check=True, **shell)

    assert list((tmp_path / "history").rglob("_SUCCESS")) != []
    assert list((tmp_path / "replayed").rglob("*.parquet")) != []
    monkeypatch.chdir(tmp_path)
    for query in blocks(page, "sql"):
        found = {outcome: (count, seconds) for outcome, count, seconds in duckdb.execute(query).fetchall()}
        assert found.keys() <= {"normal", "abnormal"}
        assert (
            sum(count for count, _ in found.values()) == json.loads(Path("history/_manifest.json").read_bytes())["rows"]
        )
        assert all(seconds > 0 for _, seconds in found.values())


@pytest.mark.xdist_group("kafka-readme")
def test_what_the_readme_says_about_kafka_works_as_it_stands(tmp_path: Path) -> None:
    """Run the block's lines with Kafka where the first line says, and the embedded database in place of its own."""
    demand_kafka()
    export, create, work = "".join(blocks(README, "shell")).splitlines()
    assert re.findall(r"SOJOURN_\w+", export) == ["SOJOURN_KAFKA_BOOTSTRAP_SERVERS", "SOJOURN_DATABASE_DSN"]
    (tmp_path / "kafka").mkdir()
    kafka = KafkaServer(tmp_path / "kafka")
    kafka.start()
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SOJOURN_DATA_DIR": str(tmp_path / "sojourn"),
        "SOJOURN_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
    }
    keywords: dict[str, Any] = {"cwd": ROOT, "env": environ, "text": True}
    try:
        subprocess.run(["sh", "-ec", create], check=True, **keywords)
        worker = subprocess.Popen(work.split(), **keywords, stderr=subprocess.DEVNULL)
        try:
            publish, *_ = [line for line in commands(README) if line.startswith("sojourn publish")]
            subprocess.run(["sh", "-ec", publish], check=True, **keywords)
            wait_shown(keywords)
            worker.terminate()
            assert worker.wait(WAIT_SECONDS_MAX) == 0
        finally:
            worker.kill()
            worker.wait()
    finally:
        kafka.stop()
