"""`sojourn simulate`: believable days of sessions, published at once or as their time goes by."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from sojourn.console.opening import DataDir, Json, opened
from sojourn.console.output import write_json, write_line
from sojourn.console.progress import progress_bar
from sojourn.events.errors import SojournError
from sojourn.events.publisher import Publisher
from sojourn.events.simulator.plan import Plan, plan_simulation
from sojourn.events.simulator.play import play, timeline
from sojourn.events.simulator.truth import truth_lines

TENANTS_MAX = 1000  # each has its own people and habits in memory
BROKERS_MAX = 1000  # each says every ten seconds that it is alive


def _now() -> datetime:
    return datetime.now(UTC)


async def simulate(
    *,
    sessions: Annotated[int, Parameter(help="How many sessions begin in these days.")],
    seed: Annotated[int, Parameter(help="The same seed and end give the same events.")],
    brokers: Annotated[int, Parameter(help="How many brokers.", validator=Number(gte=1, lte=BROKERS_MAX))] = 4,
    tenants: Annotated[int, Parameter(help="How many tenants.", validator=Number(gte=1, lte=TENANTS_MAX))] = 3,
    speed: Annotated[float | None, Parameter(help="Play the days so many times faster than they were.")] = None,
    truth: Annotated[Path | None, Parameter(help="Write what really happened, one JSON object a session.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Publish believable days of simulated sessions that end now."""
    end = _now()
    plan = plan_simulation(seed, sessions, end, tenants=tenants, brokers=brokers)
    if truth is not None:
        await asyncio.to_thread(_write_truth, plan, end, truth)
    async with opened(data_dir) as (_, _, log):
        publisher, done = Publisher(log), 0
        with progress_bar("publishing", None) as advance:

            async def publish(values: Sequence[bytes]) -> int:
                nonlocal done
                done += await publisher.publish(values)
                advance(done)
                return len(values)

            published = await play(timeline(plan, end, speed), speed, _now, asyncio.sleep, publish)
    if json:
        write_json({"published": published, "sessions": sessions, "until": end})
    else:
        write_line(f"published {published} events of {sessions} sessions up to {end:%Y-%m-%d %H:%M:%S} UTC")


def _write_truth(plan: Plan, end: datetime, path: Path) -> None:
    try:
        with path.open("wb") as file:
            file.writelines(truth_lines(plan, end))
    except OSError as error:
        raise SojournError(f"cannot write the truth ({error.strerror}): {path}") from error
