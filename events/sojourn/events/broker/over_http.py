"""A broker that posts its events to Sojourn's HTTP server, and asks it for commands."""

import asyncio
import http.client
import time
from collections.abc import AsyncGenerator, Sequence
from http import HTTPStatus
from typing import Final, Literal, TypeVar

import msgspec
import structlog

from sojourn.events.broker.connections import Answer, Connections
from sojourn.events.broker.transport import Rejection, TryLater
from sojourn.events.codec import Undecodable, decode
from sojourn.events.errors import Unreachable
from sojourn.events.types import DisconnectRequested

POLL_SECONDS: Final = 30  # how long the server holds a question for commands: proxies close what is idle for a minute
PAUSE_SECONDS: Final = 1.0  # at least so long between questions that bring nothing new
RETRY_SECONDS_MAX: Final = 300.0  # a server that asks for more is tried all the same

BATCH: Final = "application/cloudevents-batch+json"
EVENTS: Final = "/v1/events"
COMMANDS: Final = f"/v1/commands?wait={POLL_SECONDS}"

_TAKEN: Final = (HTTPStatus.ACCEPTED, HTTPStatus.UNPROCESSABLE_ENTITY)
_UNFIT: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

_logger: Final = structlog.get_logger()


class _Result(msgspec.Struct):
    status: Literal["accepted", "rejected"]
    id: str | None = None
    reason: str | None = None
    detail: str | None = None


class _Identity(msgspec.Struct):
    id: str


class _Results(msgspec.Struct):
    results: list[_Result]


class _Commands(msgspec.Struct):
    commands: list[msgspec.Raw]


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""


class HttpTransport:
    """See `Transport`; the server says itself that commands were delivered."""

    marks_delivered = True

    def __init__(self, url: str, token: str) -> None:
        self._connections = Connections(url, token)

    async def publish(self, values: Sequence[bytes]) -> list[Rejection]:
        """See `Transport`; a body that the server does not take is sent in halves, down to the event to blame."""
        body = b"[" + b",".join(values) + b"]"
        answer = await self._connections.ask("POST", EVENTS, body, BATCH)
        if answer.status in _UNFIT and len(values) > 1:
            half = len(values) // 2
            return [*await self.publish(values[:half]), *await self.publish(values[half:])]
        if answer.status in _UNFIT:
            return [Rejection(values[0], HTTPStatus(answer.status).name.lower(), _problem(answer))]
        if answer.status not in _TAKEN:
            raise _refusal(answer)
        results = _read(answer, _Results).results
        if len(results) != len(values):
            raise Unreachable(f"the server answers for {len(results)} events, and was sent: {len(values)}")
        rejected = [pair for pair in zip(values, results, strict=True) if pair[1].status == "rejected"]
        for value, result in rejected:
            if result.id != msgspec.json.decode(value, type=_Identity).id:
                raise Unreachable(f"the server rejects an event that it was not sent: {result.id!r}")
        return [Rejection(value, result.reason or "rejected", result.detail or "") for value, result in rejected]

    async def commands(self, source: str) -> AsyncGenerator[DisconnectRequested, None]:
        """See `Transport`; the server lists a command again until it is answered."""
        before: set[str] = set()
        while True:
            asked = time.monotonic()
            answer = await self._connections.ask("GET", COMMANDS, wait_seconds=POLL_SECONDS)
            if answer.status != HTTPStatus.OK:
                raise _refusal(answer)
            listed = [event for raw in _read(answer, _Commands).commands if (event := _command(raw)) is not None]
            for event in listed:
                if event.data.broker == source:
                    yield event
            ids = {event.data.command for event in listed}
            if ids <= before:
                await asyncio.sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - asked)))
            before = ids

    async def close(self) -> None:
        """See `Transport`."""
        self._connections.close()


def _command(raw: msgspec.Raw) -> DisconnectRequested | None:
    try:
        event = decode(bytes(raw))
    except Undecodable as error:
        _logger.warning("command_not_understood", reason=error.reason, detail=error.detail)
        return None
    return event if isinstance(event, DisconnectRequested) else None


Kind = TypeVar("Kind", bound=msgspec.Struct)


def _read(answer: Answer, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise Unreachable(f"the server's answer is not what Sojourn would say: {error}") from None


def _refusal(answer: Answer) -> Unreachable:
    """Return why nothing was taken: each of these passes, or somebody mends it, so that it is worth another try."""
    message = f"Sojourn answers {answer.status}: {_problem(answer)}"
    if answer.retry_after is not None and answer.retry_after.isdecimal():
        return TryLater(message, min(float(answer.retry_after), RETRY_SECONDS_MAX))
    return Unreachable(message)


def _problem(answer: Answer) -> str:
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    return problem.detail or problem.title or http.client.responses.get(answer.status, "no reason given")
