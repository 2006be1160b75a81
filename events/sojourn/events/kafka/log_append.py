"""Appending to Kafka: one batch per partition, numbered so that the broker takes each of them once."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from aiokafka import errors
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from sojourn.events.errors import SojournError, Unreachable
from sojourn.events.kafka import brokers as limits
from sojourn.events.kafka.brokers import Brokers, UnknownTopic, raise_for
from sojourn.events.kafka.topics import BATCH_BYTES_MAX
from sojourn.events.log import Append

INT_MAX: Final = 2**31 - 1  # Kafka numbers records with 32 bits
ALL_REPLICAS: Final = -1  # acks=all

Place = tuple[str, int]

_SEQUENCE_LOST: Final = (
    errors.OutOfOrderSequenceNumber,
    errors.UnknownProducerId,
    errors.InvalidProducerEpoch,
    errors.InvalidProducerIdMapping,
)
_TOO_LARGE: Final = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
_MAYBE_APPENDED: Final = (errors.RequestTimedOutError, errors.NotEnoughReplicasAfterAppendError)


class TooMuch(SojournError):
    """one append is larger than Kafka takes at once"""


class _Identity:
    """A producer id, and the number that each partition's next record gets."""

    def __init__(self, producer_id: int, epoch: int) -> None:
        self.producer_id, self.epoch = producer_id, epoch
        self.sequences: defaultdict[Place, int] = defaultdict(int)


class _Share:
    """What one partition gets of one append."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.indexes: list[int] = []
        self.appends: list[Append] = []
        self.identity: _Identity | None = None
        self.batch = b""
        self.in_doubt = False  # an attempt may have appended it
        self.is_asked = False  # a request is under way
        self.offset: int | None = None

    def number(self, identity: _Identity) -> None:
        """Take the next numbers of an identity; every attempt sends the same bytes from now on."""
        sequence = identity.sequences[self.place]
        identity.sequences[self.place] += len(self.appends)
        builder = DefaultRecordBatchBuilder(2, 0, 0, identity.producer_id, identity.epoch, sequence, INT_MAX)
        now = int(time.time() * 1000)
        for offset, append in enumerate(self.appends):
            builder.append(offset, now, append.key, append.value, list(append.headers))
        self.identity, self.batch = identity, bytes(builder.build())
        if len(self.batch) > BATCH_BYTES_MAX:
            raise TooMuch(
                f"one append to a partition takes {BATCH_BYTES_MAX} bytes at most, and partition {self.place[1]} "
                f"of {self.place[0]} would get: {len(self.batch)}"
            )


class Appender:
    """Appends of one process. What a caller gives up is not sent again; what was sent is appended whole or not."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._identity: _Identity | None = None
        self._locks: defaultdict[Place, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def append(self, appends: Sequence[Append]) -> list[int]:
        """See `Log`."""
        shares: dict[Place, _Share] = {}
        for index, append in enumerate(appends):
            place = append.topic, append.partition
            share = shares.get(place) or shares.setdefault(place, _Share(place))
            share.indexes.append(index)
            share.appends.append(append)
        await self._brokers.patiently(lambda: self._check_places(shares))
        await self._carry_through([shares[place] for place in sorted(shares)])
        offsets = [0] * len(appends)
        for share in shares.values():
            assert share.offset is not None
            for offset, index in enumerate(share.indexes, share.offset):
                offsets[index] = offset
        return offsets

    async def _check_places(self, shares: dict[Place, _Share]) -> None:
        for topic, partition in shares:
            if partition not in await self._brokers.leaders(topic):
                raise UnknownTopic(f"{topic} has no such partition: {partition}")

    async def _carry_through(self, shares: list[_Share]) -> None:
        """Append each partition's share.

        Appends to one partition follow one another: the broker knows a batch that is sent again by its number among
        the last five.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(limits.AWAY_SECONDS_MAX):
                    for share in shares:  # sorted: two appends never wait for each other
                        await stack.enter_async_context(self._locks[share.place])
            except TimeoutError:
                raise Unreachable("earlier appends still wait for Kafka; nothing was appended") from None
            try:
                await self._brokers.patiently(lambda: self._attempt(shares))
            except Unreachable as error:
                maybe = any(share.in_doubt or share.is_asked or share.offset is not None for share in shares)
                outcome = "some or all may have been" if maybe else "nothing was"
                raise Unreachable(f"{error}; {outcome} appended") from error
            finally:
                for share in shares:
                    if share.offset is None:
                        self._forget(share.identity)  # its numbers were used, perhaps in vain

    async def _attempt(self, shares: list[_Share]) -> None:
        """Send what is not acknowledged yet to the partitions' leaders."""
        by_node: dict[int, list[_Share]] = {}
        for share in shares:
            if share.offset is None:
                (node,) = await self._brokers.by_leader(share.place[0], [share.place[1]])
                by_node.setdefault(node, []).append(share)
        for share in shares:
            if share.identity is None:
                share.number(await self._identify(share))
        failures = await asyncio.gather(*(self._produce(node, some) for node, some in by_node.items()))
        for failure in (one for some in failures for one in some):
            raise failure

    async def _identify(self, share: _Share) -> _Identity:
        """Return the identity for new batches: another one when Kafka knows no more of it, or the numbers end."""
        identity = self._identity
        if identity is None or identity.sequences[share.place] + len(share.appends) > INT_MAX:
            response = await self._brokers.send_to_any(InitProducerIdRequest(None, INT_MAX))
            raise_for(response.error_code)
            identity = self._identity = _Identity(response.producer_id, response.producer_epoch)
        return identity

    def _forget(self, identity: _Identity | None) -> None:
        if self._identity is identity:
            self._identity = None

    async def _produce(self, node: int, shares: list[_Share]) -> list[Exception]:
        """Send one request, take over what was acknowledged, and return why the rest was not."""
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for share in shares:
            topics.setdefault(share.place[0], []).append((share.place[1], share.batch))
        wait_ms = int(limits.REQUEST_SECONDS_MAX * 1000)
        for share in shares:
            share.is_asked = True
        try:
            response = await self._brokers.send(node, ProduceRequest(None, ALL_REPLICAS, wait_ms, list(topics.items())))
        except (errors.KafkaError, OSError) as error:
            for share in shares:
                share.is_asked = False
                share.in_doubt = share.in_doubt or not isinstance(error, errors.NodeNotReadyError)
            return [error]
        by_place = {share.place: share for share in shares}
        failures = []
        for topic, partitions in response.topics:
            for partition, code, offset, *_ in partitions:
                try:
                    self._settle(by_place[topic, partition], code, offset)
                except (errors.KafkaError, SojournError) as error:
                    failures.append(error)
        return sorted(failures, key=lambda failure: isinstance(failure, errors.KafkaError))  # those that stay first

    def _settle(self, share: _Share, code: int, offset: int) -> None:
        """Take over the offset, or raise why there is none."""
        share.is_asked = False
        error = errors.for_code(code)
        if error is errors.NoError and offset >= 0:
            share.offset = offset
        elif error in _SEQUENCE_LOST and not share.in_doubt:  # the log was cut off or made anew: begin again
            self._forget(share.identity)
            share.identity = None
            raise errors.NotLeaderForPartitionError
        elif error in _SEQUENCE_LOST or error in (errors.NoError, errors.DuplicateSequenceNumber):
            raise Unreachable(f"Kafka does not know where the records were appended, if they were: {share.place[0]}")
        elif error in _TOO_LARGE:
            raise TooMuch(
                f"Kafka refuses {len(share.batch)} bytes at once; raise the topic's max.message.bytes: {share.place[0]}"
            )
        else:
            share.in_doubt = share.in_doubt or error in _MAYBE_APPENDED
            raise_for(code)
