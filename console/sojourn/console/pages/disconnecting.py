"""Asking to disconnect sessions: a page, or a dialogue, that says who will be cut off before anybody is."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from litestar import Response, post
from litestar.datastructures import FormMultiDict
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

from sojourn.console.api.disconnects import MANY
from sojourn.console.http.problems import malformed
from sojourn.console.pages.following import Whose, names_of
from sojourn.console.pages.render import AnyRequest, Pages, View, tenant_path, with_query
from sojourn.console.site.access import Who, needs, require_confirmed
from sojourn.console.site.principal import Principal
from sojourn.console.site.site import Connection
from sojourn.events.errors import UsageError
from sojourn.events.fields import TEXT_CHARACTERS_MAX
from sojourn.projections.requests import (
    SESSIONS_MAX,
    Answer,
    Asked,
    Asker,
    KeyTaken,
    request_commands,
    request_id,
    try_request,
)
from sojourn.projections.statements import statement

NAMES_MAX: Final = 10  # of those who will be cut off; nobody reads more before acting

_INVALID: Final = 422


class Form(NamedTuple):
    """What somebody filled in."""

    session_ids: Sequence[str]
    reason: str
    message: str
    typed: str
    key: str
    back: str
    is_sent: bool


class Person(NamedTuple):
    """Who will be cut off from what, or why not."""

    name: str
    desktop: str | None
    answer: Answer


def disconnect_page_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handler of the form, which is sent twice: with what was picked, and filled in."""

    @post("/t/{tenant:str}/disconnect", opt=needs("disconnect"), include_in_schema=False, status_code=200)
    async def disconnect(request: AnyRequest, principal: Who) -> Response[Any]:
        form = _form(await request.form())
        if len(form.session_ids) > MANY:
            require_confirmed(principal, pages.site.now())
        async with pages.site.reader(principal.tenant) as connection:
            view = await pages.view(request, principal, connection)
            names = await names_of(connection, form.session_ids)
            takes = await _commands_of(connection)
        errors = _errors(form, view) if form.is_sent else []
        if form.is_sent and not errors:
            try:
                await _send(pages, principal, form)
            except KeyTaken:
                errors = [("reason", view.words.gettext("This form was sent before with something else. Begin anew."))]
            else:
                return _done(view, form)
        return await _ask(pages, view, form, names, takes, errors)

    return [disconnect]


def _form(data: FormMultiDict) -> Form:
    session_ids = tuple(dict.fromkeys(str(value) for value in data.getall("session", [])))
    if not 1 <= len(session_ids) <= SESSIONS_MAX:
        raise malformed(f"select 1 to {SESSIONS_MAX} sessions, and then send the form")
    texts = {name: str(data.get(name, "")).strip() for name in ("reason", "message", "typed", "key", "back")}
    key = texts.pop("key") or str(uuid.uuid4())
    return Form(session_ids, **texts, key=key, is_sent=bool(data.get("send")))


def _errors(form: Form, view: View) -> list[tuple[str, str]]:
    _ = view.words.gettext
    errors = []
    if not form.reason:
        errors.append(("reason", _("Say why: the reason is kept with what was done")))
    for name, text in (("reason", form.reason), ("message", form.message)):
        if len(text) > TEXT_CHARACTERS_MAX or "\0" in text:
            errors.append((name, _("Use at most %(number)s characters") % {"number": TEXT_CHARACTERS_MAX}))
    if len(form.session_ids) > MANY and form.typed != str(len(form.session_ids)):
        errors.append(("typed", _("Type %(number)s, the number of sessions") % {"number": len(form.session_ids)}))
    return errors


async def _send(pages: Pages, principal: Principal, form: Form) -> None:
    asker = Asker(principal.actor, principal.origin)
    try:
        async with pages.site.connection() as connection:
            await request_commands(connection, principal.tenant, _asked(form), asker, pages.site.now(), key=form.key)
    except UsageError as error:
        raise malformed(str(error)) from None


def _asked(form: Form) -> Asked:
    return Asked("disconnect", tuple(form.session_ids), form.reason or "?", form.message or None)


def _done(view: View, form: Form) -> Response[Any]:
    """Lead back to the list, which follows the commands."""
    assert view.principal is not None
    query = dict(parse_qsl(form.back.lstrip("?")))
    followed = str(request_id(view.principal.tenant, form.key))
    path = f"{tenant_path(view)}/sessions" + with_query(query, follow=followed)
    if view.is_part:
        return Response(b"", headers={"HX-Redirect": path})
    return Redirect(path, status_code=303)


async def _ask(
    pages: Pages,
    view: View,
    form: Form,
    names: Mapping[str, Whose],
    takes: Mapping[str, Sequence[str]],
    errors: Sequence[tuple[str, str]],
) -> Response[Any]:
    assert view.principal is not None
    try:
        async with pages.site.connection() as connection:
            answers = await try_request(connection, view.principal.tenant, _asked(form))
    except UsageError as error:
        raise malformed(str(error)) from None
    people = [Person(*names[answer.session_id], answer) for answer in answers]
    able = [person for person in people if person.answer.status == "requested"]
    context = {
        "form": form,
        "people": able[:NAMES_MAX],
        "more": max(0, len(able) - NAMES_MAX),
        "refused": [person for person in people if person.answer.status == "refused"],
        "count": len(form.session_ids),
        "is_many": len(form.session_ids) > MANY,
        "can_tell": any("send_message" in takes.get(person.answer.broker or "", []) for person in able),
        "errors": errors,
        "text_max": TEXT_CHARACTERS_MAX,
        "back": f"{tenant_path(view)}/sessions{form.back if form.back.startswith('?') else ''}",
    }
    template = "_disconnect.html" if view.is_part else "disconnect.html"
    return pages.answer(view, template, context, status=_INVALID if errors else 200)


async def _commands_of(connection: Connection) -> dict[str, list[str]]:
    """Return what the tenant's brokers take, as its reader."""
    cursor = await connection.execute(statement("count_brokers"))
    return {source: commands for source, _, commands in await cursor.fetchall()}
