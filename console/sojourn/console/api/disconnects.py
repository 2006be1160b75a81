"""`/v1/disconnects`: what operators ask of the sessions' brokers, and what comes of it."""

import uuid
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath
from msgspec import Meta, Struct

from sojourn.console.api.paging import AnyRequest, Paged, link_header
from sojourn.console.api.parameters import PAGE_ROWS, Cursor, Key, Limit
from sojourn.console.api.problems import CONFIRMED
from sojourn.console.http.problems import Problem, contradiction
from sojourn.console.site.access import Who, needs, require_confirmed
from sojourn.console.site.principal import Principal
from sojourn.console.site.site import Site
from sojourn.events.fields import ID_CHARACTERS_MAX, TEXT_CHARACTERS_MAX, CommandKind
from sojourn.projections.commands import State
from sojourn.projections.read_requests import Followed, Request, find_request, follow, requests_page
from sojourn.projections.requests import (
    EXPIRES_SECONDS_DEFAULT,
    EXPIRES_SECONDS_MAX,
    SESSIONS_MAX,
    Answer,
    Asked,
    Asker,
    KeyTaken,
    check,
    request_commands,
    request_id,
    try_request,
)

MANY: Final = 5  # sessions that a person ends at once without showing again who they are

_TAGS: Final = ["disconnects"]

# What events may name; before the end of a line, `$` alone would match, too.
SessionId = Annotated[str, Meta(min_length=1, max_length=ID_CHARACTERS_MAX, pattern=r"^[^\x00-\x1f\x7f-\x9f]+(?!\n)$")]
SessionIds = Annotated[
    list[SessionId],
    Meta(min_length=1, max_length=SESSIONS_MAX, examples=[["s-1", "s-2"]]),
]
Said = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]


class DisconnectRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of the brokers of which sessions, and why; a `message` is shown to the users.

    `dry_run` tells what would come of it and changes nothing. A command that its broker has not concluded after
    `expires_seconds` is not carried out any more.
    """

    session_ids: SessionIds
    reason: Annotated[Said, Meta(examples=["The machines are updated"])]
    kind: CommandKind = "disconnect"
    message: Said | None = None
    dry_run: bool = False
    expires_seconds: Annotated[int, Meta(ge=1, le=EXPIRES_SECONDS_MAX)] = EXPIRES_SECONDS_DEFAULT


class TriedAnswer(Struct, frozen=True):
    """What a request came to for each session; `disconnect_id` is null where it was only tried."""

    disconnect_id: UUID | None
    kind: CommandKind
    dry_run: bool
    results: list[Answer]


class CommandStep(Struct, frozen=True):
    """One event about a command, with its place in the log and what became of it."""

    event_type: str
    appended_at: datetime
    partition: int
    offset: int
    source: str
    disposition: str
    detail: str | None


class Result(Struct, frozen=True):
    """One session: why it was refused, or how its command stands, with every step of it."""

    session_id: str
    status: Literal["requested", "refused"]
    command_id: str | None
    broker: str | None
    state: State
    concluded_at: datetime | None
    detail: str | None
    steps: list[CommandStep]


class DisconnectAnswer(Struct, frozen=True):
    """A request with its commands."""

    disconnect_id: UUID
    kind: CommandKind
    reason: str
    message: str | None
    expires_seconds: int
    requested_by: str
    requested_at: datetime
    results: list[Result]


class DisconnectSummary(Struct, frozen=True):
    """A request: how many commands it made, and how many sessions were refused."""

    disconnect_id: UUID
    kind: CommandKind
    reason: str
    message: str | None
    requested_by: str
    requested_at: datetime
    requested: int
    refused: int


class DisconnectsAnswer(Struct, frozen=True):
    """A page of requests, the newest first."""

    disconnects: list[DisconnectSummary]
    next: str | None
    previous: str | None


def disconnect_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers about disconnects."""

    @post(
        "/v1/disconnects",
        opt=needs("disconnect"),
        operation_id="requestDisconnects",
        tags=_TAGS,
        summary="Ask the brokers to end sessions",
        status_code=200,
        responses=CONFIRMED,
    )
    async def request(
        principal: Who, data: Annotated[DisconnectRequest, Body()], idempotency_key: Key = None
    ) -> TriedAnswer:
        """Ask to disconnect sessions, to log their users off, or to show a message in them; not every broker can all.

        Each session has its own result: `requested`, which is not done yet, or `refused` and why. A person who ends
        more than five at once shows again who they are; see 403.
        """
        return await _request(site, principal, data, idempotency_key)

    return [request, *_reading_handlers(site)]


def _reading_handlers(site: Site) -> list[HTTPRouteHandler]:
    @get(
        "/v1/disconnects",
        opt=needs("disconnect"),
        operation_id="listDisconnects",
        tags=_TAGS,
        summary="What was asked of brokers",
    )
    async def list_(
        request: AnyRequest, principal: Who, limit: Limit = PAGE_ROWS, cursor: Cursor = None
    ) -> Response[DisconnectsAnswer]:
        """List all that was asked about the tenant's sessions, the newest first."""
        paged = Paged(await site.cursors(), principal.tenant, ["disconnects"])
        place = paged.place(cursor)
        async with site.reader(principal.tenant) as connection:
            page = await requests_page(connection, place, limit)
        beside = paged.beside(page)
        found = [_summary(row["request"]) for row in page.rows]
        answer = DisconnectsAnswer(found, beside["next"], beside["previous"])
        return Response(answer, headers=link_header(request, beside))

    @get(
        "/v1/disconnects/{disconnect_id:uuid}",
        opt=needs("disconnect"),
        operation_id="getDisconnect",
        tags=_TAGS,
        summary="What came of one request",
    )
    async def one(principal: Who, disconnect_id: FromPath[UUID]) -> DisconnectAnswer:
        """Show every command of the request, with its steps: requested, delivered, acknowledged, and how it ended."""
        async with site.reader(principal.tenant) as connection:
            found = await find_request(connection, disconnect_id)
            if found is None:
                raise Problem(404, "no-such-disconnect", "no such request", "nothing was asked under this id")
            followed = await follow(connection, principal.tenant, found.answers)
        results = [_result(answer, followed.get(answer.command_id or "")) for answer in found.answers]
        asked = found._asdict()
        del asked["answers"]
        return DisconnectAnswer(disconnect_id=asked.pop("request_id"), **asked, results=results)

    return [list_, one]


async def _request(site: Site, principal: Principal, data: DisconnectRequest, key: str | None) -> TriedAnswer:
    if data.kind == "send_message" and data.message is None:
        raise contradiction("message: what send_message shows")
    if len(data.session_ids) > MANY and not data.dry_run:
        require_confirmed(principal, site.now())
    asked = Asked(data.kind, tuple(data.session_ids), data.reason, data.message, data.expires_seconds)
    tenant = principal.tenant
    key = key if key is not None else str(uuid.uuid4())  # so that the id of the request is known
    check(asked, key)
    async with site.connection() as connection:
        if data.dry_run:
            return TriedAnswer(None, data.kind, dry_run=True, results=await try_request(connection, tenant, asked))
        asker = Asker(principal.actor, principal.origin)
        try:
            answers = await request_commands(connection, tenant, asked, asker, site.now(), key=key)
        except KeyTaken:
            detail = "the key was used for another request; choose another key"
            raise Problem(422, "key-taken", "this idempotency key was used", detail) from None
    return TriedAnswer(request_id(tenant, key), data.kind, dry_run=False, results=answers)


def _summary(request: Request) -> DisconnectSummary:
    requested = sum(answer.status == "requested" for answer in request.answers)
    return DisconnectSummary(
        disconnect_id=request.request_id,
        kind=request.kind,
        reason=request.reason,
        message=request.message,
        requested_by=request.requested_by,
        requested_at=request.requested_at,
        requested=requested,
        refused=len(request.answers) - requested,
    )


def _result(answer: Answer, followed: Followed | None) -> Result:
    standing = None if followed is None else followed.standing
    return Result(
        session_id=answer.session_id,
        status=answer.status,
        command_id=answer.command_id,
        broker=answer.broker,
        state=answer.status if standing is None else standing.state,
        concluded_at=None if standing is None else standing.concluded_at,
        detail=answer.detail if standing is None else standing.detail,
        steps=[] if followed is None else [CommandStep(*step) for step in followed.steps],
    )
