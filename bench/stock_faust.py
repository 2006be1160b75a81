"""The peer: an agent of stock Faust, with its own transport and Kafka's offsets, that writes by the same SQL."""

import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, cast

import faust
import structlog
from faust import Worker

from sojourn.console.logs import log_lines
from sojourn.consumers.liveness import Liveness, Opened
from sojourn.consumers.sweep import TIMEOUT_SECONDS
from sojourn.consumers.writers import Writer
from sojourn.events.embedded.database import Database, open_database
from sojourn.events.log import Record
from sojourn.events.settings import Settings
from sojourn.events.topics import LIFECYCLE, PARTITIONS_DEFAULT
from sojourn.projections.decided import NOTHING_DECIDED
from sojourn.projections.facts import Fact, Key, judge_lifecycle
from sojourn.projections.fold import Changes, fold
from sojourn.projections.session import Session
from sojourn.projections.store import (
    apply_changes,
    as_projector,
    count_dispositions,
    ensure_months,
    load_sessions,
    stage_changes,
)

TAKE_MAX: Final = 2000  # as many as the worker's batches hold
TAKE_SECONDS: Final = 0.1

_log = structlog.get_logger("bench.stock_faust")


class Projection:
    """Folds and writes what the agent has taken, of all partitions, in one transaction; neither epoch nor position."""

    def __init__(self, database: Database) -> None:
        self._writer = Writer(database)
        self._liveness: defaultdict[int, Liveness] = defaultdict(lambda: Liveness({}, {}))
        self._months: set[date] = set()

    async def apply(self, records: Sequence[Record]) -> None:
        """Apply what one take holds."""
        judged = judge_lifecycle(records, PARTITIONS_DEFAULT, NOTHING_DECIDED)
        places = {item.key: item.record.partition for item in judged if isinstance(item, Fact)}
        async with self._writer.use() as connection:
            months = {record.appended_at.date().replace(day=1) for record in records} - self._months
            await ensure_months(connection, months)
            self._months |= months
            states: dict[Key, Session] = {}
            for number in set(places.values()):
                here = [key for key, place in places.items() if place == number]
                states |= await load_sessions(connection, number, here, records[0].appended_at)
            changes = fold(states, judged)
            live, slots = self._slots(changes, places)
            async with as_projector(connection):
                await stage_changes(connection, changes, live, slots)
                await apply_changes(connection, changes)
                await count_dispositions(connection, LIFECYCLE, 0, changes.dispositions)
        self._settle(changes, places, slots, records[-1].appended_at)

    def _slots(self, changes: Changes, places: dict[Key, int]) -> tuple[dict[Key, int], dict[Key, int]]:
        """Return the slots of the live sessions that are concerned, and new ones for those that open."""
        live, opening = dict[Key, int](), defaultdict[int, list[Key]](list)
        for key, state in changes.sessions.items():
            slot = self._liveness[places[key]].slots.get(key)
            if slot is not None:
                live[key] = slot
            elif state.logout is None:
                opening[places[key]].append(key)
        slots = dict[Key, int]()
        for number, here in opening.items():
            slots |= self._liveness[number].reserve(here)
        return live, slots

    def _settle(self, changes: Changes, places: dict[Key, int], slots: dict[Key, int], at: datetime) -> None:
        opened = defaultdict[int, dict[Key, Opened]](dict)
        closed = defaultdict[int, list[Key]](list)
        for key, state in changes.sessions.items():
            number = places[key]
            if key in slots:
                opened[number][key] = Opened(slots[key], at, 0, TIMEOUT_SECONDS, None)
            elif state.logout is not None and key in self._liveness[number].slots:
                closed[number].append(key)
        for number in opened.keys() | closed.keys():
            self._liveness[number].settle(opened[number], closed[number])


def _record(message: Any) -> Record:
    appended_at = datetime.fromtimestamp(message.timestamp, UTC)
    return Record(message.topic, message.partition, message.offset, appended_at, message.key, message.value, ())


def application(settings: Settings, database: Database, folder: str) -> faust.App:
    """Return the application: an agent over events, as Faust's documentation shows it."""
    assert settings.kafka is not None
    app = faust.App(
        "bench-stock-faust",
        broker=f"kafka://{settings.kafka.bootstrap_servers}",
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        store="memory://",
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    projection = Projection(database)

    async def project(stream: Any) -> None:
        async for events in stream.take_events(TAKE_MAX, within=TAKE_SECONDS):
            await projection.apply([_record(event.message) for event in events])

    topic = app.topic(LIFECYCLE, key_serializer="raw", value_serializer="raw")
    app.agent(topic, name="bench.project")(project)

    async def tell(_app: Any, assigned: Any, **_: Any) -> None:
        _log.info("worker.assigned", partitions=sorted(place.partition for place in assigned))

    cast("Any", app.on_partitions_assigned).connect(tell)
    return app


def main() -> None:
    """Run until SIGTERM."""
    log_lines("stock")
    settings = Settings.from_environment(os.environ)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    database = loop.run_until_complete(open_database(settings))
    with tempfile.TemporaryDirectory() as folder:
        app = application(settings, database, str(Path(folder)))
        Worker(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
