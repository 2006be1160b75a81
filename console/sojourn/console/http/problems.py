"""What goes wrong for a client, as RFC 9457 problems whose `type` stays the same."""

from collections.abc import Mapping
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

import msgspec
import psycopg
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import ExceptionHandlersMap

from sojourn.events.errors import SojournError, Unreachable

PREFIX: Final = "urn:sojourn:problem:"
MEDIA_TYPE: Final = "application/problem+json"

RETRY_SECONDS: Final = 2  # a log or a database that is restarted is away for some seconds

# What every answer says: it is for the broker that asked, and for nobody in between.
ALWAYS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_log = structlog.get_logger("sojourn.gateway")


class Problem(SojournError):
    """the request cannot be answered"""

    def __init__(
        self, status: int, kind: str, title: str, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail or title)
        self.status, self.kind, self.title, self.detail = status, kind, title, detail
        self.headers = {**ALWAYS, **(headers or {})}

    def response(self) -> Response[bytes]:
        """Return the answer that tells of it."""
        document = {"type": PREFIX + self.kind, "title": self.title, "status": self.status}
        if self.detail:
            document["detail"] = self.detail
        return Response(
            msgspec.json.encode(document), status_code=self.status, media_type=MEDIA_TYPE, headers=self.headers
        )


def unauthorized() -> Problem:
    """Return the one answer to every credential that is not good: it tells nothing about what is known of it."""
    detail = "send one header `Authorization: Bearer sjb_…` with a token that `sojourn brokers add` made"
    return Problem(401, "unauthorized", "no valid token", detail, {"WWW-Authenticate": "Bearer"})


def unavailable(detail: str) -> Problem:
    """Return the answer while the log or the database is away."""
    return Problem(503, "unavailable", "not available now", detail, {"Retry-After": str(RETRY_SECONDS)})


def too_many(retry_seconds: int, detail: str) -> Problem:
    """Return the answer to a token that asks for too much at once."""
    return Problem(429, "too-many-requests", "too many requests", detail, {"Retry-After": str(retry_seconds)})


def malformed(detail: str) -> Problem:
    """Return the answer to a request that cannot be understood."""
    return Problem(400, "malformed", "the request cannot be understood", detail)


def contradiction(detail: str) -> Problem:
    """Return the answer to values of which each is good, but not beside the others, or not as things stand."""
    return Problem(409, "contradiction", "this does not fit together", detail)


def _answer(_: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    return problem.response()


def _database_away(_: Request[Any, Any, Any], error: Unreachable) -> Response[bytes]:
    """Answer what asked the database in vain: that comes before anything is appended."""
    _log.warning("http.database_away", reason=type(error.__cause__ or error).__name__)
    return unavailable("the database does not answer; nothing of this was done").response()


def _unwritable(_: Request[Any, Any, Any], error: psycopg.DataError) -> Response[bytes]:
    """Answer a text that the database takes in no place; what it finds wrong itself, with a SQLSTATE, is our error."""
    return _unforeseen(_, error) if error.sqlstate else malformed("a text holds a NUL").response()


def _of_framework(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework found wrong, without its words: they may repeat what the client sent."""
    match error:
        case NotFoundException():
            problem = Problem(404, "not-found", "there is nothing under this path")
        case MethodNotAllowedException():
            allow = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
            problem = Problem(405, "method-not-allowed", "this path takes other methods", headers=allow)
        case RequestEntityTooLarge():
            problem = Problem(413, "body-too-large", "the body is too large")
        case _ if 400 <= error.status_code < 500:  # noqa: PLR2004 - the client's errors
            problem = malformed("the path, the query or a header cannot be read")
        case _:
            return _unforeseen(_, error)
    return problem.response()


def _unforeseen(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Log where it happened, but no message: it may hold what the client sent."""
    last = extract_tb(error.__traceback__)[-1:]
    where = f"{Path(last[0].filename).name}:{last[0].lineno}" if last else "unknown"
    _log.error("http.failed", error=type(error).__name__, where=where)
    return Problem(500, "internal", "an error of Sojourn; its log says where").response()


HANDLERS: Final[ExceptionHandlersMap] = {
    Problem: _answer,
    Unreachable: _database_away,
    psycopg.DataError: _unwritable,
    HTTPException: _of_framework,
    Exception: _unforeseen,
}
