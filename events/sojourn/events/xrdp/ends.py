"""Why a connection ended: from what the kernel shows and the logs add, and no more than that."""

from typing import Final

from msgspec import Struct

from sojourn.events.fields import Reason


class Evidence(Struct, frozen=True, kw_only=True):
    """What is known, one look after a connection was first seen to be over.

    `goodbyes` and `closed` count the lines by which xrdp says that a client had gone, and the connections that may have
    said so, since the lines name none: those that ended then beside a living desktop, or long after theirs.
    """

    display: int
    command: str | None = None
    desktop_command: str | None = None
    is_watched: bool = True
    last_seen: str = ""
    desktop_lives: bool
    session_lives: bool = True
    logged_off: bool = False
    x_signal: int = 0
    sesman_shut_down: bool = False
    xrdp_shut_down: bool = False
    successor: str | None = None
    goodbyes: int = 0
    closed: int = 1


class Ending(Struct, frozen=True):
    """What is told of an end."""

    reason: Reason
    detail: str
    command: str | None = None


_STAYS: Final = "the desktop stays"


def judge(seen: Evidence) -> Ending:
    """Return the reason that the evidence bears out; `unknown` where it bears out none."""
    if seen.command is not None:
        return Ending("admin_disconnect", f"ended by command {seen.command}", seen.command)
    if not seen.is_watched:
        return Ending("unknown", f"it ended while nobody watched, after {seen.last_seen}")
    return _with_living_desktop(seen) if seen.desktop_lives else _with_its_desktop(seen)


def _with_its_desktop(seen: Evidence) -> Ending:
    if seen.desktop_command is not None:
        return Ending("admin_disconnect", f"its desktop was logged off by command {seen.desktop_command}")
    if seen.x_signal:
        return Ending("error", f"the X server of display :{seen.display} ended by signal {seen.x_signal}")
    if seen.logged_off:
        return Ending("logoff", f"the window manager of display :{seen.display} ended")
    if seen.sesman_shut_down and not seen.session_lives:
        return Ending("broker_shutdown", f"sesman was asked to end, and display :{seen.display} ended with it")
    return Ending("error", f"the X server of display :{seen.display} ended, and sesman's log says nothing of it")


def _with_living_desktop(seen: Evidence) -> Ending:
    if seen.successor is not None:
        return Ending("network", f"taken over by {seen.successor}; {_STAYS}")
    if seen.goodbyes >= seen.closed:
        return Ending("network", f"the client's connection ended; {_STAYS}")
    if seen.goodbyes:
        return Ending("unknown", f"{seen.closed} connections ended at once, {seen.goodbyes} by their clients; {_STAYS}")
    if seen.xrdp_shut_down:
        return Ending("broker_shutdown", f"xrdp was asked to end, and the connection ended with it; {_STAYS}")
    return Ending("error", f"the connection's process ended without a word in xrdp's log; {_STAYS}")
