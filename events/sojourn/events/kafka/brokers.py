"""Requests to Kafka's brokers: connections, who leads which partition, and patience while Kafka is away."""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest

from sojourn.events.errors import SojournError, Unreachable
from sojourn.events.kafka.settings import CA_FILE, SASL_MECHANISM, USERNAME, KafkaSettings

AWAY_SECONDS_MAX = 30.0  # a broker that is restarted serves again after five to twenty
REQUEST_SECONDS_MAX = 10.0  # one request; a broker that hangs is asked again within the time above
BACKOFF_SECONDS_MIN: Final = 0.05  # a new leader is known after about as long
BACKOFF_SECONDS_MAX: Final = 1.0  # the wait doubles up to this

_SIGN_IN: Final = (
    errors.AuthenticationFailedError,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)
NOT_ALLOWED: Final = (errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError)
_MAY_PASS: Final = (errors.NodeNotReadyError, errors.NoBrokersAvailable, errors.KafkaConnectionError, OSError)

Result = TypeVar("Result")

logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # each failure is raised, and told once by the caller


class UnknownTopic(SojournError):
    """Kafka has no such topic or partition"""


class Refused(SojournError):
    """Kafka refuses this"""


class Brokers:
    """Connections to one cluster, opened on first use; never creates a topic."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: AIOKafkaClient | None = None
        self._opening = asyncio.Lock()
        self._leaders: dict[str, dict[int, int]] = {}

    async def leaders(self, topic: str) -> dict[int, int]:
        """Return the broker that leads each partition, -1 where there is none now; raises `UnknownTopic`."""
        if topic not in self._leaders:
            self._leaders[topic] = await self._ask_leaders(topic)
        return self._leaders[topic]

    async def by_leader(self, topic: str, partitions: Iterable[int]) -> dict[int, list[int]]:
        """Return which of the partitions each broker leads; raises `UnknownTopic`."""
        leaders, grouped = await self.leaders(topic), dict[int, list[int]]()
        for partition in partitions:
            if partition not in leaders:
                raise UnknownTopic(f"{topic} has no such partition: {partition}")
            if leaders[partition] < 0:
                raise errors.LeaderNotAvailableError
            grouped.setdefault(leaders[partition], []).append(partition)
        return grouped

    async def send(self, node: int, request: Any) -> Any:
        """Send a request to one broker and return the response."""
        return await (await self._opened()).send(node, request)

    async def send_to_any(self, request: Any) -> Any:
        """Send a request that every broker answers."""
        client = await self._opened()
        nodes = [broker.nodeId for broker in client.cluster.brokers()]
        failure: Exception = errors.NoBrokersAvailable()
        for node in random.sample(nodes, len(nodes)):
            try:
                return await client.send(node, request)
            except (errors.KafkaError, OSError) as error:
                failure = error
        await self._drop(client)  # all may have moved: begin again with the servers that the settings name
        raise failure

    async def patiently(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Attempt until it works, while Kafka is away; raises `Unreachable` after `AWAY_SECONDS_MAX`."""
        backoff, reason = BACKOFF_SECONDS_MIN, "no answer"
        try:
            async with asyncio.timeout(AWAY_SECONDS_MAX):
                while True:
                    try:
                        return await attempt()
                    except (errors.KafkaError, OSError) as error:
                        reason = self._passing(error)
                    self._leaders.clear()
                    await asyncio.sleep(backoff)
                    backoff = min(2 * backoff, BACKOFF_SECONDS_MAX)
        except TimeoutError:
            raise Unreachable(f"Kafka does not answer ({reason}): {self._settings.bootstrap_servers}") from None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._drop(self._client)

    async def _ask_leaders(self, topic: str) -> dict[int, int]:
        # A request that names topics would create them where the cluster allows it: with wrong settings.
        response = await self.send_to_any(MetadataRequest([topic], allow_auto_topic_creation=False))
        ((code, _, _, partitions),) = response.topics
        error = errors.for_code(code)
        if error in (errors.UnknownTopicOrPartitionError, errors.InvalidTopicError):
            raise UnknownTopic(f"Kafka has no such topic; `sojourn topics create` makes Sojourn's: {topic!r}")
        raise_for(code)
        return {partition: leader for _, partition, leader, *_ in sorted(partitions, key=lambda found: found[1])}

    async def _opened(self) -> AIOKafkaClient:
        async with self._opening:
            if self._client is None:
                client = AIOKafkaClient(
                    **self._settings.client_options(),
                    client_id="sojourn",
                    request_timeout_ms=int(REQUEST_SECONDS_MAX * 1000),
                )
                try:
                    await client.bootstrap()
                except errors.KafkaConnectionError as error:
                    await client.close()
                    raise await self._why(client) or error from None
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client

    async def _drop(self, client: AIOKafkaClient) -> None:
        if self._client is client:
            self._client = None
        await client.close()

    async def _why(self, client: AIOKafkaClient) -> Exception | None:
        """Return why the first server cannot be used: aiokafka only says so to its logger."""
        options = self._settings.client_options()
        del options["bootstrap_servers"]
        host, port, _ = client.hosts[0]
        timeout = {"request_timeout_ms": int(REQUEST_SECONDS_MAX * 1000)}
        try:
            connection = await create_conn(host, port, client_id="sojourn", **timeout, **options)
        except (errors.KafkaError, OSError) as error:
            return error
        connection.close()
        return None

    def _passing(self, error: Exception) -> str:
        """Return the reason of an error that may pass with time; raise one that says what to do for the others."""
        servers = self._settings.bootstrap_servers
        if isinstance(error, _SIGN_IN):
            raise Refused(
                f"Kafka refuses the sign-in ({reason_of(error)}); check {USERNAME} and {SASL_MECHANISM}: {servers}"
            ) from error
        if isinstance(error, ssl.SSLError):
            raise Refused(f"no secure connection to Kafka ({reason_of(error)}); check {CA_FILE}: {servers}") from error
        if isinstance(error, NOT_ALLOWED):
            raise Refused(f"Kafka's access rules do not allow this ({reason_of(error)}): {servers}") from error
        if isinstance(error, _MAY_PASS) or getattr(error, "retriable", False):
            return reason_of(error)
        raise Refused(f"Kafka refuses the request ({reason_of(error)}): {servers}") from error


def raise_for(code: int) -> None:
    """Raise the error of a response's error code, if it is one."""
    if code:
        raise errors.for_code(code)


def reason_of(error: Exception) -> str:
    """Return one line that says what went wrong."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
