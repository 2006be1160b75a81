"""The log port: an ordered, partitioned record of events that outlives every reader."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]


class Append(NamedTuple):
    """One record to append; `partition` is explicit, since one session lives in one partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers = ()


class Record(NamedTuple):
    """One record as the log keeps it; `appended_at` is UTC and never falls within a partition.

    A value or a header that its producer left out (null) is empty: it decodes to no event, and becomes a dead letter.
    """

    topic: str
    partition: int
    offset: int
    appended_at: datetime
    key: bytes | None
    value: bytes
    headers: Headers


class Batch(NamedTuple):
    """Consecutive records of one partition; `next_offset` is where to read on, also when it is empty."""

    topic: str
    partition: int
    records: Sequence[Record]
    next_offset: int


class Log(Protocol):
    """What Sojourn asks of a log. `tests/contract/log_contract.py` holds every adapter to it."""

    async def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has."""

    async def append(self, appends: Sequence[Append]) -> list[int]:
        """Append durably and return the offsets, in the order given.

        When it returns, all are acknowledged. When it raises, each partition's part was appended whole or not at all,
        and a caller that appends again may double it: readers judge identity (design: duplicates). More than the log
        takes at once is refused before anything is appended.
        """

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:
        """Read up to `records_max` records from `offset` on, without waiting for more.

        Only what is committed. Offsets may be missing where other producers use transactions. Raises
        `OffsetOutOfRange` when `offset` is below the start or above the end.
        """

    async def start_offsets(self, topic: str) -> dict[int, int]:
        """Return the first kept offset of each partition."""

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """Return where a reader of all that is committed ends: at the next record's offset, but for transactions."""

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:
        """Return as soon as a (topic, partition) holds a record at or past its offset, or when the time is over."""

    async def close(self) -> None:
        """Let go of connections; nothing acknowledged is lost."""
