"""The bodies of requests: JSON that is just what the description says."""

import re
from typing import Any, Final

import msgspec
from litestar import Request

from sojourn.console.api.parameters import TEXT_CHARACTERS_MAX
from sojourn.console.http.bodies import media_type, unsupported
from sojourn.console.http.problems import Problem, malformed
from sojourn.console.jobs.orders import refused
from sojourn.events.codec import DEPTH_MAX

_FIELD: Final = re.compile(r"Object (?:(?P<missing>missing required)|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_JSON: Final = "application/json"


def _number(text: str) -> int | float:
    """Return a number by its value: JSON Schema takes 60.0 for the integer that it is."""
    value = float(text)
    return int(value) if value.is_integer() else value


_decoder: Final = msgspec.json.Decoder(float_hook=_number)


def _misshapen(error: str) -> Problem:
    """Return the problem of a body that is JSON, but not what it should be, with the place of it."""
    what, _, place = error.partition(" - at `$")
    path = place.rstrip("`").removeprefix(".")
    if field := _FIELD.fullmatch(what):
        name = ".".join(filter(None, (path, field["name"][:TEXT_CHARACTERS_MAX])))
        return refused(name, "it is missing" if field["missing"] else "there is no such field")
    return refused(path or "body", what[:1].lower() + what[1:])


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body is read strictly; Litestar itself takes 0 for false, and "60" for 60."""

    async def json(self) -> Any:
        """Return the body as the handler's `data`; raises the problem that it is not one."""
        if media_type(self) != _JSON:
            raise unsupported(f"a body is sent as {_JSON}")
        field = self.route_handler.parsed_data_field
        assert field is not None
        try:
            return msgspec.convert(_decoder.decode(await self.body()), field.annotation)
        except msgspec.ValidationError as error:
            raise _misshapen(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise malformed("the body is no JSON") from None
        except RecursionError:
            raise malformed(f"JSON may be nested {DEPTH_MAX} deep") from None
