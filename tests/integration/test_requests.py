"""What an operator may ask for, as the database sees it: judged, written down at once, for one tenant alone."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from sojourn.events.codec import decode
from sojourn.events.embedded.database import Database
from sojourn.events.errors import UsageError
from sojourn.events.topics import COMMANDS, LIFECYCLE
from sojourn.events.types import DisconnectRequested
from sojourn.projections.outbox import ANY_EPOCH
from sojourn.projections.read import NoSuchTenant
from sojourn.projections.requests import (
    SESSIONS_MAX,
    Answer,
    Asked,
    Asker,
    KeyTaken,
    check,
    request_commands,
    try_request,
)
from tests.integration.rows import HISTORY_DAY, insert_history, insert_live, insert_tenant

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ADA = Asker("ada", "a test")

Connection = psycopg.AsyncConnection[Any]


@pytest.fixture
async def acme(migrated: Connection) -> Connection:
    """Let a session be open and another have ended, and another tenant have one of the same id."""
    await insert_tenant(migrated, "acme")
    await insert_tenant(migrated, "globex")
    await insert_live(migrated, "acme", "s-1", partition=3)
    await insert_history(migrated, "acme", "s-ended")
    await insert_live(migrated, "globex", "s-1", partition=5, broker="/brokers/globex")
    await insert_live(migrated, "globex", "s-theirs")
    return migrated


async def declare(connection: Connection, *commands: str, source: str = "/brokers/eu-1", partition: int = 3) -> None:
    await connection.execute(
        "INSERT INTO sojourn_v1.broker (source, partition, commands) VALUES (%s, %s, %s)"
        " ON CONFLICT (source, partition) DO UPDATE SET commands = excluded.commands",
        [source, partition, list(commands)],
    )


def asked(*session_ids: str, **fields: Any) -> Asked:
    return Asked(**{"kind": "disconnect", "session_ids": session_ids, "reason": "maintenance", **fields})


async def ask(connection: Connection, request: Asked, key: str | None = None, tenant: str = "acme") -> list[Answer]:
    return await request_commands(connection, tenant, request, ADA, NOW, key=key)


async def outbox(connection: Connection) -> list[dict[str, Any]]:
    rows = await connection.execute("SELECT topic, partition, epoch, key, value FROM sojourn.outbox ORDER BY outbox_id")
    return [
        {"place": (topic, partition, epoch), "key": key, "event": decode(value)}
        for topic, partition, epoch, key, value in await rows.fetchall()
    ]


async def acts(connection: Connection) -> list[dict[str, Any]]:
    rows = await connection.execute(
        "SELECT tenant, at, actor, action, subject, reason, origin, result FROM sojourn.admin_action ORDER BY at"
    )
    names = ("tenant", "at", "actor", "action", "subject", "reason", "origin", "result")
    return [
        {**row, "result": json.loads(row["result"])}
        for row in (dict(zip(names, values, strict=True)) for values in await rows.fetchall())
    ]


async def test_a_request_puts_its_event_into_the_outbox_for_whoever_owns_the_sessions_partition(
    acme: Connection,
) -> None:
    (answer,) = await ask(acme, asked("s-1", message="please save"))

    (row,) = await outbox(acme)
    assert (row["place"], row["key"]) == ((LIFECYCLE, 3, ANY_EPOCH), b"acme/s-1")
    event = row["event"]
    assert isinstance(event, DisconnectRequested)
    assert (event.source, event.tenant, event.subject, event.time) == ("/sojourn", "acme", "s-1", NOW)
    data = event.data
    assert (data.command, data.kind, data.broker) == (answer.command_id, "disconnect", "/brokers/eu-1")
    assert (data.reason, data.requested_by, data.message) == ("maintenance", "ada", "please save")
    assert data.expires_at == NOW + timedelta(seconds=60)


async def test_a_request_is_written_down_with_who_asked_why_from_where_and_what_came_of_it(acme: Connection) -> None:
    answers = await ask(acme, asked("s-1", "s-ended", "s-1"))

    (act,) = await acts(acme)
    assert (act["tenant"], act["at"], act["actor"], act["origin"]) == ("acme", NOW, "ada", "a test")
    assert (act["action"], act["subject"], act["reason"]) == ("disconnect", '["s-1","s-ended"]', "maintenance")
    assert act["result"]["outcome"] == "allowed"
    assert [row["status"] for row in act["result"]["answers"]] == ["requested", "refused"]
    assert act["result"]["answers"][0]["command_id"] == answers[0].command_id


async def test_a_request_that_is_refused_is_written_down_and_asks_nobody(acme: Connection) -> None:
    (answer,) = await ask(acme, asked("s-nobody"))

    assert answer == Answer("s-nobody", "refused", None, None, "no such session")
    (act,) = await acts(acme)
    assert (act["action"], act["result"]["outcome"]) == ("disconnect", "refused")
    assert await outbox(acme) == []


async def test_each_session_of_a_request_gets_its_own_result(acme: Connection) -> None:
    answers = await ask(acme, asked("s-nobody", "s-1", "s-ended"))

    assert [(answer.session_id, answer.status, answer.detail) for answer in answers] == [
        ("s-nobody", "refused", "no such session"),
        ("s-1", "requested", None),
        ("s-ended", "refused", f"has ended at {HISTORY_DAY.replace(hour=10):%Y-%m-%d %H:%M:%S} UTC"),
    ]
    assert len(await outbox(acme)) == 1


async def test_a_session_that_ended_and_was_reopened_is_open(acme: Connection) -> None:
    await insert_live(acme, "acme", "s-ended", partition=0)

    assert [answer.status for answer in await ask(acme, asked("s-ended"))] == ["requested"]


async def test_a_broker_that_declares_nothing_takes_nothing_but_disconnect(acme: Connection) -> None:
    for kind, message in (("log_off", None), ("send_message", "save your work")):
        (answer,) = await ask(acme, asked("s-1", kind=kind, message=message))

        takes = f"its broker does not take {kind}; what /brokers/eu-1 declares: disconnect"
        assert (answer.status, answer.detail) == ("refused", takes)


async def test_a_broker_is_asked_for_what_it_declares_and_for_nothing_else(acme: Connection) -> None:
    await declare(acme, "log_off", "send_message")

    assert [answer.status for answer in await ask(acme, asked("s-1", kind="log_off"))] == ["requested"]
    (answer,) = await ask(acme, asked("s-1"))
    assert answer.detail == "its broker does not take disconnect; what /brokers/eu-1 declares: log_off, send_message"
    await declare(acme)
    (answer,) = await ask(acme, asked("s-1"))
    assert answer.detail == "its broker does not take disconnect; what /brokers/eu-1 declares: no commands"


async def test_what_another_broker_declares_or_the_same_in_another_partition_does_not_count(acme: Connection) -> None:
    await declare(acme, "log_off", source="/brokers/eu-2")
    await declare(acme, "log_off", partition=4)
    await declare(acme, "disconnect", partition=3)

    assert [answer.status for answer in await ask(acme, asked("s-1", kind="log_off"))] == ["refused"]


async def test_trying_a_request_changes_nothing(acme: Connection) -> None:
    answers = await try_request(acme, "acme", asked("s-1", "s-ended"))

    assert [answer.status for answer in answers] == ["requested", "refused"]
    assert answers[0] == Answer("s-1", "requested", None, "/brokers/eu-1")
    assert (await acts(acme), await outbox(acme)) == ([], [])


async def test_the_same_request_under_the_same_key_changes_nothing_and_gives_what_came_of_the_first(
    acme: Connection,
) -> None:
    first = await ask(acme, asked("s-1", "s-nobody"), key="k")
    await acme.execute("DELETE FROM sojourn_v1.live_session")
    await insert_live(acme, "acme", "s-nobody")

    again = await ask(acme, asked("s-1", "s-nobody"), key="k")

    assert again == first
    assert (len(await acts(acme)), len(await outbox(acme))) == (1, 1)


async def test_two_requests_at_once_under_one_key_are_one(acme: Connection, migrated_database: Database) -> None:
    async with await migrated_database.connect(autocommit=True) as other:
        both = await asyncio.gather(*(ask(one, asked("s-1"), key="k") for one in (acme, other)))

    assert both[0] == both[1]
    assert (len(await acts(acme)), len(await outbox(acme))) == (1, 1)


async def test_another_request_under_the_same_key_is_refused_and_that_is_written_down(acme: Connection) -> None:
    others = [
        asked("s-1", "s-ended"),
        asked("s-ended"),
        asked("s-1", reason="another"),
        asked("s-1", message="hello"),
        asked("s-1", kind="log_off"),
        asked("s-1", expires_seconds=61),
    ]
    await ask(acme, asked("s-1"), key="k")

    for other in others:
        with pytest.raises(KeyTaken, match="choose another: 'k'"):
            await ask(acme, other, key="k")

    refused = [act for act in await acts(acme) if act["result"]["outcome"] == "refused"]
    assert sorted(act["action"] for act in refused) == sorted(other.kind for other in others)
    details = {act["result"]["detail"] for act in refused}
    assert details == {"this idempotency key was used for another request: 'k'"}
    assert len(await outbox(acme)) == 1


async def test_a_key_belongs_to_its_tenant(acme: Connection) -> None:
    (ours,) = await ask(acme, asked("s-1"), key="k")
    (theirs,) = await ask(acme, asked("s-1"), key="k", tenant="globex")

    assert theirs.broker == "/brokers/globex"
    assert ours.command_id != theirs.command_id
    assert {row["key"] for row in await outbox(acme)} == {b"acme/s-1", b"globex/s-1"}


async def test_without_a_key_every_request_makes_its_own_command(acme: Connection) -> None:
    commands = {(await ask(acme, asked("s-1")))[0].command_id for _ in range(2)}

    assert len(commands) == 2


async def test_the_request_and_what_is_written_of_it_stand_or_fall_together(acme: Connection) -> None:
    await acme.execute("ALTER TABLE sojourn.outbox ADD CHECK (key <> 'acme/s-1')")

    with pytest.raises(psycopg.errors.CheckViolation):
        await ask(acme, asked("s-1"))

    assert (await acts(acme), await outbox(acme)) == ([], [])


async def test_another_tenants_session_is_no_session(acme: Connection) -> None:
    (answer,) = await ask(acme, asked("s-theirs"))

    assert (answer.status, answer.broker, answer.detail) == ("refused", None, "no such session")


async def test_nothing_is_asked_for_a_tenant_that_does_not_exist(acme: Connection) -> None:
    with pytest.raises(NoSuchTenant):
        await ask(acme, asked("s-1"), tenant="initech")

    assert await acts(acme) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"session_ids": ()}, "names 1 to 1000 sessions, not: 0"),
        ({"session_ids": ("s",) * (SESSIONS_MAX + 1)}, "names 1 to 1000 sessions, not: 1001"),
        ({"session_ids": ("s\n1",)}, "no control characters, not: 's\\n1'"),
        ({"session_ids": ("",)}, "1 to 200 characters, no control characters, not: ''"),
        ({"session_ids": ("s" * 201,)}, "1 to 200 characters"),
        ({"reason": " "}, "a reason says why, and is kept with what was done; it cannot be blank"),
        ({"reason": "x" * 1001}, "a reason has at most 1000 characters, not: 1001"),
        ({"reason": "a\0"}, "a reason holds no NUL"),
        ({"message": "x" * 1001}, "a message has at most 1000 characters, not: 1001"),
        ({"kind": "send_message"}, "a message says something; it cannot be blank"),
        ({"expires_seconds": 0}, "expires after 1 to 3600 seconds, not: 0"),
        ({"expires_seconds": 3601}, "expires after 1 to 3600 seconds, not: 3601"),
    ],
)
def test_what_no_request_can_be_is_wrong_usage(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check(asked("s-1", **fields) if "session_ids" not in fields else asked(**fields), None)

    assert message in str(refused.value)


def test_a_key_that_is_too_long_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="has 1 to 200 characters, not: 201"):
        check(asked("s-1"), "k" * 201)


async def test_what_is_wrong_usage_is_not_written_down(acme: Connection) -> None:
    for request in (ask(acme, asked("s-1", reason=" ")), try_request(acme, "acme", asked())):
        with pytest.raises(UsageError):
            await request

    assert await acts(acme) == []


class Operator:
    """Whoever has nothing but the operator's role and one tenant, and writes SQL."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self._connection, self._tenant = connection, tenant

    async def run(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own."""
        async with self._connection.transaction():
            await self._connection.execute("SET LOCAL ROLE sojourn_operator")
            await self._connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [self._tenant])
            cursor = await self._connection.execute(query.encode(), values)
            return [] if cursor.description is None else await cursor.fetchall()


async def test_an_operator_with_sql_sees_one_tenant(acme: Connection) -> None:
    await ask(acme, asked("s-1"))
    await ask(acme, asked("s-1"), tenant="globex")
    operator = Operator(acme, "acme")

    for table in ("current_session", "session_event", "command", "admin_action", "tenant"):
        rows = await operator.run(f"SELECT DISTINCT tenant FROM sojourn.{table}")  # noqa: S608 - names of this test
        assert rows in ([("acme",)], []), table
    assert await operator.run("SELECT count(*) FROM sojourn.current_session") == [(1,)]


async def test_an_operator_with_sql_writes_no_act_of_another_tenant(acme: Connection) -> None:
    with pytest.raises(InsufficientPrivilege, match="row-level security"):
        await Operator(acme, "acme").run(
            "INSERT INTO sojourn.admin_action (tenant, action_id, at, actor, action, subject, result)"
            " VALUES ('globex', gen_random_uuid(), now(), 'ada', 'disconnect', '', '')"
        )


async def test_an_operator_with_sql_asks_for_nothing_but_commands_about_sessions_of_its_tenant(
    acme: Connection,
) -> None:
    await ask(acme, asked("s-1"))
    ((value,),) = await (await acme.execute("SELECT value FROM sojourn.outbox")).fetchall()
    put = (
        "INSERT INTO sojourn.outbox (topic, partition, epoch, key, value, created_at)"
        " VALUES (%s, 3, %s, 'acme/s-1', %s, now())"
    )
    operator = Operator(acme, "acme")

    await operator.run(put, LIFECYCLE, ANY_EPOCH, value)

    for topic, epoch, forged in (
        (LIFECYCLE, ANY_EPOCH, value.replace(b'"acme"', b'"globex"')),
        (LIFECYCLE, ANY_EPOCH, value.replace(b"session.disconnect_requested", b"session.lost")),
        (LIFECYCLE, ANY_EPOCH, value.replace(b"session.disconnect_requested", b"broker.source_bound")),
        (LIFECYCLE, 1, value),
        (COMMANDS, ANY_EPOCH, value),
    ):
        with pytest.raises(InsufficientPrivilege, match="row-level security"):
            await operator.run(put, topic, epoch, forged)
    with pytest.raises(InsufficientPrivilege, match="row-level security"):
        await Operator(acme, "globex").run(put, LIFECYCLE, ANY_EPOCH, value)
    assert len(await outbox(acme)) == 2


async def test_an_operator_with_sql_takes_nothing_back_and_reads_no_secret(acme: Connection) -> None:
    await ask(acme, asked("s-1"))

    for statement in (
        "UPDATE sojourn.admin_action SET actor = 'nobody'",
        "DELETE FROM sojourn.admin_action",
        "TRUNCATE sojourn.admin_action",
        "DELETE FROM sojourn.outbox",
        "UPDATE sojourn.outbox SET partition = 0",
        "SELECT FROM sojourn.outbox",
        "INSERT INTO sojourn_v1.command SELECT * FROM sojourn_v1.command",
        "UPDATE sojourn_v1.command SET state = 'confirmed'",
        "SELECT FROM sojourn.broker_token",
    ):
        with pytest.raises(InsufficientPrivilege, match="permission denied"):
            await Operator(acme, "acme").run(statement)


async def test_requests_have_no_more_rights_than_an_operator(acme: Connection) -> None:
    await acme.execute("REVOKE INSERT ON sojourn.outbox FROM sojourn_operator")

    with pytest.raises(InsufficientPrivilege, match="permission denied for table outbox"):
        await ask(acme, asked("s-1"))
