"""Which events a token may publish, each judged by itself."""

from typing import Final, Literal

import msgspec

from sojourn.console.http.database import GatewayDatabase, Token
from sojourn.events.codec import Undecodable, decode
from sojourn.events.fields import TEXT_CHARACTERS_MAX
from sojourn.events.types import BROKER_EVENTS, CommandAnswer, Event, type_name


class Result(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one event; `id` is null where none can be read."""

    id: str | None
    status: Literal["accepted", "rejected"]
    reason: str | None = None
    detail: str | None = None


class _Named(msgspec.Struct):
    id: str


_named: Final = msgspec.json.Decoder(_Named)


def judge(value: bytes, token: Token) -> Event:
    """Return the event, or raise `Undecodable` with the reason why the token may not publish it."""
    event: Event = decode(value)
    if type(event) not in BROKER_EVENTS:
        raise Undecodable("wrong_source", f"only Sojourn itself publishes this type: {type_name(type(event))}")
    if event.source not in token.sources:
        raise Undecodable("wrong_source", f"the token does not speak for this broker: {event.source!r}")
    tenant = getattr(event, "tenant", None)  # `broker.alive` has none
    if tenant is not None and token.tenants is not None and tenant not in token.tenants:
        raise Undecodable("tenant_mismatch", f"the token does not speak for this tenant: {tenant!r}")
    return event


async def judge_all(
    values: list[bytes | Undecodable], token: Token, database: GatewayDatabase
) -> tuple[list[bytes], list[Result]]:
    """Return the events to append, and what is to be told of each of `values` once they are."""
    judged: list[Event | Undecodable] = []
    for value in values:
        try:
            judged.append(value if isinstance(value, Undecodable) else judge(value, token))
        except Undecodable as error:
            judged.append(error)
    await _check_answers(judged, database)
    accepted = [
        value
        for value, one in zip(values, judged, strict=True)
        if not isinstance(one, Undecodable) and isinstance(value, bytes)
    ]
    return accepted, [_result(value, one) for value, one in zip(values, judged, strict=True)]


async def _check_answers(judged: list[Event | Undecodable], database: GatewayDatabase) -> None:
    """Put a refusal in the place of each answer to a command that its broker did not get."""
    places = [(place, event) for place, event in enumerate(judged) if isinstance(event, CommandAnswer)]
    known = await database.known([event for _, event in places])
    for (place, event), is_known in zip(places, known, strict=True):
        if not is_known:
            detail = f"no such command to this broker about this session: {event.data.command!r}"
            judged[place] = Undecodable("wrong_source", detail)


def _result(value: bytes | Undecodable, judged: Event | Undecodable) -> Result:
    if isinstance(judged, Undecodable):
        return Result(_id(value), "rejected", judged.reason, judged.detail)
    return Result(judged.id, "accepted")


def _id(value: bytes | Undecodable) -> str | None:
    try:
        return None if isinstance(value, Undecodable) else _named.decode(value).id[:TEXT_CHARACTERS_MAX]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
