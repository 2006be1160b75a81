"""What is going on at an xrdp server: look after look, lines and processes become sessions and their ends."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sojourn.events.xrdp import processes
from sojourn.events.xrdp.ends import Evidence, judge
from sojourn.events.xrdp.lines import (
    Claim,
    ClientNamed,
    Connected,
    Goodbye,
    LoggedOff,
    Note,
    Received,
    ShutDown,
    XServerEnded,
    parse_sesman,
    parse_xrdp,
)
from sojourn.events.xrdp.processes import Carrier, Desktop, Process
from sojourn.events.xrdp.state import Session, State
from sojourn.events.xrdp.tail import Tail

VERIFY_SECONDS_MAX: Final = 30  # sesman writes its line before xrdp reaches the X server, and xrdp tries for so long
VERIFIED_PER_LOOK_MAX: Final = 20  # each reads /proc; whoever forges lines shall not keep a processor busy
PENDING_MAX: Final = 2000  # logins to living desktops; sesman holds 50 of these unless told otherwise
NOTES_MAX: Final = 1000  # of the last minute
NOTE_SECONDS_MAX: Final = 90  # systemd waits so long for what it stops; all else follows within a second
GOODBYE_SECONDS_MAX: Final = 3  # of age when it is read; older ones were written while nobody looked
GOODBYE_LOOKS_MAX: Final = 2  # it is read in the look before the process is missed, or that one, or the next
NAME_SECONDS_MAX: Final = 15  # a client tells its name in the first second, or never
UNNAMED_MAX: Final = 10  # of which each is looked for; among more, a name is nobody's
NAME_CHARACTERS_MAX: Final = 100  # of a computer; Windows allows 15
DESKTOPS_MAX: Final = 1000  # whose last session is remembered

_STAMP: Final = timedelta(milliseconds=999)  # what may be cut off
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_logger: Final = structlog.get_logger()


class Watch:
    """Owns `state`. A connection that is over is judged one look after it was missed, when its lines are written."""

    def __init__(self, state: State, host: str, sesman_log: Path, xrdp_log: Path, last_seen: datetime | None) -> None:
        self.state, self._host, self._last_seen = state, host, last_seen
        self._sesman, self._xrdp = Tail(sesman_log, state.sesman_log), Tail(xrdp_log, state.xrdp_log)
        self._notes: list[Note] = []
        self._looks = 0
        self._goodbyes: list[int] = []  # the number of the look that read each
        self._leaving: list[Process] = []  # carriers that outlive their desktops, as some do by seconds
        self._left: list[int] = []  # the number of the look that missed each
        self._unnamed: list[Received] = []
        self._names: dict[tuple[str, int], str] = {}
        self._doubted: list[Connected] = []

    def look(self, now: datetime) -> bool:
        """See who is gone and read what is new; return whether the state changed, so that it has to be saved."""
        self._looks += 1
        missed = self._miss(now)
        added = self._read(self._xrdp, parse_xrdp, now) + self._read(self._sesman, parse_sesman, now)
        self.state.xrdp_log, self.state.sesman_log = self._xrdp.place, self._sesman.place
        self._forget(now)
        verified = self._verify(now)
        self._warn()
        judged = self._judge(now)
        self._last_seen = None
        return missed + added + verified + judged > 0

    def open_sessions(self) -> list[Session]:
        """Return the sessions whose connection was there at the last look."""
        return [session for session in self.state.sessions if session.missed_at is None]

    def close(self) -> None:
        """Let go of the logs."""
        self._sesman.close()
        self._xrdp.close()

    def _miss(self, now: datetime) -> int:
        same_boot = self.state.boot == processes.boot_id()
        self.state.boot = processes.boot_id()
        gone = [
            session
            for session in self.open_sessions()
            if not (
                same_boot
                and processes.is_alive(session.carrier.process)
                and processes.is_alive(session.desktop.x_server)
            )
        ]
        left = [process for process in self._leaving if not processes.is_alive(process)]
        self._leaving = [process for process in self._leaving if process not in left]
        self._left += [self._looks] * len(left)
        for session in gone:
            session.missed_at = now
            if self._last_seen is not None:
                session.ending = judge(_unwatched(session, self._last_seen))
        return len(gone)

    def _read(self, tail: Tail, parse: Callable[[str], Claim | None], now: datetime) -> int:
        lines = tail.lines()
        for line in lines:
            match parse(line):
                case Connected() as claim:
                    is_there = processes.process(claim.session_pid) is not None
                    (self.state.pending if is_there else self._doubted).append(claim)
                case Received() as received:
                    self._unnamed.append(received)
                case ClientNamed() as named:
                    self._name(named)
                case Goodbye() as goodbye:
                    if (now - goodbye.at).total_seconds() < GOODBYE_SECONDS_MAX:
                        self._goodbyes.append(self._looks)
                case None:
                    pass
                case note if (now - note.at).total_seconds() < NOTE_SECONDS_MAX:
                    self._notes.append(note)
        return len(lines)

    def _name(self, named: ClientNamed) -> None:
        """Give a name to the connection that it must be of; where two are without one, to none."""
        fresh = [one for one in self._unnamed if (named.at - one.at).total_seconds() < NAME_SECONDS_MAX]
        self._unnamed = fresh
        if 1 < len(fresh) <= UNNAMED_MAX:  # who only knocked is gone
            fresh = [one for one in fresh if processes.find_carrier(one.client_ip, one.client_port)]
        if len(fresh) == 1:
            self._names[fresh[0].client_ip, fresh[0].client_port] = _clean(named.name)[:NAME_CHARACTERS_MAX]
            self._unnamed = []

    def _forget(self, now: datetime) -> None:
        self._notes = [note for note in self._notes if (now - note.at).total_seconds() < NOTE_SECONDS_MAX][-NOTES_MAX:]
        self._goodbyes = [look for look in self._goodbyes if self._looks - look <= GOODBYE_LOOKS_MAX]
        self._unnamed = self._unnamed[-NOTES_MAX:]
        self._names = dict(list(self._names.items())[-NOTES_MAX:])
        self.state.last = dict(list(self.state.last.items())[-DESKTOPS_MAX:])
        self._doubted += self.state.pending[:-PENDING_MAX]
        self.state.pending = self.state.pending[-PENDING_MAX:]

    def _warn(self) -> None:
        """Say in one line which logins are not told: they may be over, or forged by the thousand."""
        if self._doubted:
            last = self._doubted[-1]
            _logger.warning(
                "logins_not_borne_out",
                logins=len(self._doubted),
                last_display=last.display,
                last_user=last.user[:NAME_CHARACTERS_MAX],
                last_client=f"{last.client_ip}:{last.client_port}",
                last_at=last.at.isoformat(),
            )
            self._doubted.clear()

    def _verify(self, now: datetime) -> int:
        """Believe the lines that processes and sockets bear out; who waits for that goes to the end of the queue."""
        batch = self.state.pending[:VERIFIED_PER_LOOK_MAX]
        waiting = self.state.pending[VERIFIED_PER_LOOK_MAX:]
        for claim in batch:
            carrier = processes.find_carrier(claim.client_ip, claim.client_port)
            desktop = processes.find_desktop(claim) if carrier else None
            if carrier and desktop and processes.shows(carrier.process, claim.display):
                self._establish(claim, carrier, desktop, now)
            elif (now - claim.at).total_seconds() < VERIFY_SECONDS_MAX:
                waiting.append(claim)
            else:
                self._doubted.append(claim)
        changed = len(batch) > 0 and waiting != self.state.pending
        self.state.pending = waiting
        return int(changed)

    def _establish(self, claim: Connected, carrier: Carrier, desktop: Desktop, now: datetime) -> None:
        if any(session.carrier.process == carrier.process for session in self.state.sessions):
            return
        client = (claim.client_ip, claim.client_port)
        session = Session(
            id=f"{self._host}-{claim.display}-{claim.at:%Y%m%dT%H%M%SZ}-{claim.client_port}",
            user_id=_clean(claim.user),
            client_ip=claim.client_ip,
            client_port=claim.client_port,
            client_name=self._names.pop(client, "unknown"),
            established_at=min(now, claim.at + _STAMP),
            desktop=desktop,
            carrier=carrier,
            predecessor=self.state.last.pop(_key(desktop), None),
        )
        self.state.sessions.append(session)
        self.state.last[_key(desktop)] = session.id

    def _judge(self, now: datetime) -> int:
        over = [one for one in self.state.sessions if one.missed_at and one.missed_at < now and one.ending is None]
        evidence = [(session, self._evidence(session)) for session in over]
        beside = [seen for _, seen in evidence if seen.desktop_lives and not seen.command and not seen.successor]
        closed = len(beside) + sum(look < self._looks for look in self._left)
        for session, seen in evidence:
            session.ending = judge(seen if seen not in beside else _counted(seen, len(self._goodbyes), closed))
            if processes.is_alive(session.carrier.process):
                self._leaving.append(session.carrier.process)
        del self._goodbyes[:closed]
        self._left = [look for look in self._left if look == self._looks]
        return len(over)

    def _evidence(self, session: Session) -> Evidence:
        desktop, order = session.desktop, session.order
        others = [one for one in self.state.sessions if one.desktop.session == desktop.session and one is not session]
        signals = [
            note.signal
            for note in self._notes
            if isinstance(note, XServerEnded) and (note.display, note.pid) == (desktop.display, desktop.x_server.pid)
        ]
        daemon = session.carrier.daemon
        return Evidence(
            display=desktop.display,
            command=order.id if order else None,
            desktop_command=next((one.order.id for one in others if one.order and one.order.kind == "log_off"), None),
            desktop_lives=processes.is_alive(desktop.x_server),
            session_lives=processes.is_alive(desktop.session),
            logged_off=any(
                isinstance(note, LoggedOff) and note.session_pid == desktop.session.pid for note in self._notes
            ),
            x_signal=max(signals, default=0),
            sesman_shut_down=self._was_shut_down("sesman"),
            xrdp_shut_down=self._was_shut_down("xrdp") and (daemon is None or not processes.is_alive(daemon)),
            successor=next((one.id for one in others if not desktop.is_shared and one.predecessor == session.id), None),
        )

    def _was_shut_down(self, program: str) -> bool:
        return any(isinstance(note, ShutDown) and note.program == program for note in self._notes)


def _unwatched(session: Session, last_seen: datetime) -> Evidence:
    return Evidence(
        display=session.desktop.display,
        command=session.order.id if session.order else None,
        is_watched=False,
        last_seen=f"{last_seen:%Y-%m-%dT%H:%M:%SZ}",
        desktop_lives=False,
    )


def _counted(seen: Evidence, goodbyes: int, closed: int) -> Evidence:
    return msgspec.structs.replace(seen, goodbyes=goodbyes, closed=closed)


def _key(desktop: Desktop) -> str:
    return f"{desktop.session.pid}.{desktop.session.started}"


def _clean(text: str) -> str:
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
