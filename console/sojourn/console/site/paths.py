"""Paths as they were sent: a slash that is encoded stands in a name, as of a session, and divides nothing."""

from typing import Any, Final
from urllib.parse import unquote

_SLASH: Final = "\x1f"  # no name has it, so that it stands for a slash while the path is divided
_NO_SLASH: Final = "\x1e"  # neither has any name this


def divide(scope: Any) -> None:
    """Keep the slashes in the names of a path from those that divide it, until `join`."""
    if _is_concerned(scope):
        scope["path"] = "/".join(_kept(unquote(part)) for part in scope["raw_path"].decode("ascii").split("/"))


def join(scope: Any) -> None:
    """Give the names that were found in a path their slashes back."""
    if _is_concerned(scope):
        scope["path"] = scope["path"].replace(_SLASH, "/")
        given = scope["path_params"]
        scope["path_params"] = {
            name: value.replace(_SLASH, "/") if isinstance(value, str) else value for name, value in given.items()
        }


def _is_concerned(scope: Any) -> bool:
    return b"%2f" in scope.get("raw_path", b"").lower()


def _kept(part: str) -> str:
    return part.replace(_SLASH, _NO_SLASH).replace("/", _SLASH)
