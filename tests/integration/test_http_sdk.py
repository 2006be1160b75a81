"""The broker SDK over HTTP against the real server, through everything that the two have to agree on."""

import asyncio
from pathlib import Path

import pytest

from sojourn.events.broker.broker import Broker
from sojourn.events.broker.transports import http_transport
from sojourn.events.types import (
    Alive,
    Desktop,
    Destroyed,
    DisconnectAcknowledged,
    DisconnectDelivered,
    Established,
    EstablishedData,
    Heartbeats,
    Terminal,
    User,
)
from tests.integration.gateway_steps import WAIT_SECONDS_MAX, Served, served, source

__all__ = ["served", "source"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

DATA = EstablishedData(
    User("u-1", "Žofie"), Desktop("d-1", "D", "p"), Terminal("mobile", "iOS", "1", ""), "10.0.0.1", "rdp"
)


async def test_a_broker_that_uses_the_sdk_tells_of_its_sessions_and_carries_out_a_command(
    served: Served, source: str, tmp_path: Path
) -> None:
    transport = http_transport(f"http://127.0.0.1:{served.port}", await served.token(source, tenants=["acme"]))
    async with asyncio.timeout(WAIT_SECONDS_MAX), Broker(source, transport, spool=tmp_path / "spool") as broker:
        broker.keep_beating(lambda: [("acme", "s-1")])
        await broker.established("acme", "s-1", DATA)
        await broker.established("globex", "s-2", DATA)
        await broker.drained()
        command_id = await served.command(source)

        command = await anext(broker.commands())
        await command.acknowledge()
        await broker.destroyed("acme", "s-1", "admin_disconnect", command=command.id)
        await broker.drained()
        while not {Alive, Heartbeats} < {type(event) for event in await served.appended(source)}:  # noqa: ASYNC110 - as `until`
            await asyncio.sleep(0.02)

    assert command.id == command_id
    events = await served.appended(source)
    assert [type(event) for event in events if not isinstance(event, Alive | Heartbeats)] == [
        Established,
        DisconnectDelivered,
        DisconnectAcknowledged,
        Destroyed,
    ]
    rejected = (tmp_path / "spool" / "rejected.ndjson").read_text()
    assert "tenant_mismatch" in rejected
    assert rejected.count("\n") == 1
