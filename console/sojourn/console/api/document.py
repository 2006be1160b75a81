"""The description of the API at /v1/openapi.json, with schemas by the library that reads and writes the bodies."""

from collections.abc import Iterator, Sequence
from inspect import cleandoc, get_annotations
from typing import Any, Final, get_args, get_origin

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server

from sojourn.console.api.problems import ProblemDocument

TOKEN: Final = "token"  # noqa: S105 - the name of a scheme

_ELSEWHERE: Final = frozenset({"oneOf", "type", "enum", "description"})  # judged, or told beside it

_ABOUT: Final = """\
What the pages show and do, for programs. A request shows one header `Authorization: Bearer sja_…`.

All that is read and done is about the tenant of the token. Who administers the platform names one by the parameter
`tenant` of any operation. A parameter that an operation does not have is refused, and so is one that is given twice.

What goes wrong is told as RFC 9457 has it, with a `type` that stays the same from version to version.
"""


class Document(JsonRenderPlugin):
    """Renders the description; Litestar's own schemas forget which fields are refused, and what lists hold."""

    def __init__(self, handlers: Sequence[HTTPRouteHandler]) -> None:
        super().__init__(path=["/", "/openapi.json"])
        self._handlers = handlers
        self._rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document as JSON; it is the same from the first time on."""
        if self._rendered is None:
            components = {**openapi_schema["components"], "schemas": _schemas(self._handlers)}
            for operation in (one for path in openapi_schema["paths"].values() for one in path.values()):
                _mend(operation)
            self._rendered = self.render_json(request, {**openapi_schema, "components": components})
        return self._rendered


def openapi(handlers: Sequence[HTTPRouteHandler]) -> OpenAPIConfig:
    """Return how the API is described."""
    token = SecurityScheme(type="http", scheme="bearer", description="A token of the API, `sja_…`.")
    return OpenAPIConfig(
        title="Sojourn",
        version="1",
        description=_ABOUT,
        path="/v1/openapi.json",  # below the path of the API, Litestar would answer what is not there with a page
        servers=[Server(url="/", description="The console that gave this document.")],
        use_handler_docstrings=True,
        components=Components(security_schemes={TOKEN: token}),
        render_plugins=[Document(handlers)],
    )


def _schemas(handlers: Sequence[HTTPRouteHandler]) -> dict[str, Any]:
    """Return the schemas of all bodies by their names."""
    kinds = {kind for handler in handlers for kind in _kinds(handler)}
    _, schemas = msgspec.json.schema_components([ProblemDocument, *kinds], ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        schema["description"] = cleandoc(schema.get("description", ""))
    return dict(sorted(schemas.items()))


def _kinds(handler: HTTPRouteHandler) -> Iterator[Any]:
    """Yield the types of the bodies that a handler takes and answers."""
    annotations = get_annotations(handler.fn)
    for name in {"data", "return"} & annotations.keys():
        kind: Any = annotations[name]
        if get_origin(kind) == Response:
            (kind,) = get_args(kind)
        if isinstance(kind, type) and issubclass(kind, Response):
            continue  # a stream of bytes
        yield kind


def _mend(operation: dict[str, Any]) -> None:
    """Say of an operation what is so: a query knows no null, and files have no schema."""
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _present(parameter["schema"])
    for answer in operation["responses"].values():
        for content in answer.get("content", {}).values():
            if not content["schema"]:
                del content["schema"]


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter where it is given: it may be left out, but a query knows no null."""
    given = {name: value for name, value in schema.items() if name not in _ELSEWHERE}
    for name, value in schema.items():
        if name == "oneOf":
            others = [one for one in value if one != {"type": "null"}]
            given |= others[0] if len(others) == 1 else {"oneOf": others}
        elif name == "type" and isinstance(value, list):
            (given["type"],) = (one for one in value if one != "null")
        elif name == "enum":
            given["enum"] = [one for one in value if one is not None]
        elif name == "type":
            given["type"] = value
    return given
