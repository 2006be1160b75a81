"""Schedules: rows that ask for the export of a day, week or month once it is over; every period once, none left out."""

import uuid
from datetime import UTC, date, datetime, tzinfo
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sojourn.console.jobs.acts import write_act
from sojourn.console.jobs.orders import Order
from sojourn.console.jobs.periods import Every, due_at, first_day, next_day, period
from sojourn.console.jobs.store import as_exporter, filter_row, insert_job, statement
from sojourn.console.site.site import Connection, Site
from sojourn.events.errors import Unreachable
from sojourn.exporters.dataset import FileFormat
from sojourn.projections.read import HistoryFilter

_log = structlog.get_logger("sojourn.exports")


class Schedule(NamedTuple):
    """A row of export_schedule; `next_day` is the tenant's day of the next run."""

    schedule_id: UUID
    name: str
    dataset: str
    format: FileFormat
    neutralised: bool
    filter: dict[str, Any]
    every: Every
    time_of_day: str
    destination: str | None
    created_at: datetime
    created_by: str
    next_day: date
    next_at: datetime


async def zone_of(connection: Connection, tenant: str) -> tzinfo:
    """Return the time zone of a tenant."""
    cursor = await connection.execute("SELECT time_zone FROM tenant WHERE tenant = %s", [tenant])
    row = await cursor.fetchone()
    return ZoneInfo(row[0]) if row is not None and row[0] else UTC


async def insert_schedule(
    connection: Connection, tenant: str, name: str, order: Order, every: Every, time_of_day: str, created_by: str
) -> UUID | None:
    """Begin a schedule, with the period that is over next; return None where an open one has this name."""
    zone = await zone_of(connection, tenant)
    day = first_day(every, time_of_day, zone, await _now(connection))
    schedule_id = uuid.uuid4()
    values = {
        "tenant": tenant,
        "schedule_id": schedule_id,
        "name": name,
        "format": order.format,
        "neutralised": order.neutralised,
        "filter": Jsonb(filter_row(order.filter)),
        "every": every,
        "time_of_day": time_of_day,
        "destination": order.destination,
        "created_by": created_by,
        "next_day": day,
        "next_at": due_at(day, time_of_day, zone),
    }
    cursor = await connection.execute(statement("insert_schedule"), values)
    return schedule_id if cursor.rowcount == 1 else None


async def list_schedules(connection: Connection, tenant: str) -> list[Schedule]:
    """Return the schedules that go on, by name."""
    return await _schedules(connection, "list_schedules", tenant)


async def end_schedule(connection: Connection, tenant: str, schedule_id: UUID) -> str | None:
    """End a schedule and return its name; None where none goes on."""
    values = {"tenant": tenant, "schedule_id": schedule_id}
    row = await (await connection.execute(statement("end_schedule"), values)).fetchone()
    return None if row is None else row[0]


async def run_due(site: Site) -> None:
    """Ask for the exports whose time has come, those included that fell into a time when nothing ran."""
    async with as_exporter(site) as connection:
        tenants = [tenant for (tenant,) in await (await connection.execute(statement("due_tenants"))).fetchall()]
    for tenant in tenants:
        try:
            await _run_tenant(site, tenant)
        except Unreachable:
            raise
        except Exception as error:  # noqa: BLE001 - one tenant's row must not keep the exports of all others waiting
            _log.error("export.schedules_failed", tenant=tenant, error=type(error).__name__, reason=str(error))


async def _run_tenant(site: Site, tenant: str) -> None:
    async with site.console(tenant) as connection:
        zone, now = await zone_of(connection, tenant), await _now(connection)
        for schedule in await _schedules(connection, "due_schedules", tenant):
            await _run(connection, tenant, schedule, zone, now)


async def _run(connection: Connection, tenant: str, schedule: Schedule, zone: tzinfo, now: datetime) -> None:
    """Ask for every period that is over, and move the schedule on, in the transaction that holds its row."""
    day = schedule.next_day
    while due_at(day, schedule.time_of_day, zone) <= now:
        over = period(schedule.every, day, zone)
        filters = msgspec.structs.replace(
            msgspec.convert(schedule.filter, HistoryFilter), from_at=over.from_at, to_at=over.to_at
        )
        order = Order("history", schedule.format, schedule.neutralised, filters, schedule.destination)
        job_id = uuid.uuid5(schedule.schedule_id, day.isoformat())  # one a period, whoever asks for it
        actor = f"schedule {schedule.name}"
        if await insert_job(connection, tenant, job_id, order, actor, schedule.schedule_id):
            await write_act(connection, tenant, actor, None, "export", str(job_id), order, action_id=job_id)
        day = next_day(schedule.every, day)
    values = {
        "tenant": tenant,
        "schedule_id": schedule.schedule_id,
        "next_day": day,
        "next_at": due_at(day, schedule.time_of_day, zone),
    }
    await connection.execute(statement("move_schedule"), values)


async def _schedules(connection: Connection, name: str, tenant: str) -> list[Schedule]:
    async with connection.cursor(row_factory=class_row(Schedule)) as cursor:
        await cursor.execute(statement(name), {"tenant": tenant})
        return await cursor.fetchall()


async def _now(connection: Connection) -> datetime:
    row = await (await connection.execute("SELECT now()")).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now
