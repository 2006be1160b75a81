"""How the demo's brokers take commands: most obey, one refuses, one never answers, also across restarts."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from sojourn.events.codec import decode, encode
from sojourn.events.decision_data import DisconnectAcknowledgedData, DisconnectFailedData
from sojourn.events.errors import OffsetOutOfRange, SojournError, Unreachable
from sojourn.events.fields import CommandKind
from sojourn.events.log import Log, Record
from sojourn.events.publisher import Publisher
from sojourn.events.simulator.day import Session
from sojourn.events.simulator.plan import Plan, instant_at, milliseconds
from sojourn.events.simulator.play import Clock
from sojourn.events.simulator.stream import Happening
from sojourn.events.simulator.truth import truth_line
from sojourn.events.topics import COMMANDS
from sojourn.events.types import (
    Alive,
    AliveData,
    Destroyed,
    DestroyedData,
    DisconnectAcknowledged,
    DisconnectFailed,
    DisconnectRequested,
    Event,
    Heartbeats,
)

ORDERS_FILE: Final = "demo-commands.json"
ANSWER_AFTER: Final = timedelta(seconds=1)  # as a broker that asks the desktop's agent
END_AFTER: Final = timedelta(seconds=2)  # so that who follows a command sees it acknowledged before it is confirmed
WAIT_SECONDS_MAX: Final = 5.0  # between two looks; the log says at once when something comes
BACKOFF_SECONDS: Final = 1.0  # a database that restarts is back within seconds
FORGET_AFTER: Final = timedelta(days=1)  # the demo's own progress is saved every few seconds
SEEN_MAX: Final = 1000  # commands that may come again: what a relay appends twice stands close together

REFUSES: Final = 2  # the number of the broker that does not want to, so that the demo shows what that looks like
IGNORES: Final = 3  # and of the one that never answers
EVERYTHING: Final[list[CommandKind]] = ["disconnect", "log_off", "send_message"]

Outcome = Literal["refused", "failed"]
Refusal = tuple[Outcome, str]

_log = structlog.get_logger("sojourn.demo")


class Order(Struct, frozen=True):
    """A command that is not carried out yet; `value` are the bytes of its request, `at` is when the log took it."""

    value: bytes
    at: datetime
    stage: Literal["taken", "acknowledged", "ending"] = "taken"

    @property
    def due(self) -> datetime:
        """When its broker does the next thing about it."""
        return self.at + (ANSWER_AFTER if self.stage == "taken" else END_AFTER)


class Ended(Struct, frozen=True):
    """A session that a command ended, which otherwise would have ended at the moment `until`."""

    broker: str
    until: int


class Orders(Struct):
    """What the brokers remember.

    How far commands are read, the ids of those that came last, those in hand, and by id the sessions that they ended.
    """

    read: dict[int, int] = {}
    seen: list[str] = []
    in_hand: list[Order] = []
    ended: dict[str, Ended] = {}


class Obedience:
    """Carries commands out, and leaves out of the demo what no longer happens because of them.

    What is about to be told is saved first; ids and times come from the command, so that telling it twice is a
    duplicate.
    """

    def __init__(self, log: Log, directory: Path, truth: BinaryIO, plan: Plan, clock: Clock) -> None:
        self._log, self._publisher, self._plan, self._clock = log, Publisher(log), plan, clock
        self._path, self._truth = directory / ORDERS_FILE, truth
        self._orders = _load(self._path)
        self._reached = 0

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Take commands and carry them out while the block runs."""
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def after(self, happening: Happening) -> Happening:
        """Return what happens after all: without the sessions that commands ended, and with what brokers declare."""
        moment, event, session = happening
        self._reached = moment
        ended = self._orders.ended
        if session is not None and session.id in ended and moment == ended[session.id].until:
            return Happening(moment, None, None)
        match event:
            case Heartbeats(data=data) if ended and not ended.keys().isdisjoint(data.sessions):
                alive = [session_id for session_id in data.sessions if session_id not in ended]
                details = {session_id: data.details[session_id] for session_id in alive if session_id in data.details}
                return Happening(moment, replace(event, data=replace(data, sessions=alive, details=details)), session)
            case Alive(source=source, data=AliveData() as data):
                gone = sum(one.broker == source and one.until > moment for one in ended.values())
                sessions = None if data.sessions is None else max(0, data.sessions - gone)
                data = replace(data, sessions=sessions, commands=self._declared(source))
                return Happening(moment, replace(event, data=data), session)
        return happening

    async def _work(self) -> None:
        while True:
            try:
                await self._round()
            except OffsetOutOfRange:  # another log than the one that was read
                self._orders.read = {}
            except (Unreachable, OSError) as error:
                _log.warning("demo.commands_retry", error=str(error), seconds=BACKOFF_SECONDS)
                await asyncio.sleep(BACKOFF_SECONDS)

    async def _round(self) -> None:
        """Take what has come, do what is due, and wait for more of either."""
        if not self._orders.read:
            self._orders.read = await self._log.start_offsets(COMMANDS)
        for partition, offset in list(self._orders.read.items()):
            batch = await self._log.read(COMMANDS, partition, offset)
            if batch.next_offset > offset:
                self._orders.in_hand += [Order(one.value, one.appended_at) for one in batch.records if self._takes(one)]
                self._orders.read[partition] = batch.next_offset
        for order in [order for order in self._orders.in_hand if order.due <= self._clock()]:
            await self._carry_out(order)
        positions = {(COMMANDS, partition): offset for partition, offset in self._orders.read.items()}
        due = min((order.due for order in self._orders.in_hand), default=None)
        wait = WAIT_SECONDS_MAX if due is None else (due - self._clock()).total_seconds()
        await self._log.wait(positions, max(0.0, min(wait, WAIT_SECONDS_MAX)))

    def _takes(self, record: Record) -> bool:
        """Tell whether it is a new command to one of these brokers that answer; the log may hold one twice."""
        command = decode(record.value)
        brokers = self._plan.world.brokers
        if not isinstance(command, DisconnectRequested) or command.data.broker not in brokers:
            return False
        if brokers.index(command.data.broker) == IGNORES or command.data.command in self._orders.seen:
            return False
        self._orders.seen = [*self._orders.seen, command.data.command][-SEEN_MAX:]
        return True

    async def _carry_out(self, order: Order) -> None:
        command = decode(order.value)
        assert isinstance(command, DisconnectRequested)
        session = self._open(command.subject, order)
        refusal = self._refusal(command, order, session)
        if refusal is not None:
            await self._tell(_failed(command, order, *refusal))
            self._replace(order, None)
        elif order.stage == "taken":
            await self._tell(_acknowledged(command, order))
            ends = command.data.kind != "send_message"
            self._replace(order, replace(order, stage="acknowledged") if ends else None)
        elif session is not None:
            ending = replace(order, stage="ending")
            self._orders.ended[session.id] = Ended(session.seat.broker, session.logout)
            self._replace(order, ending)
            end = _ended(command, order)
            await self._tell(end)
            self._truth.write(_true_end(session, end))
            self._truth.flush()
            self._replace(ending, None)

    def _refusal(self, command: DisconnectRequested, order: Order, session: Session | None) -> Refusal | None:
        """Return why the broker does not go on with what it is asked; nothing stops an end that may have been told."""
        if order.stage == "ending" and session is not None:
            return None
        if session is None or session.id in self._orders.ended:
            return "failed", "the session has ended"
        if order.stage == "taken" and self._clock() >= command.data.expires_at:
            return "refused", "it had expired when the broker read it"
        if self._plan.world.brokers.index(command.data.broker) == REFUSES:
            return "refused", "the desktop is in maintenance"
        return None

    def _open(self, session_id: str, order: Order) -> Session | None:
        """Return the session if it is open, and would be when the command has ended it."""
        now, end = milliseconds(order.at), milliseconds(order.at + END_AFTER)
        for session in self._plan.sessions(now):
            if session.login > now:
                return None
            if session.id == session_id:
                return session if session.logout > end else None
        return None

    def _declared(self, source: str) -> list[CommandKind]:
        number = self._plan.world.brokers.index(source)
        return ["disconnect"] if number in {REFUSES, IGNORES} else EVERYTHING

    def _replace(self, order: Order, following: Order | None) -> None:
        others = [one for one in self._orders.in_hand if one not in {order, following}]
        self._orders.in_hand = others if following is None else [*others, following]
        self._save()

    async def _tell(self, event: Event) -> None:
        await self._publisher.publish([encode(event)])

    def _save(self) -> None:
        forgotten = self._reached - FORGET_AFTER // timedelta(milliseconds=1)
        self._orders.ended = {name: one for name, one in self._orders.ended.items() if one.until > forgotten}
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(self._orders))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


def _load(path: Path) -> Orders:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Orders)
    except FileNotFoundError:
        return Orders()
    except (OSError, msgspec.DecodeError) as error:
        raise SojournError(f"the demo's commands cannot be read ({error}); remove them to forget: {path}") from error


def _acknowledged(command: DisconnectRequested, order: Order) -> DisconnectAcknowledged:
    return DisconnectAcknowledged(
        specversion="1.0",
        id=f"acknowledged/{command.data.command}",
        source=command.data.broker,
        time=_whole(order.at + ANSWER_AFTER),
        tenant=command.tenant,
        subject=command.subject,
        data=DisconnectAcknowledgedData(command.data.command),
    )


def _failed(command: DisconnectRequested, order: Order, outcome: Outcome, why: str) -> DisconnectFailed:
    return DisconnectFailed(
        specversion="1.0",
        id=f"{outcome}/{order.stage}/{command.data.command}",
        source=command.data.broker,
        time=_whole(order.due),
        tenant=command.tenant,
        subject=command.subject,
        data=DisconnectFailedData(command.data.command, outcome, why),
    )


def _ended(command: DisconnectRequested, order: Order) -> Destroyed:
    reason: Literal["admin_disconnect", "logoff"] = "logoff" if command.data.kind == "log_off" else "admin_disconnect"
    return Destroyed(
        specversion="1.0",
        id=f"{command.subject}-by-command",
        source=command.data.broker,
        time=_whole(order.at + END_AFTER),
        tenant=command.tenant,
        subject=command.subject,
        sequence="2",
        sequencetype="Integer",
        datacontenttype="application/json",
        data=DestroyedData(reason=reason, command=command.data.command),
    )


def _true_end(session: Session, end: Destroyed) -> bytes:
    """Return the truth line of a session that a command ended."""
    moment, reason = milliseconds(end.time), end.data.reason
    return truth_line(replace(session, logout=moment, reason=reason, detail=None, end_published=True), moment + 1)


def _whole(at: datetime) -> datetime:
    return instant_at(milliseconds(at))
