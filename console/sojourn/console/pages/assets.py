"""The files that pages name: each under a path with the hash of its content, so that a browser keeps it for good."""

import gzip
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sojourn.console.http.problems import Problem
from sojourn.console.site.access import OPEN

KINDS: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

_HASH_DIGITS: Final = 12  # of a few files that nobody forges
_FOR_GOOD: Final = "public, max-age=31536000, immutable"


@cache
def asset(name: str) -> tuple[bytes, str]:
    """Return the content of a file below static/ and the hash in its path; raises KeyError for none."""
    folder = files("sojourn.console.pages").joinpath("static")
    for part in name.split("/"):
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        if part not in names:
            raise KeyError(name)
        folder = folder.joinpath(part)
    content = folder.read_bytes()
    return content, sha256(content).hexdigest()[:_HASH_DIGITS]


@cache
def packed(name: str) -> bytes:
    """Return the content of a file as browsers like it best on the wire."""
    return gzip.compress(asset(name)[0], mtime=0)


def asset_path(name: str) -> str:
    """Return the path under which a file is served."""
    return f"/static/{asset(name)[1]}/{name}"


def asset_handler() -> HTTPRouteHandler:
    """Return the handler that serves them."""

    @get("/static/{digest:str}/{name:path}", opt=OPEN, include_in_schema=False)
    async def serve(request: Request[Any, Any, Any], digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        name = name.removeprefix("/")
        kind = KINDS.get(name[name.rfind(".") :])
        try:
            content, known = asset(name)
        except KeyError:
            content, known = b"", ""
        if kind is None or known != digest:
            raise Problem(404, "not-found", "there is nothing under this path")
        headers = {"Cache-Control": _FOR_GOOD, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            content = packed(name)
            headers["Content-Encoding"] = "gzip"
        return Response(content, media_type=kind, headers=headers)

    return serve
