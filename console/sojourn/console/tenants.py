"""`sojourn tenants`: what holds for a tenant."""

from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from sojourn.console.accounts import account
from sojourn.console.opening import DataDir, Json, opened, opened_log
from sojourn.console.output import Columns, cell, seconds, write_json, write_line
from sojourn.consumers.sweep import GRACE_SECONDS, TIMEOUT_SECONDS
from sojourn.events.codec import Undecodable, decode, encode
from sojourn.events.decision_data import TenantConfiguredData
from sojourn.events.decisions import tenant_configured
from sojourn.events.errors import UsageError
from sojourn.events.publisher import Publisher
from sojourn.events.topics import LIFECYCLE
from sojourn.projections.read import as_auditor
from sojourn.projections.settings import tenant_settings

NONE = "no tenant yet: one exists from its first event on, or when it is set"


async def set_(
    tenant: Annotated[str, Parameter(help="The tenant.")],
    /,
    *,
    lost_after: Annotated[int | None, Parameter(help="Seconds without a heartbeat until a session is lost.")] = None,
    broker_lost_after: Annotated[
        list[str] | None, Parameter(negative="", help="The same for one broker: SOURCE=SECONDS; may be repeated.")
    ] = None,
    ended_after: Annotated[int | None, Parameter(help="Seconds until a lost session is taken to have ended.")] = None,
    internal_network: Annotated[
        list[str] | None, Parameter(negative="", help="A network of its own, like 10.0.0.0/8; may be repeated.")
    ] = None,
    time_zone: Annotated[str | None, Parameter(help="Its time zone, like Europe/Berlin.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Set what holds for a tenant from now on; what is left out is as by default again.

    Done when every partition of the log has it. Sessions that are open are judged by it, too.
    """
    timeouts = dict(map(_timeout, broker_lost_after or ()))
    setting = TenantConfiguredData(internal_network, lost_after, ended_after, timeouts, time_zone, account())
    try:
        value = encode(tenant_configured(tenant, setting, datetime.now(UTC)))
        decode(value)
    except Undecodable as error:
        raise UsageError(error.detail) from error
    async with opened_log(data_dir) as log:
        partitions = await log.partitions(LIFECYCLE)
        await Publisher(log).publish([value])
    if json:
        write_json({"tenant": tenant, "partitions": partitions} | _document(setting))
        return
    write_line(f"set for {cell(tenant)} in {partitions} partitions; `sojourn tenants list` shows what holds")


async def list_(*, json: Json = False, data_dir: DataDir = None) -> None:
    """List the tenants, and what holds for each."""
    async with (
        opened(data_dir) as (_, database, _),
        await database.connect() as connection,
        as_auditor(connection),
    ):
        found = await tenant_settings(connection)
    columns = Columns(("TENANT", "LOST AFTER", "BY BROKER", "ENDED AFTER", "INTERNAL NETWORKS", "TIME ZONE"))
    for tenant, setting in found:
        told = _document(setting)
        if json:
            write_json({"tenant": tenant} | told)
            continue
        by_broker = ", ".join(f"{source}: {seconds(of_one)}" for source, of_one in setting.timeouts.items())
        networks = ", ".join(setting.internal_networks or ()) or "private ones"
        lost_after, ended_after = seconds(told["heartbeat_timeout_seconds"]), seconds(told["lost_grace_seconds"])
        texts = (tenant, lost_after, by_broker or None, ended_after, networks, told["time_zone"])
        columns.write([cell(text) for text in texts])
    if not json:
        columns.close()
        if not found:
            write_line(NONE)


def _timeout(text: str) -> tuple[str, int]:
    source, _, number = text.rpartition("=")
    if not source or not number.isdecimal():
        raise UsageError(f"a broker's time-out is written like /brokers/eu-1=60, not: {text!r}")
    return source, int(number)


def _document(setting: TenantConfiguredData) -> dict[str, Any]:
    """Return what holds, with the defaults of what is left out."""
    grace = setting.lost_grace_seconds
    return {
        "heartbeat_timeout_seconds": setting.heartbeat_timeout_seconds or TIMEOUT_SECONDS,
        "timeouts": setting.timeouts,
        "lost_grace_seconds": GRACE_SECONDS if grace is None else grace,
        "internal_networks": setting.internal_networks,
        "time_zone": setting.time_zone or "UTC",
    }
