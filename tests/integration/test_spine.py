"""From a broker's event to the live list, the history and a file: the contract's examples through a running Sojourn."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conftest import open_folder
from tests.integration.command import EVENTS, Command

SESSION_KEYS = (
    "tenant session_id user_id user_name desktop_id desktop_name desktop_pool terminal_type terminal_os client_ip "
    "access protocol broker login_at"
)
REASONS = (
    "bad_ip bad_subject bad_tenant bad_time bad_value conflict missing_field not_json not_utf8 too_deep truncated_json "
    "unknown_type"
)


@pytest.fixture(scope="module")
def sojourn() -> Iterator[Command]:
    """Run Sojourn with the three files published and applied."""
    with open_folder() as folder, (command := Command(folder / "data")).up():
        for name in ("examples", "bad", "real-rdp"):
            command.ok("publish", EVENTS / f"{name}.ndjson")
        command.wait_applied()
        yield command


def by_session(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["session_id"]: row for row in rows}


def test_publishing_says_how_many_events_were_acknowledged(data_dir: Path) -> None:
    command = Command(data_dir)

    assert command.ok("publish", EVENTS / "examples.ndjson") == "published 14 events\n"
    assert command.ok("publish", "-", "--json", stdin=b"\n  \nnot json at all\n\n") == '{"published":1}\n'
    assert command.rows("status")[0]["position"] == 0, "only `sojourn up` projects"


def test_the_live_list_holds_the_open_sessions_of_the_examples(sojourn: Command) -> None:
    rows = by_session(sojourn.rows("sessions", "--tenant", "acme"))

    assert rows.keys() == {"s-1001", "s-1004"}
    ada = rows["s-1001"]
    assert (
        " ".join(ada)
        == f"{SESSION_KEYS} state last_seen_at duration_seconds current_client_ip ended_after ended_before"
    )
    assert ada["login_at"] == "2026-11-24T08:00:00.120Z"
    assert (ada["user_name"], ada["terminal_type"], ada["state"]) == ("Ada Byron", "thin_client", "active")
    assert (ada["client_ip"], ada["access"], ada["broker"]) == ("10.4.2.17", "internal", "/brokers/eu-1")
    assert rows["s-1004"]["terminal_os"] == "Android"


def test_the_same_session_id_in_two_tenants_is_two_sessions(sojourn: Command) -> None:
    (row,) = sojourn.rows("sessions", "--tenant", "globex")

    assert (row["session_id"], row["user_name"]) == ("s-1001", "Žofie Nováková 王")
    assert row["client_ip"] == "2001:db8::17"


def test_the_history_holds_the_ended_sessions_of_the_examples(sojourn: Command) -> None:
    rows = by_session(sojourn.rows("history", "--tenant", "acme"))

    assert rows.keys() == {"s-1002", "s-1003", "s-1005"}
    of_end = "logout_at online_seconds outcome reason ended_after ended_before command revision"
    assert " ".join(rows["s-1002"]) == f"{SESSION_KEYS} {of_end}"
    ends = {
        name: (row["logout_at"], row["online_seconds"], row["outcome"], row["reason"], row["access"], row["revision"])
        for name, row in rows.items()
    }
    assert ends == {
        "s-1002": ("2026-11-24T08:45:12.000Z", 2708.5, "normal", "logoff", "public", 2),
        "s-1003": ("2026-11-24T09:10:00.000Z", 4140.0, "abnormal", "network", "public", 2),
        "s-1005": ("2026-11-24T09:04:00.500Z", 240.5, "normal", "admin_disconnect", "internal", 2),
    }


def test_history_can_add_the_open_sessions_and_show_all_revisions(sojourn: Command) -> None:
    with_open = sojourn.rows("history", "--tenant", "acme", "--open")
    revisions = sojourn.rows("history", "--tenant", "acme", "--revisions")

    assert Counter(row["logout_at"] is None for row in with_open) == {False: 3, True: 2}
    assert Counter(row["revision"] for row in revisions) == {1: 5, 2: 3}


def test_filters_keep_what_they_name(sojourn: Command) -> None:
    def names(*words: str) -> list[str]:
        return sorted(row["session_id"] for row in sojourn.rows(*words, "--tenant", "acme"))

    assert names("sessions", "--user", "u-17") == ["s-1001", "s-1004"]
    assert names("sessions", "--user", "byr") == ["s-1001", "s-1004"]
    assert names("sessions", "--desktop", "cad-2") == ["s-1001"]
    assert names("sessions", "--terminal", "mobile") == ["s-1004"]
    assert names("sessions", "--access", "internal") == ["s-1001"]
    assert names("sessions", "--broker", "/brokers/eu-2") == ["s-1004"]
    assert names("history", "--outcome", "abnormal") == ["s-1003"]
    assert names("history", "--from", "2026-11-24T09:05:00Z") == ["s-1003"]
    assert names("history", "--to", "2026-11-24T08:00:30Z") == ["s-1002"]
    assert names("history", "--from", "2026-11-24T09:10:00.001Z") == []


def test_every_bad_line_is_a_dead_letter_with_its_own_reason(sojourn: Command) -> None:
    rows = sojourn.rows("dead-letters", "list")

    assert " ".join(sorted(row["reason"] for row in rows)) == REASONS
    assert " ".join(rows[0]) == (
        "topic partition offset reason detail tenant session_id appended_at parked_behind resolution resolved_offset "
        "resolved_appended_at waits"
    )
    assert {row["session_id"] for row in rows if row["reason"] == "conflict"} == {"s-1002"}


def test_a_dead_letter_shows_the_bytes_that_were_published(sojourn: Command) -> None:
    letters = sojourn.rows("dead-letters", "list")

    shown = {}
    for letter in letters:
        if letter["reason"] in ("not_json", "not_utf8"):
            (shown[letter["reason"]],) = sojourn.rows("dead-letters", "show", place(letter))

    assert shown["not_json"]["value"] == "not json at all"
    assert shown["not_utf8"]["value"] == {"base64": "//4AAQ=="}


def place(letter: dict[str, Any]) -> str:
    return f"{letter['topic']}@{letter['partition']}:{letter['offset']}"


def test_status_accounts_for_every_record(sojourn: Command) -> None:
    *others, summary = sojourn.rows("status")
    partitions = [row for row in others if "topic" in row]

    assert " ".join(partitions[0]) == "topic partition position end lag_records lag_seconds complete_to owner epoch"
    assert len(partitions) == 24
    assert all(row["owner"] and row["epoch"] >= 1 for row in partitions)
    lifecycle = sum(row["position"] for row in partitions if row["topic"] == "sojourn.lifecycle")
    assert summary["dispositions"] == {"applied": 242, "conflict": 1, "dead_letter": 11}
    assert sum(summary["dispositions"].values()) == lifecycle


def test_a_real_servers_record_gives_what_its_readme_names(sojourn: Command) -> None:
    ended = sojourn.rows("history", "--tenant", "field")
    still_open = sojourn.rows("sessions", "--tenant", "field")

    assert Counter(row["reason"] for row in ended) == {"network": 105, "logoff": 2}
    assert len(still_open) == 19
    assert len({row["client_ip"] for row in ended + still_open}) == 61
    assert round(sum(row["online_seconds"] for row in ended), 3) == 508.254
    assert round(max(row["online_seconds"] for row in ended), 3) == 90.038
    moments = sorted([(row["login_at"], 1) for row in ended] + [(row["logout_at"], -1) for row in ended])
    at_once = [sum(step for _, step in moments[: i + 1]) for i in range(len(moments))]
    assert max(at_once) == 4


def read(folder: Path) -> dict[str, list[Any]]:
    """Count the rows of a Parquet dataset by tenant, and add up what seconds they have."""
    rows = duckdb.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True, union_by_name=True)
    seconds = "online_seconds" if "online_seconds" in rows.columns else "duration_seconds"
    counted = rows.aggregate(f"tenant, count(*), round(sum({seconds}), 3)").fetchall()
    return {tenant: [count, total] for tenant, count, total in counted}


def test_exports_and_replay_give_the_same_sessions_as_the_lists(sojourn: Command, tmp_path: Path) -> None:
    sojourn.ok("export", "history", "--tenant", "field", "--format", "parquet", "--out", tmp_path / "history")
    sojourn.ok("export", "current", "--tenant", "field", "--format", "csv", "--out", tmp_path / "current")
    (made,) = sojourn.rows("export", "history", "--tenant", "acme", "--format", "csv", "--out", tmp_path / "acme")
    sojourn.ok("replay", "--to", made["positions"], "--out", tmp_path / "replayed")

    history, live = read(tmp_path / "replayed" / "history"), read(tmp_path / "replayed" / "current")

    assert read(tmp_path / "history")["field"] == [107, 508.254]
    assert len((tmp_path / "current" / "current.csv").read_text().splitlines()) == 1 + 19
    assert history == {"acme": [3, 7089.0], "field": [107, 508.254]}
    assert {tenant: row[0] for tenant, row in live.items()} == {"acme": 2, "field": 19, "globex": 1}
    files = sorted(path.relative_to(tmp_path / "history") for path in (tmp_path / "history").rglob("*.parquet"))
    assert files
    for file in files:
        again = tmp_path / "replayed" / "history" / file
        assert again.read_bytes() == (tmp_path / "history" / file).read_bytes(), "the same position, the same bytes"


def test_a_replay_to_an_earlier_instant_shows_what_was_known_then(sojourn: Command, tmp_path: Path) -> None:
    positions = {row["partition"]: 0 for row in sojourn.rows("status") if row.get("topic") == "sojourn.lifecycle"}
    nothing = "lifecycle@" + ",".join(f"{partition}:{offset}" for partition, offset in positions.items())

    sojourn.ok("replay", "--to", nothing, "--out", tmp_path / "position")
    (current, history) = sojourn.rows("replay", "--to", "2020-01-01", "--out", tmp_path / "time")

    assert (tmp_path / "position" / "history" / "_SUCCESS").exists()
    assert (current["rows"], history["rows"]) == (0, 0)


def test_publishing_everything_again_changes_no_list(sojourn: Command) -> None:
    before = (sojourn.rows("history", "--tenant", "acme"), sojourn.rows("history", "--tenant", "field"))

    sojourn.ok("publish", EVENTS / "examples.ndjson")
    sojourn.ok("publish", EVENTS / "real-rdp.ndjson")
    *_, summary = sojourn.wait_applied()

    after = (sojourn.rows("history", "--tenant", "acme"), sojourn.rows("history", "--tenant", "field"))
    assert after == before
    assert summary["dispositions"]["duplicate"] == 9 + 233
