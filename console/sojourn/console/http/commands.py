"""`GET /v1/commands` and the answers to them: what operators ask of a broker without Kafka."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import structlog
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sojourn.console.http.bodies import AnyRequest, media_type, read_body, unsupported
from sojourn.console.http.database import Addressed, Pending
from sojourn.console.http.gateway import Gateway
from sojourn.console.http.problems import ALWAYS, Problem, malformed
from sojourn.events.codec import Undecodable, decode, encode
from sojourn.events.decision_data import (
    DisconnectAcknowledgedData,
    DisconnectDeliveredData,
    DisconnectFailedData,
)
from sojourn.events.fields import Text
from sojourn.events.types import CommandAnswer, DisconnectAcknowledged, DisconnectDelivered, DisconnectFailed

WAIT_SECONDS_DEFAULT: Final = 30  # proxies cut off what is silent for a minute
WAIT_SECONDS_MAX: Final = 60  # as above
ANSWER_BYTES_MAX: Final = 16 << 10  # a text of a thousand characters, escaped
DELIVERED_SECONDS_MAX: Final = 2.0  # a command is not held back by a log that is away

_WAIT: Final = re.compile("[0-9]{1,2}")

_log = structlog.get_logger("sojourn.gateway")


class Answer(msgspec.Struct, frozen=True):
    """What a broker says to a command; `detail` is kept of those that it does not carry out."""

    status: Literal["acknowledged", "refused", "failed"]
    detail: Text | None = None


def command_handlers(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return the handlers by which brokers get commands and answer them."""

    @get("/v1/commands")
    async def commands(request: AnyRequest) -> Response[bytes]:
        token = await gateway.authenticate(request)
        wait_seconds = _wait_seconds(request)
        with gateway.waiting.take(token.token_id):
            found = await _unless_gone(request, gateway, token.token_id, wait_seconds)
        await _tell_delivered(gateway, [command for command in found if command.state == "requested"])
        return _json({"commands": [msgspec.Raw(command.event) for command in found]})

    @post("/v1/commands/{command_id:str}/answers", request_max_body_size=None)  # `read_body` has the limit
    async def answer(request: AnyRequest, command_id: FromPath[str]) -> Response[bytes]:
        token = await gateway.authenticate(request)
        with gateway.bodies.take(token.token_id):
            if media_type(request) != "application/json":
                raise unsupported("an answer is sent as application/json")
            said = _answer(await read_body(request, ANSWER_BYTES_MAX))
            command = await gateway.database.command(token, command_id)
            if command is None:
                raise Problem(404, "no-such-command", "there is no such command to this broker")
            if command.state != said.status:  # an answer that is repeated says nothing new
                await gateway.append([_checked(_event(command, said))])
        return _json({"id": command_id, "status": said.status}, 202)

    return [commands, answer]


def _wait_seconds(request: AnyRequest) -> int:
    given = request.query_params.getall("wait", [str(WAIT_SECONDS_DEFAULT)])
    if len(given) != 1 or not _WAIT.fullmatch(given[0]) or int(given[0]) > WAIT_SECONDS_MAX:
        raise malformed(f"wait is a whole number of seconds from 0 to {WAIT_SECONDS_MAX}")
    return int(given[0])


async def _unless_gone(request: AnyRequest, gateway: Gateway, token_id: str, wait_seconds: int) -> list[Pending]:
    """Wait for commands; nothing is handed out to a client that has gone, and its place is free at once."""
    taking = asyncio.ensure_future(gateway.polls.take(token_id, wait_seconds))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([taking, gone], return_when=asyncio.FIRST_COMPLETED)
        return taking.result() if taking.done() else []
    finally:
        taking.cancel()
        gone.cancel()


async def _gone(request: AnyRequest) -> None:
    while (await request.receive())["type"] == "http.request":
        pass  # a body, which nobody asked for


async def _tell_delivered(gateway: Gateway, commands: Sequence[Pending]) -> None:
    """Append that these are handed out, unless the log is away: that holds no command back."""
    try:
        async with asyncio.timeout(DELIVERED_SECONDS_MAX):
            await gateway.append([encode(_delivered(command)) for command in commands])
    except (Problem, TimeoutError):
        _log.warning("http.delivered_untold", commands=len(commands))


def _delivered(command: Pending) -> DisconnectDelivered:
    attributes = _attributes("delivered", command, datetime.now(UTC))
    return DisconnectDelivered(**attributes, data=DisconnectDeliveredData(command.command_id))


def _answer(body: bytes) -> Answer:
    try:
        return msgspec.json.decode(body, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(f"an answer has status and perhaps detail: {error}") from None


def _event(command: Addressed, said: Answer) -> CommandAnswer:
    attributes = _attributes(said.status, command, datetime.now(UTC))
    if said.status == "acknowledged":
        return DisconnectAcknowledged(**attributes, data=DisconnectAcknowledgedData(command.command_id))
    return DisconnectFailed(**attributes, data=DisconnectFailedData(command.command_id, said.status, said.detail))


def _attributes(what: str, command: Pending | Addressed, at: datetime) -> dict[str, Any]:
    """Return what every event about a command has; the instant is in the id, since content may not differ under one."""
    return {
        "specversion": "1.0",
        "id": f"{what}/{command.command_id}/{at.timestamp():.3f}",
        "source": command.broker,
        "time": at,
        "tenant": command.tenant,
        "subject": command.session_id,
    }


def _checked(event: CommandAnswer) -> bytes:
    value = encode(event)
    try:
        decode(value)
    except Undecodable as error:
        raise malformed(error.detail) from None
    return value


def _json(document: dict[str, Any], status: int = 200) -> Response[bytes]:
    return Response(
        msgspec.json.encode(document), status_code=status, media_type="application/json", headers=dict(ALWAYS)
    )
