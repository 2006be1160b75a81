"""The words of the contract as people say them; each is a message of the pages."""

from collections.abc import Mapping
from typing import Final

TERMINALS: Final[Mapping[str, str]] = {
    "thin_client": "Thin client",
    "soft_client": "Soft client",
    "mobile": "Mobile",
    "browser": "Browser",
    "other": "Other",
}
ACCESSES: Final[Mapping[str, str]] = {"internal": "internal", "public": "public"}
OUTCOMES: Final[Mapping[str, str]] = {"normal": "normal", "abnormal": "abnormal"}
REASONS: Final[Mapping[str, str]] = {
    "logoff": "logoff",
    "idle_timeout": "idle too long",
    "admin_disconnect": "disconnected",
    "network": "network",
    "error": "error",
    "broker_shutdown": "broker shut down",
    "lost": "lost",
    "unknown": "reason unknown",
}
# Why a statistic leaves sessions out: the keys are those of its answer.
LEFT_OUT: Final[Mapping[str, str]] = {
    "unknown_login": "%(count)s whose login is unknown",
    "began_before": "%(count)s that began before the range",
    "still_open": "%(count)s that are still open",
    "ended_outside": "%(count)s that ended outside of the range",
}
