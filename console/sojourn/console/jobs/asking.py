"""What people ask about exports, of the API or of the pages: judged, done and written down in one transaction."""

from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import Final, TypeVar
from uuid import UUID

from msgspec import Struct

from sojourn.console.http.problems import Problem, too_many
from sojourn.console.jobs.acts import write_act
from sojourn.console.jobs.orders import Order, refused
from sojourn.console.jobs.periods import TIME_OF_DAY, Every
from sojourn.console.jobs.schedules import end_schedule, insert_schedule, list_schedules, zone_of
from sojourn.console.jobs.store import Job, cancel_job, count_open, has_taken, insert_job, load_job, new_id
from sojourn.console.site.access import no_such_tenant
from sojourn.console.site.names import is_readable
from sojourn.console.site.principal import Principal
from sojourn.console.site.site import Connection, Site
from sojourn.projections.requests import KEY_CHARACTERS_MAX

OPEN_JOBS_MAX: Final = 20  # of a tenant; one runs at a time, so that more would wait for hours
SCHEDULES_MAX: Final = 50  # of a tenant: a page that one reads
NAME_CHARACTERS_MAX: Final = 100  # of a schedule: fits a line
RETRY_SECONDS: Final = 60  # until one of twenty exports has ended

Done = TypeVar("Done")
MakeOrder = Callable[[tzinfo], Order]  # from what was sent, with the tenant's zone; raises the problem that it is wrong


class Timing(Struct, frozen=True):
    """When a schedule runs, and what it is called."""

    name: str
    every: Every
    time_of_day: str


async def ask(site: Site, principal: Principal, make: MakeOrder, key: str | None = None) -> Job:
    """Ask for an export; a repeat under the same key returns the first. Raises the problem that it is refused."""
    tenant = principal.tenant

    async def do(connection: Connection) -> Job:
        if key is not None and not 1 <= len(key) <= KEY_CHARACTERS_MAX:
            raise refused("Idempotency-Key", f"a key has 1 to {KEY_CHARACTERS_MAX} characters")
        order = make(await _zone(connection, tenant))
        job_id = new_id(tenant, key)
        job = await load_job(connection, tenant, job_id)
        if job is None:
            if await count_open(connection, tenant) >= OPEN_JOBS_MAX:
                detail = f"{OPEN_JOBS_MAX} exports wait or run already; cancel some, or wait for them"
                raise too_many(RETRY_SECONDS, detail)
            await insert_job(connection, tenant, job_id, order, principal.actor)  # waits for another with this key
            job = await load_job(connection, tenant, job_id)
            assert job is not None
        if not job.is_of(order):
            detail = "the key was used for another export; choose another key"
            raise Problem(422, "key-taken", "this idempotency key was used", detail)
        await write_act(
            connection, tenant, principal.actor, principal.origin, "export", str(job_id), order, action_id=job_id
        )
        return job

    return await _written_down(site, principal, "export", "", do)


async def cancel(site: Site, principal: Principal, job_id: UUID) -> Job:
    """Cancel an export; raises the problem that there is none, or that it has ended."""

    async def do(connection: Connection) -> Job:
        was = await load_job(connection, principal.tenant, job_id)
        if was is None:
            raise no_such_export()
        if not await cancel_job(connection, principal.tenant, job_id):
            raise Problem(409, "export-ended", "the export has ended", f"it is {was.state}; nothing was cancelled")
        await write_act(connection, principal.tenant, principal.actor, principal.origin, "export_cancel", str(job_id))
        job = await load_job(connection, principal.tenant, job_id)
        assert job is not None
        return job

    return await _written_down(site, principal, "export_cancel", str(job_id), do)


async def done_job(
    site: Site, principal: Principal, job_id: UUID, take: str | None = None, *, goes_on: bool = False
) -> Job:
    """Return an export whose files are there; `take` names the file that somebody takes away.

    What goes on is no new act, if the same one has begun it: whoever leaves out the first byte has taken all the same.
    """

    async def do(connection: Connection) -> Job:
        job = await load_job(connection, principal.tenant, job_id)
        if job is None:
            raise no_such_export()
        if job.state == "expired":
            raise Problem(410, "export-expired", "the files were kept for a week", "ask for the export again")
        if job.state != "done":
            raise Problem(409, "export-not-done", "the export has no files", f"it is {job.state}")
        subject = f"{job_id} {take}"
        if take is not None and not (goes_on and await has_taken(connection, job, principal.actor, subject)):
            await write_act(connection, principal.tenant, principal.actor, principal.origin, "export_download", subject)
        return job

    return await _written_down(site, principal, "export_download", str(job_id), do)


async def begin_schedule(site: Site, principal: Principal, timing: Timing, make: MakeOrder) -> UUID:
    """Export whenever a period is over; raises the problem that it is refused."""
    tenant = principal.tenant

    async def do(connection: Connection) -> UUID:
        if len(timing.name) > NAME_CHARACTERS_MAX or not is_readable(timing.name):
            raise refused("name", f"a schedule's name has 1 to {NAME_CHARACTERS_MAX} characters")
        if not TIME_OF_DAY.fullmatch(timing.time_of_day):
            raise refused("time_of_day", f"a time of day is written like 06:30, not: {timing.time_of_day!r}")
        order = make(await _zone(connection, tenant))
        if order.dataset != "history" or order.filter.from_at is not None or order.filter.to_at is not None:
            raise refused("filter", "a schedule exports the history of its day, week or month; leave the range out")
        if len(await list_schedules(connection, tenant)) >= SCHEDULES_MAX:
            raise Problem(409, "too-many-schedules", f"{SCHEDULES_MAX} schedules go on already", "end one first")
        name = timing.name.strip()
        found = await insert_schedule(
            connection, tenant, name, order, timing.every, timing.time_of_day, principal.actor
        )
        if found is None:
            raise Problem(409, "name-taken", "a schedule has this name", "choose another name, or end that one first")
        await write_act(connection, tenant, principal.actor, principal.origin, "export_schedule", name, order)
        return found

    subject = timing.name[:NAME_CHARACTERS_MAX] if is_readable(timing.name) else ""
    return await _written_down(site, principal, "export_schedule", subject, do)


async def stop_schedule(site: Site, principal: Principal, schedule_id: UUID) -> None:
    """Export no more by a schedule; raises the problem that none goes on."""

    async def do(connection: Connection) -> None:
        name = await end_schedule(connection, principal.tenant, schedule_id)
        if name is None:
            raise Problem(404, "no-such-schedule", "no such schedule", "there is none of this id that goes on")
        await write_act(connection, principal.tenant, principal.actor, principal.origin, "export_schedule_end", name)

    await _written_down(site, principal, "export_schedule_end", str(schedule_id), do)


def no_such_export() -> Problem:
    """Return the answer to an export that does not exist, or is another tenant's."""
    return Problem(404, "no-such-export", "no such export", "there is none of this id that you may see")


async def _written_down(
    site: Site, principal: Principal, action: str, subject: str, do: Callable[[Connection], Awaitable[Done]]
) -> Done:
    """Do something that writes itself down; where it is refused, write that down."""
    async with site.console(principal.tenant) as connection:
        try:
            async with connection.transaction():
                return await do(connection)
        except Problem as problem:
            why = f"{problem.title}: {problem.detail}"
            await write_act(
                connection, principal.tenant, principal.actor, principal.origin, action, subject, refusal=why
            )
            refusal = problem
    raise refusal


async def _zone(connection: Connection, tenant: str) -> tzinfo:
    cursor = await connection.execute("SELECT FROM tenant WHERE tenant = %s", [tenant])
    if cursor.rowcount == 0:
        raise no_such_tenant()
    return await zone_of(connection, tenant)
