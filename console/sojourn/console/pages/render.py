"""Rendering pages: templates in the reader's language and the tenant's time zone."""

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Request, Response
from markupsafe import Markup, escape

from sojourn.console.pages.assets import asset_path
from sojourn.console.pages.frame import Fresh, fresh_line
from sojourn.console.pages.refusals import told
from sojourn.console.pages.times import Times
from sojourn.console.pages.words import LOCALES, Words, labels, preferred, words
from sojourn.console.site.principal import Principal
from sojourn.console.site.site import Connection, Site
from sojourn.projections.freshness import name, tenant_freshness

HTML: Final = "text/html"
LANGUAGE_COOKIE: Final = "language"  # what somebody chose by hand; it says nothing of who that is

GZIP_LEVEL: Final = 5  # 60 kB of rows in a millisecond; 9 takes three times as long for a fiftieth
GZIP_BYTES_MIN: Final = 1400  # what fits into one packet is not worth it

_SUBJECT_CHARACTERS_MAX: Final = 200  # no list is read to find more

AnyRequest = Request[Any, Any, Any]


class View:
    """What every page of one request knows: who reads it, in which words and times, and how fresh the lists are."""

    def __init__(
        self,
        request: AnyRequest,
        principal: Principal | None,
        now: datetime,
        zone: tzinfo = UTC,
    ) -> None:
        self.principal, self.zone = principal, zone
        self.words: Words = words(_locale(request, principal))
        self.times = Times(zone, now, self.words)
        self.path, self.query = request.url.path, request.url.query
        self.is_part = "hx-request" in request.headers  # a script asks for what changed in the page
        self.takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
        self.fresh: Fresh | None = None
        self.brokers: list[tuple[str, str]] = []  # those that may speak for the tenant: source, and what people say

    @property
    def zone_name(self) -> str:
        """The time zone as the time zone database and browsers call it."""
        return str(self.zone)

    def number(self, value: int) -> str:
        """Return a number with its thousands set apart: 12,408."""
        return f"{value:,}"

    def may(self, permission: Any) -> bool:
        """Tell whether who reads this may do that."""
        return self.principal is not None and self.principal.may(permission)


class Pages:
    """The templates."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._by_locale = {locale: _speaking(words(locale)) for locale in LOCALES}

    async def view(self, request: AnyRequest, principal: Principal, connection: Connection) -> View:
        """Return what a page about the tenant knows; `connection` is the reader whose snapshot the page shows."""
        view = View(request, principal, self.site.now(), await tenant_zone(connection))
        fresh = await tenant_freshness(connection)
        view.fresh = fresh_line(fresh, view.times, view.words)
        view.brokers = [(broker.source, name(broker.source)) for broker in fresh.brokers]
        return view

    def text(self, view: View, template: str, context: Mapping[str, Any]) -> str:
        """Return a template as HTML; it knows `view`, `times`, `principal`, and what `context` names."""
        whole = {"view": view, "times": view.times, "principal": view.principal, "tenant_path": tenant_path(view)}
        return self._by_locale[view.words.locale].get_template(template).render({**whole, **context})

    def answer(
        self,
        view: View,
        template: str,
        context: Mapping[str, Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response[bytes]:
        """Return a page; see `text`."""
        content = self.text(view, template, context).encode()
        all_headers = {"Vary": "Accept-Encoding, Accept-Language, Cookie, HX-Request", **(headers or {})}
        if view.takes_gzip and len(content) >= GZIP_BYTES_MIN:
            content = gzip.compress(content, GZIP_LEVEL, mtime=0)
            all_headers["Content-Encoding"] = "gzip"
        return Response(content, media_type=HTML, status_code=status, headers=all_headers)


def tenant_path(view: View) -> str:
    """Return where the tenant's pages begin."""
    return "" if view.principal is None else f"/t/{segment(view.principal.tenant)}"


def segment(text: str) -> str:
    """Return any text as one segment of a path, or as an id within a page."""
    return quote(text, safe="")


def breakable(address: str) -> Markup:
    """Return an address that a narrow column may break after its colons."""
    return escape(address).replace(":", Markup(":<wbr>"))


def with_query(query: Mapping[str, Any], **changes: Any) -> str:
    """Return `?…` with these parameters changed; None drops one."""
    merged = {name: value for name, value in {**query, **changes}.items() if value not in (None, "", [])}
    return "?" + urlencode(merged, doseq=True)


async def tenant_zone(connection: Connection) -> tzinfo:
    """Return the time zone of the reader's tenant; UTC where none was set."""
    row = await (await connection.execute("SELECT time_zone FROM tenant")).fetchone()
    return ZoneInfo(row[0]) if row is not None and row[0] else UTC


def _speaking(language: Words) -> Environment:
    """Return an environment of its own for each language: overlays share the functions that translate."""
    environment = Environment(
        loader=PackageLoader("sojourn.console.pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        language.gettext, language.ngettext, newstyle=True
    )
    environment.globals |= {"asset": asset_path, "LOCALES": LOCALES, "with_query": with_query, **labels(language)}
    environment.filters |= {
        "segment": segment,
        "broker": name,
        "breakable": breakable,
        "told": partial(told, words=language),
        "subject": partial(_subject, words=language),
    }
    return environment


def _subject(text: str, words: Words) -> str:
    """Return what an act was about; several sessions are JSON of their ids, of which a line says how many."""
    if text.startswith("["):
        sessions = json.loads(text)
        if len(sessions) > 1:
            return words.ngettext("%(count)s session", "%(count)s sessions", len(sessions)) % {"count": len(sessions)}
        return str(*sessions)
    return text if len(text) <= _SUBJECT_CHARACTERS_MAX else f"{text[:_SUBJECT_CHARACTERS_MAX]}…"


def _locale(request: AnyRequest, principal: Principal | None) -> str:
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    own = None if principal is None else principal.locale
    for locale in (chosen, own):
        if locale in LOCALES:
            assert locale is not None
            return locale
    return preferred(request.headers.get("accept-language", ""))
