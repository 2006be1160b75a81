"""`POST /v1/events`: CloudEvents from brokers, told as accepted once the log has acknowledged them."""

from typing import Final

import msgspec
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from sojourn.console.http.bodies import AnyRequest, events_of, media_type, read_body
from sojourn.console.http.gateway import Gateway
from sojourn.console.http.judging import Result, judge_all
from sojourn.console.http.problems import ALWAYS

ACCEPTED: Final = 202
ALL_REJECTED: Final = 422


class Results(msgspec.Struct, frozen=True):
    """What became of the events of one request, in the order in which they were sent."""

    accepted: int
    rejected: int
    results: list[Result]


def event_handler(gateway: Gateway) -> HTTPRouteHandler:
    """Return the handler that publishes for brokers."""

    @post("/v1/events", request_max_body_size=None)  # `read_body` has the limit
    async def publish(request: AnyRequest) -> Response[bytes]:
        token = await gateway.authenticate(request)
        with gateway.bodies.take(token.token_id):
            kind = media_type(request)
            values = events_of(request, kind, await read_body(request))
            accepted, results = await judge_all(values, token, gateway.database)
            await gateway.append(accepted)
        return _response(Results(len(accepted), len(results) - len(accepted), results))

    return publish


def _response(results: Results) -> Response[bytes]:
    status = ALL_REJECTED if results.rejected and not results.accepted else ACCEPTED
    return Response(
        msgspec.json.encode(results), status_code=status, media_type="application/json", headers=dict(ALWAYS)
    )
