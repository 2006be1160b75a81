"""The brokers of `sojourn up --demo`: two weeks at once, then on in real time, across restarts."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog
from msgspec import Struct

from sojourn.events.codec import encode
from sojourn.events.errors import SojournError, Unreachable
from sojourn.events.log import Log
from sojourn.events.publisher import Publisher
from sojourn.events.simulator.obey import Obedience
from sojourn.events.simulator.plan import Plan, instant_at, milliseconds
from sojourn.events.simulator.play import BATCH_EVENTS_MAX, Clock, Sleep
from sojourn.events.simulator.stream import BACKFILL_BEATS, Beats, Happening, events, happenings
from sojourn.events.simulator.truth import truth_line
from sojourn.events.simulator.world import build_world
from sojourn.events.types import Event

SEED: Final = 1
TENANTS: Final = 3  # acme, globex and initech, so that it is office time somewhere at any hour
BROKERS: Final = 4
PEOPLE: Final = 800  # about 270 of acme's connected in office time, two dozen at night; 1 500 sessions a day in all
BACKFILL: Final = timedelta(days=14)

PROGRESS_FILE: Final = "demo.json"
TRUTH_FILE: Final = "demo-truth.ndjson"
SAVE_SECONDS: Final = 5.0  # of events that a kill makes to be published again, as duplicates
TRUTH_LINE_BYTES_MAX: Final = 4096  # made of names of ours; a real one has 450
BACKOFF_SECONDS_MIN: Final = 0.2  # a fast restart takes a tenth of a second
BACKOFF_SECONDS_MAX: Final = 5.0  # a database that restarts is back within seconds

_log = structlog.get_logger("sojourn.demo")


class Progress(Struct, frozen=True):
    """When the demo was first started, and before which instant all its events are acknowledged."""

    origin: datetime
    published_to: datetime


def demo_plan(origin: datetime) -> Plan:
    """Return the sessions of a demo first started at `origin`; that only decides where its past begins and ends.

    Ends are missing only from then on: those of the past would all be found missing at once, and fill the first list.
    """
    world = build_world(SEED, PEOPLE, TENANTS, BROKERS)
    return Plan(world, (milliseconds(origin - BACKFILL), ""), milliseconds(origin))


def demo_events(origin: datetime, since: datetime, until: datetime | None, beats_since: datetime) -> Iterator[Event]:
    """Yield the demo's events from `since` on and before `until`, heartbeats from `beats_since` on."""
    return events(demo_plan(origin), since, until, Beats(beats_since))


async def run_demo(log: Log, directory: Path, clock: Clock, sleep: Sleep, stopping: asyncio.Event) -> None:
    """Publish the demo from where it was left, until `stopping` is set.

    What fell into a pause is published late, without its heartbeats. Nothing is skipped; what a kill leaves unsaved
    is published again under the same ids.
    """
    now = clock()
    progress = _load(directory / PROGRESS_FILE) or Progress(now, now - BACKFILL)
    beats = Beats(now - timedelta(milliseconds=BACKFILL_BEATS))
    plan = demo_plan(progress.origin)
    with _open_truth(directory / TRUTH_FILE) as truth:
        station = _Station(log, directory, truth, progress, clock, sleep, stopping)
        station.save()  # a kill must not lose the origin: sessions of a lost past would never end
        obedience = Obedience(log, directory, truth, plan, clock)
        batch: list[Happening] = []
        async with obedience.working():
            for happening in happenings(plan, progress.published_to, None, beats):
                while (wait := (happening.moment - milliseconds(clock())) / 1000) > 0 and not stopping.is_set():
                    if batch:
                        await station.publish(batch, happening.moment)
                        batch = []
                    else:
                        await _pause(wait, sleep, stopping)
                if len(batch) == BATCH_EVENTS_MAX:
                    await station.publish(batch, happening.moment)
                    batch = []
                if stopping.is_set():
                    break
                batch.append(obedience.after(happening))
        station.save()


class _Station:
    """What publishes the demo and remembers how far it came."""

    def __init__(
        self,
        log: Log,
        directory: Path,
        truth: BinaryIO,
        progress: Progress,
        clock: Clock,
        sleep: Sleep,
        stopping: asyncio.Event,
    ) -> None:
        self._publisher = Publisher(log)
        self._path = directory / PROGRESS_FILE
        self._truth, self._progress, self._saved_at = truth, progress, clock()
        self._clock, self._sleep, self._stopping = clock, sleep, stopping

    async def publish(self, batch: Sequence[Happening], before: int) -> None:
        """Publish all that happened before a moment, again and again while the log cannot be reached."""
        values = [encode(happening.event) for happening in batch if happening.event is not None]
        lines = [truth_line(what.session, what.moment + 1) for what in batch if what.session is not None]
        seconds = BACKOFF_SECONDS_MIN
        while not self._stopping.is_set():
            try:
                if values:
                    await self._publisher.publish(values)
                self._truth.write(b"".join(lines))
                self._truth.flush()
            except (Unreachable, OSError) as error:
                _log.warning("demo.retry", error=str(error), seconds=seconds)
                await _pause(seconds, self._sleep, self._stopping)
                seconds = min(BACKOFF_SECONDS_MAX, 2 * seconds)
                continue
            self._progress = Progress(self._progress.origin, instant_at(before))
            if (self._clock() - self._saved_at).total_seconds() >= SAVE_SECONDS:
                await asyncio.to_thread(self.save)  # waits for the disk
            return

    def save(self) -> None:
        """Write the progress; where that fails, more is published again after the next start."""
        self._saved_at = self._clock()
        temporary = self._path.with_suffix(".tmp")
        try:
            os.fsync(self._truth.fileno())
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(self._progress))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("demo.progress_not_saved", error=str(error))


def _load(path: Path) -> Progress | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise SojournError(f"the demo's progress cannot be read ({error}); remove it to begin anew: {path}") from error


def _open_truth(path: Path) -> BinaryIO:
    """Open the file to append to it, without the half line that a kill may have left."""
    file = path.open("a+b")
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - TRUTH_LINE_BYTES_MAX))
    tail = file.read()
    file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
    return file


async def _pause(seconds: float, sleep: Sleep, stopping: asyncio.Event) -> None:
    """Sleep, but no longer than until `stopping` is set."""
    ways = [asyncio.ensure_future(sleep(seconds)), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
