"""Steps that the tests on Kafka share: topics that are made and deleted, and waiting until the broker knows."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sojourn.events.topics import PARTITIONS_DEFAULT

KNOWN_SECONDS_MAX = 20  # the controller answers before its brokers know; milliseconds on an idle machine


@asynccontextmanager
async def administering(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def add(
    admin: AIOKafkaAdminClient, name: str, config: dict[str, str], partitions: int = PARTITIONS_DEFAULT
) -> None:
    """Create a topic as somebody else would."""
    response = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])
    assert [code for _, code, _ in response.topic_errors] == [0], response
    await _known(admin, {name}, present=True)


async def delete(admin: AIOKafkaAdminClient, names: Collection[str]) -> None:
    await admin.delete_topics(list(names))
    await _known(admin, names, present=False)


async def _known(admin: AIOKafkaAdminClient, names: Collection[str], *, present: bool) -> None:
    async with asyncio.timeout(KNOWN_SECONDS_MAX):
        while set(names).isdisjoint(await admin.list_topics()) == present:  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(0.01)
