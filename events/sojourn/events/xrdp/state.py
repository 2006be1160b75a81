"""What the adapter must not forget: the open sessions, what is still to be told of them, how far the logs were read."""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from sojourn.events.errors import UsageError
from sojourn.events.fields import CommandKind
from sojourn.events.xrdp.ends import Ending
from sojourn.events.xrdp.lines import Connected
from sojourn.events.xrdp.processes import Carrier, Desktop
from sojourn.events.xrdp.tail import Place


class Order(Struct):
    """A command that is being carried out; `signals` counts those that were sent for it."""

    id: str
    kind: CommandKind
    at: datetime
    expires_at: datetime
    signals: int = 0


class Session(Struct):
    """One connection of a client to a desktop; `is_told` once `established` is in the spool."""

    id: str
    user_id: str
    client_ip: str
    client_port: int
    client_name: str
    established_at: datetime
    desktop: Desktop
    carrier: Carrier
    predecessor: str | None = None
    is_told: bool = False
    order: Order | None = None
    missed_at: datetime | None = None  # when it was first seen to be over
    ending: Ending | None = None


class State(Struct):
    """All of it: `last` is the newest session of each desktop, `pending` what nothing has borne out yet."""

    boot: str
    sessions: list[Session] = []
    last: dict[str, str] = {}
    pending: list[Connected] = []
    sesman_log: Place | None = None
    xrdp_log: Place | None = None


class StateFile:
    """A file that a crash leaves whole; its time says when the adapter last looked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> State | None:
        """Return what was saved, None where nothing was."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise UsageError(f"this is no state of the xrdp adapter: {self._path}") from error

    def looked_at(self) -> datetime:
        """Return when `touch` or `save` was last called."""
        return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)

    def touch(self) -> None:
        """Note that the adapter looked, and saw nothing new."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._path)

    def save(self, state: State) -> None:
        """Put the state onto the disk."""
        beside = self._path.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(descriptor)
        beside.replace(self._path)
        with _folder(self._path.parent) as folder:
            os.fsync(folder)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
