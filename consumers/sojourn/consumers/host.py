"""The asyncio host: owns all partitions of the embedded log and keeps them moving until it is told to stop."""

import asyncio
from typing import Final

from sojourn.consumers.keeper import Keeper
from sojourn.consumers.partition import Partition
from sojourn.consumers.sight import Sight
from sojourn.consumers.writers import Writer
from sojourn.events.embedded.database import Database
from sojourn.events.errors import SojournError
from sojourn.events.log import Log
from sojourn.events.topics import LIFECYCLE
from sojourn.projections.owners import hold

WRITERS: Final = 3  # two cores: one folds while PostgreSQL works for the others


class Host:
    """Projects all partitions of a log in one process."""

    def __init__(self, database: Database, log: Log, owner: str) -> None:
        self._log, self._owner = log, owner
        self._writers = [Writer(database) for _ in range(WRITERS)]
        self._holder, self._looker = Writer(database), Writer(database)
        self._keepers: list[Keeper] = []

    @property
    def partitions(self) -> dict[int, Partition]:
        """The partitions that are owned and moving."""
        return {keeper.number: keeper.partition for keeper in self._keepers if keeper.partition is not None}

    async def run(self, stopping: asyncio.Event) -> None:
        """Project until `stopping` is set; then finish the batches in hand and write what is in memory.

        Raises `Fenced`, `LogChanged` or what else no retry can mend.
        """
        count = await self._log.partitions(LIFECYCLE)
        sight = Sight(self._log, self._looker)
        self._keepers = [
            Keeper(number, count, self._owner, self._log, self._log, self._writers[number % WRITERS], self._hold, sight)
            for number in range(count)
        ]
        watching = asyncio.create_task(sight.watch())
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for keeper in self._keepers:
                    tasks.create_task(keeper.keep(stopping), name=f"partition-{keeper.number}")
        except* SojournError as failures:
            # Raised here, some versions of Python 3.11 would put it into a group again.
            failure = failures.exceptions[0]
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            for writer in [*self._writers, self._holder, self._looker]:
                await writer.close()
        if failure is not None:
            stopping.set()
            raise failure

    async def _hold(self, number: int) -> None:
        """Lock a partition against other processes for as long as this one lives; raises `OwnedElsewhere`."""
        async with self._holder.use() as connection:
            for held in {number, *self.partitions}:  # a connection opened anew holds nothing yet
                await hold(connection, held)
