"""Where Sojourn keeps its data and which database it uses, read from the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from msgspec import Struct

from sojourn.events.errors import UsageError

DATA_DIR = "SOJOURN_DATA_DIR"
DATABASE_DSN = "SOJOURN_DATABASE_DSN"
ROOT_DATA_DIR = Path("/var/lib/sojourn")

_HIDDEN = "***"
_URL = re.compile(r"(?P<scheme>postgres(?:ql)?://)(?:(?P<user>[^:@/?#\s]*)(?::[^:@/?#\s]*)?@)?(?P<rest>[^@\s]*)")
_KEYWORD = re.compile(r"\s*(?P<name>\w+)\s*=\s*(?P<value>'(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?:\s+|$)")


class Setting(NamedTuple):
    """One row of `sojourn config show`; secrets in `value` are hidden."""

    name: str
    value: str
    source: str


class Settings(Struct, frozen=True):
    """What the environment and the command line decide; everything else is a constant."""

    data_dir: Path
    database_dsn: str | None = None
    data_dir_source: str = "--data-dir"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], data_dir: Path | None = None) -> "Settings":
        """Read the variables; `data_dir` is the command line's and comes first, an empty variable counts as not set."""
        dsn = environ.get(DATABASE_DSN, "").strip() or None
        if dsn and not _URL.match(dsn) and not _KEYWORD.match(dsn):
            raise UsageError(
                "the database is named neither like postgresql://user@host/database nor like "
                f"'host=… dbname=…' in {DATABASE_DSN}"
            )
        if data_dir is not None:
            return cls(_absolute(data_dir), dsn)
        if given := environ.get(DATA_DIR):
            return cls(_absolute(Path(given)), dsn, DATA_DIR)
        return cls(_default_data_dir(environ), dsn, "default")

    def describe(self) -> list[Setting]:
        """Return every setting with where it came from."""
        shown = hide_password(self.database_dsn) if self.database_dsn else "embedded PostgreSQL"
        return [
            Setting(DATA_DIR, str(self.data_dir), self.data_dir_source),
            Setting(DATABASE_DSN, shown, DATABASE_DSN if self.database_dsn else "default"),
        ]

    def __repr__(self) -> str:
        rows = ", ".join(f"{name}={value!r}" for name, value, _ in self.describe())
        return f"Settings({rows})"


def hide_password(dsn: str) -> str:
    """Return the connection string without its secrets; whole unless every part of it is understood."""
    if url := _URL.fullmatch(dsn):
        place, question, query = url["rest"].partition("?")
        user = "" if url["user"] is None else f"{url['user']}:{_HIDDEN}@" if _has_password(dsn) else f"{url['user']}@"
        return f"{url['scheme']}{user}{place}{question}{_HIDDEN if 'password' in unquote(query) else query}"
    words = list(_KEYWORD.finditer(dsn))
    if "".join(word[0] for word in words) != dsn:
        return _HIDDEN
    return " ".join(
        f"{word['name']}={_HIDDEN if 'password' in word['name'].lower() else word['value']}" for word in words
    )


def _has_password(url: str) -> bool:
    return ":" in url.partition("://")[2].partition("@")[0]


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"no such user's home directory: {path}") from error


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return ROOT_DATA_DIR
    base = Path(environ.get("XDG_DATA_HOME", ""))
    if not base.is_absolute():  # the XDG specification: a relative one is to be ignored
        base = _absolute(Path(environ.get("HOME") or "~")) / ".local" / "share"
    return base / "sojourn"
