"""`sojourn simulate`: believable days of sessions, published at once or as their time goes by."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from sojourn.console.opening import DataDir, Json, opened_log
from sojourn.console.output import write_json, write_line
from sojourn.console.progress import progress_bar
from sojourn.events.errors import SojournError
from sojourn.events.publisher import Publisher
from sojourn.events.simulator.plan import Plan, milliseconds, plan_simulation
from sojourn.events.simulator.play import play, timeline
from sojourn.events.simulator.truth import truth_lines
from sojourn.events.types import Event

TENANTS_MAX = 1000  # each has its own people and habits in memory
SPEED_MAX = 1_000_000  # a working week in less than a second; without --speed all comes at once
BROKERS_MAX = 1000  # each says every ten seconds that it is alive
WATCHED_EVENTS = 500  # between two moves of the progress bar: a hundredth of a second


def _now() -> datetime:
    return datetime.now(UTC)


def simulate(
    *,
    sessions: Annotated[int, Parameter(help="How many sessions begin in these days.")],
    seed: Annotated[int, Parameter(help="The same seed and end give the same events.")],
    brokers: Annotated[int, Parameter(help="How many brokers.", validator=Number(gte=1, lte=BROKERS_MAX))] = 4,
    tenants: Annotated[int, Parameter(help="How many tenants.", validator=Number(gte=1, lte=TENANTS_MAX))] = 3,
    speed: Annotated[
        float | None,
        Parameter(help="Play the days so many times faster than they were.", validator=Number(gt=0, lte=SPEED_MAX)),
    ] = None,
    truth: Annotated[Path | None, Parameter(help="Write what really happened, one JSON object a session.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Publish believable days of simulated sessions that end now."""
    end = _now()
    plan = plan_simulation(seed, sessions, end, tenants=tenants, brokers=brokers)
    with _writing_truth(plan, end, truth):
        published = asyncio.run(_publish(plan, end, speed, data_dir))
    if json:
        write_json({"published": published, "sessions": sessions, "until": end})
    else:
        write_line(f"published {published} events of {sessions} sessions up to {end:%Y-%m-%d %H:%M:%S} UTC")


async def _publish(plan: Plan, end: datetime, speed: float | None, data_dir: Path | None) -> int:
    async with opened_log(data_dir) as log:
        with progress_bar("publishing", milliseconds(end) - plan.begin[0]) as advance:
            events = _watched(timeline(plan, end, speed), lambda moment: advance(moment - plan.begin[0]))
            return await play(events, speed, _now, asyncio.sleep, Publisher(log).publish)


def _watched(timeline: Iterator[Event], reached: Callable[[int], None]) -> Iterator[Event]:
    """Tell how far the simulated time has come."""
    for number, event in enumerate(timeline):
        if number % WATCHED_EVENTS == 0:
            reached(milliseconds(event.time))
        yield event


@contextmanager
def _writing_truth(plan: Plan, end: datetime, path: Path | None) -> Iterator[None]:
    """Write the truth beside `path` first, and let it appear there when the block, which makes it true, has ended."""
    if path is None:
        yield
        return
    path = path.resolve()
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with _explained(path):
            if path.exists() and not path.is_file():
                raise OSError(errno.EEXIST, "this is no file")
            with unfinished.open("wb") as file:
                file.writelines(truth_lines(plan, end))
        yield
        with _explained(path):
            unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SojournError(f"cannot write the truth ({str(error.strerror).lower()}): {path}") from error
