"""What the parameters of the API may hold, and the answer to those that may not be."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final, cast

from litestar import Request, Response
from litestar.di import Provide
from litestar.exceptions import ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.params import HeaderParameter, QueryParameter
from litestar.types import ExceptionHandlersMap

from sojourn.console.http.problems import Problem, contradiction, malformed
from sojourn.console.identity.accounts import Refused, Unfit, refusal_problem
from sojourn.console.jobs.orders import refused
from sojourn.console.site.access import AnyConnection, no_such_tenant
from sojourn.events.errors import UsageError
from sojourn.projections.listing import ROWS_MAX
from sojourn.projections.read import NoSuchTenant
from sojourn.projections.requests import KEY_CHARACTERS_MAX

TEXT_CHARACTERS_MAX: Final = 256  # of a filter: no name that people search for is longer
CURSOR_CHARACTERS_MAX: Final = 4000  # a name of a thousand characters, in Base64
PAGE_ROWS: Final = 100  # of a page, unless the client says otherwise

_TENANT: Final = "tenant"  # which the guard reads, for whoever sees more than one

_RFC_3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}):([0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_MIDDLE: Final = "5"  # of the calendar, as text

_NO_NUL: Final = r"^[^\x00]*$"

TEXT: Final[dict[str, Any]] = {"min_length": 1, "max_length": TEXT_CHARACTERS_MAX, "pattern": _NO_NUL}
_NAMED: Final = "{}: its id, or a part of the name in any case."
_SEARCHED: Final = "A part of a user's or a desktop's id or name in any case, or how the address begins."

User = Annotated[str | None, QueryParameter(description=_NAMED.format("A user"), **TEXT)]
Desktop = Annotated[str | None, QueryParameter(description=_NAMED.format("A desktop"), **TEXT)]
Broker = Annotated[str | None, QueryParameter(description="The source of the broker's events.", **TEXT)]
Search = Annotated[str | None, QueryParameter(description=_SEARCHED, **TEXT)]
Limit = Annotated[int, QueryParameter(ge=1, le=ROWS_MAX, description="How many rows a page has at most.")]
Cursor = Annotated[
    str | None,
    QueryParameter(
        pattern="^[A-Za-z0-9_-]+$",
        max_length=CURSOR_CHARACTERS_MAX,
        description="What another page calls `next` or `previous`; all other parameters stay as they were.",
    ),
]
INSTANT: Final = {"format": "date-time"}
DAY_OR_INSTANT: Final = {"anyOf": [{"format": "date"}, {"format": "date-time"}]}
From = Annotated[
    str | None,
    QueryParameter(
        name="from",
        schema_extra=DAY_OR_INSTANT,
        description="Sessions that overlap the range from this instant on, or this day, which begins at midnight UTC.",
    ),
]
To = Annotated[
    str | None,
    QueryParameter(
        name="to",
        schema_extra=DAY_OR_INSTANT,
        description="Sessions that overlap the range before this instant, or this day.",
    ),
]
Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=KEY_CHARACTERS_MAX,
        description="A repeat under the same key changes nothing, and answers as the first did.",
    ),
]


def range_of(from_: str | None, to: str | None, of: str = "") -> tuple[datetime | None, datetime | None]:
    """Return the instants of a range, whose days begin at midnight UTC; `of` stands before the names of its ends.

    Raises the problem that one is none, or that the range is empty.
    """
    texts = (f"{text}T00:00:00Z" if text and _DAY.fullmatch(text) else text for text in (from_, to))
    from_at, to_at = (instant_of(f"{of}{name}", text) for name, text in zip(("from", "to"), texts, strict=True))
    if from_at is not None and to_at is not None and to_at <= from_at:
        raise contradiction(f"{of}to: the end must be later than the beginning, `from`")
    return from_at, to_at


def instant_of(name: str, text: str | None) -> datetime | None:
    """Return an instant as RFC 3339 has it; a leap second is the one before, an instant before all days the first."""
    if text is None:
        return None
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise refused(name, "an instant is written with its offset from UTC, like 2026-11-24T08:00:00Z")
    written = f"{match[1]}:{min(int(match[2]), 59):02}{match[3] or ''}{match[4].upper()}"
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except OverflowError:  # only at the ends of the calendar
        return _FIRST if written < _MIDDLE else _LAST
    except ValueError:
        if written.startswith("0000"):
            return _FIRST
        raise refused(name, "there is no such day or time of day") from None


def refuse_unknown(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Raise the problem that a parameter is not one of the route's, or given twice; one that is ignored misleads."""
    if connection.scope.get("method") == "OPTIONS":
        return
    known = _known(handler, frozenset(connection.path_params))
    for name, value in connection.query_params.multi_items():
        if name not in known:
            there_are = ", ".join(sorted(known.keys() - {_TENANT})) or "none"
            raise refused(name[:TEXT_CHARACTERS_MAX], f"there is no such parameter; there are: {there_are}")
        if len(connection.query_params.getall(name)) > 1:
            raise refused(name, "it is given once")
        if value.lower() == "null" and not known[name]:  # which the framework takes for nothing
            raise refused(name, "it is left out where it is not meant")


def _dependencies(handler: BaseRouteHandler) -> Collection[Provide]:
    return handler.resolve_dependencies().values()


@cache  # of as many routes as there are
def _known(handler: BaseRouteHandler, in_path: frozenset[str]) -> Mapping[str, bool]:
    """Return the parameters of a route, and which of them may be any text."""
    model = handler.create_kwargs_model(cast("Any", dict.fromkeys(in_path)))
    signatures = [handler.parsed_fn_signature, *(one.parsed_fn_signature for one in _dependencies(handler))]
    kinds = {name: kind for signature in signatures for name, kind in signature.parameters.items()}
    given = {one.field_alias: kinds[one.field_name] for one in model.expected_query_params}
    return {_TENANT: True, **{name: str in {kind.annotation, *kind.args} for name, kind in given.items()}}


def _unreadable(_: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """Name what has the wrong shape; what the client sent is not repeated."""
    problems: Any = error.extra if isinstance(error.extra, list) else []
    for problem in problems:
        name = str(problem.get("key") or problem.get("source", "body"))
        if name == "data":
            return refused("body", "a body is sent as application/json").response()
        name = name.removesuffix("_")  # as a name that Python, or the framework, keeps for itself
        return refused(name, str(problem.get("message", "is not good"))).response()
    return malformed("the request is not what this path takes; see /v1/openapi.json").response()


def _no_such_tenant(_: Request[Any, Any, Any], __: NoSuchTenant) -> Response[bytes]:
    return no_such_tenant().response()


def _misused(_: Request[Any, Any, Any], error: UsageError) -> Response[bytes]:
    return Problem(400, "bad-parameter", "a parameter is not good", str(error)).response()


def _unfit(_: Request[Any, Any, Any], error: Unfit) -> Response[bytes]:
    return contradiction(str(error)).response()


def _refused(_: Request[Any, Any, Any], refusal: Refused) -> Response[bytes]:
    return refusal_problem(refusal).response()


HANDLERS: Final[ExceptionHandlersMap] = {
    ValidationException: _unreadable,
    NoSuchTenant: _no_such_tenant,
    Refused: _refused,
    Unfit: _unfit,
    UsageError: _misused,
}
