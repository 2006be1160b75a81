"""A reason is told only where something bears it out."""

from typing import Any

import pytest

from sojourn.events.fields import Reason
from sojourn.events.xrdp.ends import Evidence, judge

LIVES: dict[str, Any] = {"display": 70, "desktop_lives": True}
GONE: dict[str, Any] = {"display": 70, "desktop_lives": False}


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({**LIVES, "goodbyes": 1}, "network"),
        ({**LIVES, "goodbyes": 2, "closed": 2}, "network"),
        ({**LIVES, "goodbyes": 1, "closed": 2}, "unknown"),
        (LIVES, "error"),
        ({**LIVES, "successor": "s-2"}, "network"),
        ({**LIVES, "xrdp_shut_down": True}, "broker_shutdown"),
        ({**LIVES, "xrdp_shut_down": True, "goodbyes": 1}, "network"),
        ({**LIVES, "sesman_shut_down": True}, "error"),
        ({**GONE, "logged_off": True}, "logoff"),
        ({**GONE, "logged_off": True, "x_signal": 9}, "error"),
        (GONE, "error"),
        ({**GONE, "goodbyes": 1}, "error"),
        ({**GONE, "sesman_shut_down": True, "session_lives": False}, "broker_shutdown"),
        ({**GONE, "sesman_shut_down": True, "session_lives": True}, "error"),
        ({**GONE, "logged_off": True, "sesman_shut_down": True, "session_lives": False}, "logoff"),
        ({**GONE, "desktop_command": "c-1", "logged_off": True}, "admin_disconnect"),
        ({**LIVES, "is_watched": False, "last_seen": "then", "goodbyes": 1}, "unknown"),
    ],
)
def test_a_reason_follows_from_what_was_seen(seen: dict[str, Any], reason: Reason) -> None:
    ending = judge(Evidence(**seen))

    assert (ending.reason, ending.command) == (reason, None)
    assert ending.detail


@pytest.mark.parametrize("seen", [LIVES, GONE, {**LIVES, "is_watched": False}, {**GONE, "logged_off": True}])
def test_an_end_that_a_command_asked_for_names_it(seen: dict[str, Any]) -> None:
    ending = judge(Evidence(**seen, command="c-1"))

    assert (ending.reason, ending.command) == ("admin_disconnect", "c-1")


def test_an_end_that_nobody_watched_says_since_when_nobody_did() -> None:
    ending = judge(Evidence(**LIVES, is_watched=False, last_seen="2026-11-24T15:00:00Z"))

    assert ending.detail == "it ended while nobody watched, after 2026-11-24T15:00:00Z"
