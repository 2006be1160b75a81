"""The adapter: looks at the xrdp server, tells Sojourn what changed, and carries out its commands."""

import asyncio
import signal
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from sojourn.events.broker.broker import Broker, SpoolFull
from sojourn.events.broker.inbox import Command
from sojourn.events.broker.transports import Transport
from sojourn.events.errors import UsageError
from sojourn.events.fields import CommandKind
from sojourn.events.types import Desktop, EstablishedData, Terminal, User
from sojourn.events.xrdp import processes
from sojourn.events.xrdp.state import Order, Session, State, StateFile
from sojourn.events.xrdp.watch import Watch

KINDS: Final[tuple[CommandKind, ...]] = ("disconnect", "log_off")  # xrdp has no way to show a message
LOOK_SECONDS: Final = 0.25  # between looks; an end is told after two
BEAT_SECONDS = 30  # what Sojourn expects unless it is told otherwise; tests beat faster
KILL_SECONDS: Final = 5  # a process that was asked to end is then killed

_logger: Final = structlog.get_logger()


class Options(Struct, frozen=True):
    """What the command line says."""

    source: str
    tenant: str
    host: str
    folder: Path
    sesman_log: Path
    xrdp_log: Path


async def run(options: Options, transport: Transport, stop: asyncio.Event) -> None:
    """Be a broker until `stop`; sessions go on without the adapter, and it finds them again."""
    async with Broker(options.source, transport, spool=options.folder / "spool", kinds=KINDS) as broker:
        adapter = _Adapter(options, broker)
        broker.keep_beating(adapter.beating, BEAT_SECONDS)
        try:
            await _first_of(adapter.watch(), adapter.obey(), stop.wait())
        finally:
            adapter.close()


class _Adapter:
    def __init__(self, options: Options, broker: Broker) -> None:
        self._tenant, self._host, self._broker = options.tenant, options.host, broker
        self._file = StateFile(options.folder / "xrdp.json")
        saved = self._file.load()
        last_seen = self._file.looked_at() if saved else None
        self._watch = Watch(
            saved or State(processes.boot_id()), options.host, options.sesman_log, options.xrdp_log, last_seen
        )
        self._state = self._watch.state
        self._changing = asyncio.Lock()  # a look and a command both change the state
        self._alive: list[tuple[str, str]] = []

    def beating(self) -> list[tuple[str, str]]:
        """Return the sessions that are alive, as the last look found."""
        return self._alive

    def close(self) -> None:
        self._watch.close()

    async def watch(self) -> None:
        """Look, and tell, again and again."""
        while True:
            async with self._changing:
                changed = await asyncio.to_thread(self._look)
                if changed:
                    await self._save()
                if await self._tell():
                    await self._save()
                self._alive = [(self._tenant, one.id) for one in self._watch.open_sessions() if one.is_told]
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self) -> bool:
        try:
            changed = self._watch.look(datetime.now(UTC))
        except PermissionError as error:
            raise UsageError(f"the adapter may not read what it has to, so run it as root: {error}") from error
        if not changed:
            self._file.touch()
        return self._push() or changed

    async def _tell(self) -> bool:
        """Give to the SDK what it does not have yet; a full spool is tried again at the next look."""
        changed = False
        try:
            for session in list(self._state.sessions):
                if not session.is_told:
                    await self._broker.established(
                        self._tenant, session.id, _established(session, self._host), at=session.established_at
                    )
                    session.is_told = changed = True
                if session.ending is not None:
                    reason, detail, command = session.ending.reason, session.ending.detail, session.ending.command
                    await self._broker.destroyed(
                        self._tenant, session.id, reason, detail=detail, command=command, at=session.missed_at
                    )
                    self._state.sessions.remove(session)
                    changed = True
        except SpoolFull as full:
            _logger.warning("spool_full", error=str(full))
        return changed

    async def _save(self) -> None:
        await asyncio.to_thread(self._file.save, self._state)

    async def obey(self) -> None:
        """Carry out Sojourn's commands; `destroyed` names the command when the connection has ended."""
        async for command in self._broker.commands():
            refusal = await self._order(command)
            try:
                await (command.acknowledge() if refusal is None else command.refuse(refusal))
            except SpoolFull as full:  # what the command asks for is done all the same
                _logger.warning("spool_full", command=command.id, error=str(full))

    async def _order(self, command: Command) -> str | None:
        """Note that a session is to end, or return why not."""
        async with self._changing:
            found = [
                session
                for session in self._watch.open_sessions()
                if (self._tenant, session.id) == (command.tenant, command.session_id)
            ]
            if not found:
                return f"no such connection is open here: {command.session_id}"
            if found[0].order is not None and found[0].order.id != command.id:
                return f"it is ended already by command {found[0].order.id}"
            found[0].order = Order(command.id, command.kind, datetime.now(UTC), command.expires_at)
            await self._save()
        return None

    def _push(self) -> bool:
        """Ask the processes of sessions that are to end to do so, then make them; nobody else's are touched."""
        changed, now = False, datetime.now(UTC)
        for session in self._watch.open_sessions():
            order = session.order
            if order is None:
                continue
            is_late = (now - order.at).total_seconds() > KILL_SECONDS
            if order.signals == 0 and now > order.expires_at:
                session.order = None  # the adapter was away since it took the command
                changed = True
            elif order.signals == 0 or (order.signals == 1 and is_late):
                targets = _targets(session, order, is_late=is_late)
                for process in targets:
                    processes.end(process, signal.SIGKILL if is_late else signal.SIGTERM)
                if targets:
                    order.signals += 1
                    changed = True
        return changed


def _targets(session: Session, order: Order, *, is_late: bool) -> list[processes.Process]:
    """Return what is to end: the connection alone, or the window manager, which is how a user logs off.

    Nothing yet where the window manager is still to be started.
    """
    if order.kind == "disconnect":
        return [session.carrier.process]
    window_manager = processes.window_manager(session.desktop)
    if is_late or not processes.is_alive(session.desktop.session):
        return [*([window_manager] if window_manager else []), session.desktop.x_server]
    return [window_manager] if window_manager else []


def _established(session: Session, host: str) -> EstablishedData:
    place = f"{host}:{session.desktop.display}"
    return EstablishedData(
        user=User(session.user_id, session.desktop.full_name),
        desktop=Desktop(place, place, host),
        terminal=Terminal("other", "unknown", "unknown", session.client_name),
        client_ip=session.client_ip,
        protocol="rdp",
        predecessor=session.predecessor,
    )


async def _first_of(*awaitables: Awaitable[object]) -> None:
    """Return when one of them does, or raise what it raises."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
