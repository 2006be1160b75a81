"""Reading one partition of Kafka on and on: only what is committed, without waiting for more."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final, NamedTuple

from aiokafka import errors
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from sojourn.events.errors import SojournError
from sojourn.events.kafka.brokers import Brokers, raise_for, reason_of
from sojourn.events.kafka.header_names import with_readable_names
from sojourn.events.log import Headers, Record

FETCH_BYTES: Final = 2 << 20  # thousands of records; a larger record comes alone, whole
READ_COMMITTED: Final = 1  # Kafka's number for it

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_MAX: Final = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)  # of datetime


class Unreadable(SojournError):
    """Kafka gives bytes that are no records"""


class OutOfRange(Exception):
    """The broker says that it does not hold this offset; never leaves this package."""


class _Fetched(NamedTuple):
    content: bytes
    records: Any  # MemoryRecords of aiokafka, which takes them from the content
    aborted: list[tuple[int, int]]  # producer id, first offset
    end: int  # last stable offset


class Cursor:
    """Where one reader of a partition stands, with what was fetched for it and not read yet."""

    def __init__(self, brokers: Brokers, topic: str, partition: int, offset: int) -> None:
        self.next_offset = offset
        self.used_at = time.monotonic()
        self._brokers, self._topic, self._partition = brokers, topic, partition
        self._records: Iterator[Record] | None = None
        self._end = offset
        self._ahead: asyncio.Task[_Fetched] | None = None

    @property
    def holds_records(self) -> bool:
        """Tell whether reading on here needs less than a new fetch."""
        return self._records is not None or self._ahead is not None

    async def take(self, records_max: int) -> list[Record]:
        """Return the next records, at least one if there is one; moves `next_offset` over what is no record."""
        self.used_at = time.monotonic()
        while True:
            if self._records is not None:
                records = list(islice(self._records, records_max))
                if len(records) < records_max:
                    self._records = None
                    if self.next_offset < self._end:
                        self._ahead = asyncio.create_task(self._fetch(self.next_offset))
                if records:
                    return records
            fetched = await self._next()
            self._end = fetched.end
            if not fetched.records.has_next():
                return []
            self._records = self._unpack(fetched)

    async def close(self) -> None:
        """Give up what was asked for."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _next(self) -> _Fetched:
        ahead, self._ahead = self._ahead, None
        return await (ahead or self._fetch(self.next_offset))

    async def _fetch(self, offset: int) -> _Fetched:
        """Fetch from an offset; raises `OutOfRange`."""
        topic, partition = self._topic, self._partition

        async def attempt() -> _Fetched:
            (node,) = await self._brokers.by_leader(topic, [partition])
            request = FetchRequest(0, 1, FETCH_BYTES, READ_COMMITTED, [(topic, [(partition, offset, FETCH_BYTES)])])
            response = await self._brokers.send(node, request)
            ((_, ((_, code, _, end, _, aborted, _, found),)),) = response.topics
            if errors.for_code(code) is errors.OffsetOutOfRangeError:
                raise OutOfRange
            raise_for(code)
            records = MemoryRecords(found or b"")
            if not records.has_next() and offset < end:
                raise errors.RequestTimedOutError  # a broker that holds its clients back answers with nothing
            return _Fetched(found or b"", records, aborted or [], end)

        return await self._brokers.patiently(attempt)

    def _unpack(self, fetched: _Fetched) -> Iterator[Record]:
        """Yield the records from `next_offset` on, and move it over them and over what transactions leave."""
        aborted = sorted(fetched.aborted, key=lambda one: one[1], reverse=True)
        aborting: set[int] = set()
        try:
            while fetched.records.has_next():
                batch = fetched.records.next_batch()
                if not batch.validate_crc():
                    raise errors.CorruptRecordException("a checksum does not fit")
                while aborted and aborted[-1][1] <= batch.base_offset:
                    aborting.add(aborted.pop()[0])
                if batch.is_control_batch:
                    if ControlRecord.parse(next(batch).key) == ABORT_MARKER:
                        aborting.discard(batch.producer_id)
                elif not (batch.is_transactional and batch.producer_id in aborting):
                    try:
                        yield from self._of_batch(batch)
                    except (UnicodeDecodeError, errors.CorruptRecordException):
                        yield from self._of_batch(with_readable_names(fetched.content, batch.base_offset))
                self.next_offset = batch.next_offset
        except (errors.KafkaError, ValueError, RuntimeError) as error:
            raise Unreadable(
                f"Kafka's records of {self._topic}, partition {self._partition}, cannot be read "
                f"({reason_of(error)}) at or after offset {self.next_offset}"
            ) from error

    def _of_batch(self, batch: Any) -> Iterator[Record]:
        topic, partition, last, appended_at = self._topic, self._partition, None, _EPOCH
        for record in batch:
            if record.offset < self.next_offset:  # a fetch begins with the batch that holds the offset
                continue
            if record.timestamp != last:
                last = record.timestamp
                appended_at = _EPOCH + timedelta(milliseconds=min(max(last, 0), _MILLISECONDS_MAX))
            headers = _headers(record.headers) if record.headers else ()
            self.next_offset = record.offset + 1
            yield Record(topic, partition, record.offset, appended_at, record.key, record.value or b"", headers)


def _headers(headers: list[tuple[str, bytes | None]]) -> Headers:
    return tuple((name, value or b"") for name, value in headers)
