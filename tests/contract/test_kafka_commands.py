"""The command line where Kafka is the log: topics, publishing without a database, and what says to start a worker."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE
from tests.integration.command import SOJOURN
from tests.kafka_server import KafkaServer

pytestmark = pytest.mark.xdist_group("kafka-log")

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples.ndjson"
SECONDS_MAX = 60  # a command takes one; the machine may be busy


def run(data_dir: Path, servers: str, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "SOJOURN_DATA_DIR": str(data_dir), "SOJOURN_KAFKA_BOOTSTRAP_SERVERS": servers}
    return subprocess.run(
        [SOJOURN, *words], env=environ, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )


def test_topics_that_exist_are_shown_as_a_table_and_as_json(kafka: KafkaServer, tmp_path: Path) -> None:
    table = run(tmp_path / "data", kafka.bootstrap_servers, "topics", "create")
    lines = run(tmp_path / "data", kafka.bootstrap_servers, "topics", "create", "--json")

    assert (table.returncode, table.stderr) == (0, "")
    assert [line.split() for line in table.stdout.splitlines()] == [
        ["TOPIC", "PARTITIONS", "REPLICAS", "STATE"],
        *([topic, "12", "1", "exists"] for topic in (LIFECYCLE, HEARTBEATS, COMMANDS)),
    ]
    assert [json.loads(line) for line in lines.stdout.splitlines()] == [
        {"name": topic, "partitions": 12, "replicas": 1, "wrong": [], "warnings": [], "state": "exists"}
        for topic in (LIFECYCLE, HEARTBEATS, COMMANDS)
    ]


def test_what_is_wrong_is_said_and_ends_with_exit_code_1(kafka: KafkaServer, tmp_path: Path) -> None:
    done = run(tmp_path / "data", kafka.bootstrap_servers, "topics", "create", "--partitions", "7")

    assert done.returncode == 1
    assert done.stdout.splitlines()[1].split() == [LIFECYCLE, "12", "1", "wrong"]
    assert f"wrong: {COMMANDS} has 12 partitions, and 7 were asked for" in done.stdout


def test_publishing_needs_no_database(kafka: KafkaServer, tmp_path: Path) -> None:
    count = len(EXAMPLES.read_text().splitlines())

    published = run(tmp_path / "data", kafka.bootstrap_servers, "publish", str(EXAMPLES))
    simulated = run(tmp_path / "data", kafka.bootstrap_servers, "simulate", "--sessions", "3", "--seed", "1")

    assert (published.returncode, published.stdout, published.stderr) == (0, f"published {count} events\n", "")
    assert simulated.returncode == 0
    assert not (tmp_path / "data").exists()


def test_topics_without_kafka_and_up_with_it_are_wrong_usage(tmp_path: Path) -> None:
    topics = run(tmp_path / "data", "", "topics", "create")
    up = run(tmp_path / "data", "127.0.0.1:9", "up")

    assert (topics.returncode, up.returncode) == (2, 2)
    assert "name its servers in SOJOURN_KAFKA_BOOTSTRAP_SERVERS" in topics.stderr
    assert "start `sojourn worker`" in up.stderr
    assert not (tmp_path / "data").exists()
