"""`POST /v1/events`: what is accepted stands in the log, and nobody publishes what is not theirs."""

import asyncio
import json
import os
import re
import subprocess
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from structlog.testing import capture_logs

from sojourn.console.http import gateway as gateway_module
from sojourn.events.codec import DEPTH_MAX, VALUE_BYTES_MAX
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT, session_key, session_partition
from tests.integration.gateway_steps import BATCH, STRUCTURED, WAIT_SECONDS_MAX, Served, batch, served, source
from tests.unit.events import alive, destroyed, established, gap_accepted, heartbeats, source_bound, to_bytes
from tests.unit.tree import ROOT

__all__ = ["served", "source"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAST: Final = datetime(2026, 1, 1, tzinfo=UTC)


async def test_an_accepted_event_stands_in_its_sessions_partition_as_it_was_sent(served: Served, source: str) -> None:
    token = await served.token(source, tenants=["acme"])
    sent = to_bytes(established(source=source, data={**established()["data"], "unknown": "is kept"}))

    answer = await served.post(token, sent, f"{STRUCTURED}; charset=UTF-8")

    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "rejected": 0, "results": [{"id": "1", "status": "accepted"}]}
    assert answer.headers["cache-control"] == "no-store"
    (record,) = await served.records(source)
    assert record.topic == LIFECYCLE
    assert record.partition == session_partition("acme", "s-1", PARTITIONS_DEFAULT)
    assert (record.key, record.value) == (session_key("acme", "s-1"), sent)


async def test_each_event_of_a_batch_has_its_own_result_and_only_the_good_ones_are_appended(
    served: Served, source: str
) -> None:
    token = await served.token(source, tenants=["acme", "globex"])
    deep = to_bytes(established(source=source)).replace(b'"blast"', b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    sent: dict[str, dict[str, Any] | bytes] = {
        "good": established(id="good", source=source),
        "other source": established(id="other source", source="/brokers/other"),
        "other tenant": established(id="other tenant", source=source, tenant="initech"),
        "sojourn's": {**source_bound(), "id": "sojourn's", "source": source},
        "gap": {**gap_accepted(), "id": "gap", "source": source},
        "unknown type": {**established(id="unknown type", source=source), "type": "sojourn.session.exploded.v1"},
        "no ip": established(id="no ip", source=source, data={**established()["data"], "client_ip": "x"}),
        "deep": deep.replace(b'"id": "1"', b'"id": "deep"'),
        "not utf-8": to_bytes(established(id="not utf-8", source=source)).replace(b"Ada", b"\xff"),
        "large": established(id="large", source=source, x="x" * VALUE_BYTES_MAX),
        "also good": destroyed(id="also good", source=source, tenant="globex"),
    }

    answer = await served.post(token, batch(*sent.values(), b"7"), BATCH)

    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (2, 10)
    results = {result["id"]: result.get("reason", result["status"]) for result in told["results"]}
    assert [result["id"] for result in told["results"]] == [*sent, None]
    assert results == {
        "good": "accepted",
        "other source": "wrong_source",
        "other tenant": "tenant_mismatch",
        "sojourn's": "wrong_source",
        "gap": "wrong_source",
        "unknown type": "unknown_type",
        "no ip": "bad_ip",
        "deep": "too_deep",
        "not utf-8": "not_utf8",
        "large": "too_large",
        "also good": "accepted",
        None: "not_json",
    }
    assert {event.id for event in await served.appended(source)} == {"good", "also good"}
    assert await served.appended("/brokers/other") == []


async def test_a_request_of_which_nothing_is_accepted_is_told_as_unprocessable(served: Served, source: str) -> None:
    token = await served.token(source)

    answers = [await served.post(token, content) for content in (b"{", b"\xff\xfe", b"[" * 5000 + b"]" * 5000, b"")]

    assert [answer.status_code for answer in answers] == [422] * 4
    reasons = [answer.json()["results"][0]["reason"] for answer in answers]
    assert reasons == ["truncated_json", "not_utf8", "too_deep", "not_json"]
    assert [answer.json()["accepted"] for answer in answers] == [0] * 4


async def test_an_event_in_binary_mode_is_the_same_as_in_structured_mode(served: Served, source: str) -> None:
    token = await served.token(source)
    event = established(source=source, subject="s-žofie", sequence="1")
    attributes = {f"ce-{name}": text for name, text in event.items() if name != "data"}
    attributes["ce-subject"] = "s-%C5%BEofie"
    attributes["ce-id"] = '"1"'

    answer = await served.post(token, json.dumps(event["data"]).encode(), "application/json", **attributes)

    assert answer.status_code == 202, answer.text
    (record,) = await served.records(source)
    assert json.loads(record.value) == event | {"datacontenttype": "application/json"}


async def test_heartbeats_and_signs_of_life_reach_every_partition_that_they_are_for(
    served: Served, source: str
) -> None:
    token = await served.token(source, tenants=["acme"])
    sessions = [f"s-{number}" for number in range(100)]
    beats = heartbeats(source=source, data={"sessions": sessions})

    answer = await served.post(token, batch(beats, alive(source=source)), BATCH)

    assert answer.json()["accepted"] == 2, answer.text
    records = await served.records(source)
    assert {record.topic for record in records} == {HEARTBEATS}
    assert len(records) == 2 * PARTITIONS_DEFAULT


@pytest.mark.parametrize("away", ["blocked", "gone"])
async def test_nothing_is_told_as_accepted_while_the_log_is_away(
    served: Served, source: str, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    monkeypatch.setattr(gateway_module, "APPEND_SECONDS_MAX", 0.3 if away == "blocked" else WAIT_SECONDS_MAX)
    token = await served.token(source)
    sent = batch(established(source=source), {"no": "event"})
    assert (await served.post(token, batch(), BATCH)).status_code == 202

    async with await served.database.connect() as connection:
        if away == "blocked":
            await connection.execute("LOCK TABLE sojourn_log.log_head IN EXCLUSIVE MODE")
        else:
            await connection.execute("ALTER SCHEMA sojourn_log RENAME TO away")
            await connection.commit()
        with capture_logs() as lines:
            refused = [await served.post(token, sent, BATCH) for _ in range(2)]
        if away == "gone":
            await connection.execute("ALTER SCHEMA away RENAME TO sojourn_log")

    assert [answer.status_code for answer in refused] == [503, 503]
    assert refused[0].json()["type"] == "urn:sojourn:problem:unavailable"
    assert int(refused[0].headers["retry-after"]) >= 1
    assert "accepted" not in refused[0].text
    assert [line["event"] for line in lines] == ["http.log_away"]
    assert (await served.post(token, sent, BATCH)).json()["accepted"] == 1
    assert len(await served.records(source)) == 1


async def test_a_database_that_was_away_is_a_problem_once_and_then_forgotten(
    served: Served, source: str, migrated_server: str
) -> None:
    token = await served.token(source)
    name = conninfo_to_dict(served.database.dsn)["dbname"]
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - our own
    await served.post(token, to_bytes(established(id="before", source=source)))

    with psycopg.connect(migrated_server, autocommit=True) as superuser, capture_logs() as lines:
        superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        superuser.execute(cut.encode())
        away = await served.post(token, to_bytes(established(id="away", source=source)))
        superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        back = await served.post(token, to_bytes(established(id="back", source=source)))
        superuser.execute(cut.encode())
        cut_off = await served.post(token, to_bytes(established(id="cut off", source=source)))

    assert (away.status_code, back.status_code, cut_off.status_code) == (503, 202, 202)
    assert away.json()["type"] == "urn:sojourn:problem:unavailable"
    assert int(away.headers["retry-after"]) >= 1
    assert {line["event"] for line in lines} == {"http.database_away"}
    assert [event.id for event in await served.appended(source)] == ["before", "back", "cut off"]


async def test_the_examples_of_the_documentation_answer_what_it_says(served: Served) -> None:
    section = (ROOT / "docs/brokers.md").read_text().partition("\n## Over HTTP\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```sh\n(curl .*?)```\n\n```json\n(.*?)```\n", section, re.DOTALL)
    token = await served.token("/brokers/eu-1", tenants=["acme"])
    environ = {"PATH": os.environ["PATH"], "SOJOURN": f"http://127.0.0.1:{served.port}", "TOKEN": token}

    answers = []
    for command, _ in examples:
        if "/answers" in command:
            await served.command("/brokers/eu-1", command_id="c-1")
        shell = await asyncio.create_subprocess_exec("sh", "-c", command, env=environ, stdout=subprocess.PIPE)
        answers.append((await shell.communicate())[0].decode() + "\n")

    assert len(examples) == 5
    assert answers == [expected for _, expected in examples]
