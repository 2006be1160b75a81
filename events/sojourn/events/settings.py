"""Where Sojourn keeps its data, which database and which log it uses, read from the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from msgspec import Struct

from sojourn.events.errors import UsageError
from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS, KafkaSettings

DATA_DIR = "SOJOURN_DATA_DIR"
DATABASE_DSN = "SOJOURN_DATABASE_DSN"
WORKER_NAME = "SOJOURN_WORKER_NAME"
METRICS_PORT = "SOJOURN_METRICS_PORT"
EXPORT_DESTINATIONS = "SOJOURN_EXPORT_DESTINATIONS"
ROOT_DATA_DIR = Path("/var/lib/sojourn")

PORT_MAX = 65535  # of TCP

_HIDDEN = "***"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")  # what Kafka takes as the instance of a group, and is short enough to read
_DESTINATION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # as tenants are named
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
    kafka: KafkaSettings | None = None
    worker_name: str | None = None
    metrics_port: int | None = None
    export_destinations: dict[str, Path] = {}

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
            directory, source = _absolute(data_dir), "--data-dir"
        elif given := environ.get(DATA_DIR):
            directory, source = _absolute(Path(given)), DATA_DIR
        else:
            directory, source = _default_data_dir(environ), "default"
        kafka = KafkaSettings.from_environment(environ)
        return cls(directory, dsn, source, kafka, _worker_name(environ), _metrics_port(environ), _destinations(environ))

    def describe(self) -> list[Setting]:
        """Return every setting with where it came from."""
        shown = hide_password(self.database_dsn) if self.database_dsn else "embedded PostgreSQL"
        log = [Setting(BOOTSTRAP_SERVERS, "embedded log", "default")]
        if self.kafka is not None:
            log = [Setting(name, value, name) for name, value in self.kafka.describe()]
        destinations = ",".join(f"{name}={folder}" for name, folder in self.export_destinations.items())
        port = "off" if self.metrics_port is None else str(self.metrics_port)
        return [
            Setting(DATA_DIR, str(self.data_dir), self.data_dir_source),
            Setting(DATABASE_DSN, shown, DATABASE_DSN if self.database_dsn else "default"),
            *log,
            Setting(
                WORKER_NAME,
                self.worker_name or "a new one at each start",
                WORKER_NAME if self.worker_name else "default",
            ),
            Setting(METRICS_PORT, port, METRICS_PORT if self.metrics_port else "default"),
            Setting(EXPORT_DESTINATIONS, destinations or "none", EXPORT_DESTINATIONS if destinations else "default"),
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


def _worker_name(environ: Mapping[str, str]) -> str | None:
    name = environ.get(WORKER_NAME, "").strip() or None
    if name and not _NAME.fullmatch(name):
        raise UsageError(f"a worker's name has letters, digits and . _ -, at most 100, in {WORKER_NAME}, not: {name!r}")
    return name


def _metrics_port(environ: Mapping[str, str]) -> int | None:
    port = environ.get(METRICS_PORT, "").strip()
    if not port:
        return None
    if not port.isdecimal() or not 1 <= int(port) <= PORT_MAX:
        raise UsageError(f"a port is a number from 1 to {PORT_MAX} in {METRICS_PORT}, not: {port!r}")
    return int(port)


def _destinations(environ: Mapping[str, str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for entry in filter(None, (part.strip() for part in environ.get(EXPORT_DESTINATIONS, "").split(","))):
        name, _, folder = entry.partition("=")
        if not _DESTINATION.fullmatch(name) or not folder.startswith("/") or name in found:
            raise UsageError(
                "a destination is a name of its own, of a-z, 0-9 and -, and an absolute folder, like "
                f"archive=/srv/exports in {EXPORT_DESTINATIONS}, not: {entry!r}"
            )
        found[name] = Path(folder)
    return found


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
