"""What each operation may answer beside what was asked for, as its description tells it."""

from collections.abc import Mapping, Sequence
from typing import Final

from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from msgspec import Struct

from sojourn.console.http.problems import MEDIA_TYPE


class ProblemDocument(Struct, frozen=True, rename={"kind": "type"}, omit_defaults=True):
    """What was wrong, as RFC 9457 has it; `type` stays the same from version to version."""

    kind: str
    title: str
    status: int
    detail: str | None = None


def answers(told: Mapping[int, str]) -> dict[int, ResponseSpec]:
    """Return the problems that a handler may answer, by their status, with what each means there."""
    return {
        status: ResponseSpec(ProblemDocument, generate_examples=False, description=text, media_type=MEDIA_TYPE)
        for status, text in told.items()
    }


_ALL: Final = answers(
    {
        400: "A parameter, a header or the body is not good; `detail` begins with its name.",
        401: "Nobody is known by this token, or none is shown.",
        403: "Who asks may not do this.",
        404: "There is no such thing, or it is another tenant's.",
        421: "The console is not served under this host's name.",
        429: "Too many requests at once; `Retry-After` says when to send the next.",
        500: "An error of Sojourn; its log says where.",
        503: "The database or the log does not answer; `Retry-After` says when to ask again.",
    }
)
_OF_BODY: Final = answers({413: "The body is too large.", 415: "The body is no JSON in UTF-8."})
_OF_KEY: Final = answers({422: "The idempotency key was used for another request."})
_OF_LIST: Final = answers({409: "The cursor is another list's, or the range is empty."})
_OF_ACT: Final = answers({409: "The request contradicts itself, or what there is by now."})

# For what gives access to somebody else, or does much at once: who showed long ago who they are does so at /confirm.
CONFIRMED: Final = answers({403: "Who asks may not do this, or has to show again who they are: `confirm-password`."})


def described(handlers: Sequence[HTTPRouteHandler]) -> Sequence[HTTPRouteHandler]:
    """Return the handlers; their description now tells the problems that they may answer."""
    for handler in handlers:
        parameters = handler.fn.__annotations__
        told = dict(_ALL)
        if not parameters.keys().isdisjoint({"cursor", "from_", "filters"}):
            told |= _OF_LIST
        if "data" in parameters:
            told |= _OF_BODY
        if "GET" not in handler.http_methods:
            told |= _OF_ACT
        if "idempotency_key" in parameters:
            told |= _OF_KEY
        handler.responses = {**told, **(handler.responses or {})}
    return handlers
