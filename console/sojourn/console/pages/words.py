"""The words of the pages: messages in English, and their translations from catalogues/*.po."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from babel.messages.pofile import read_po

from sojourn.console.pages.terms import ACCESSES, TERMINALS

ENGLISH: Final = "en"
LOCALES: Final[Mapping[str, str]] = {ENGLISH: "English", "zh": "中文"}


class Words:
    """One language; what it lacks is said in English."""

    def __init__(self, locale: str, messages: Mapping[str, tuple[str, ...]]) -> None:
        self.locale, self._messages = locale, messages

    def gettext(self, message: str) -> str:
        """Return a message in this language."""
        return self._messages.get(message, (message,))[0]

    def ngettext(self, one: str, many: str, count: int) -> str:
        """Return a message about a number of things; Chinese has one form for all numbers."""
        forms = self._messages.get(one, (one, many) if self.locale == ENGLISH else (many,))
        return forms[0] if count == 1 or len(forms) == 1 else forms[1]


@cache
def words(locale: str) -> Words:
    """Return the words of a locale in `LOCALES`."""
    if locale == ENGLISH:
        return Words(ENGLISH, {})
    with files("sojourn.console.pages").joinpath("catalogues", f"{locale}.po").open("rb") as file:
        catalogue = read_po(file, locale=locale)
    messages: dict[str, tuple[str, ...]] = {}
    for message in catalogue:
        if message.id and message.string and not message.fuzzy:
            one = message.id if isinstance(message.id, str) else message.id[0]
            messages[one] = (message.string,) if isinstance(message.string, str) else tuple(message.string)
    return Words(locale, messages)


def preferred(accept_language: str) -> str:
    """Return the locale that a browser's header likes best."""
    liked: list[tuple[float, str]] = []
    for part in accept_language.split(","):
        tag, _, weight = part.partition(";q=")
        language = tag.strip().lower().partition("-")[0]
        if language in LOCALES:
            liked.append((_weight(weight), language))
    return max(liked, key=lambda pair: pair[0])[1] if liked else ENGLISH


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def labels(language: Words) -> dict[str, dict[str, str]]:
    """Return the words for what the contract enumerates, for templates."""
    _ = language.gettext
    return {
        "terminal_words": {name: _(text) for name, text in TERMINALS.items()},
        "access_words": {name: _(text) for name, text in ACCESSES.items()},
        "state_words": {
            "active": _("active"),
            "lost": _("lost"),
            "unconfirmed": _("unconfirmed"),
            "disconnecting": _("disconnecting"),
        },
        "column_words": {
            "user": _("User"),
            "desktop": _("Desktop"),
            "terminal": _("Terminal"),
            "login": _("Login"),
            "duration": _("Duration"),
            "address": _("Address"),
            "access": _("Access"),
            "broker": _("Broker"),
            "protocol": _("Protocol"),
            "seen": _("Last seen"),
        },
        "scope_words": {
            "read": _("sees sessions, history and statistics"),
            "disconnect": _("disconnects people"),
            "export": _("exports lists"),
            "audit": _("reads the trail"),
            "administer": _("changes users and tokens"),
            "platform": _("all of that in every tenant, which each request names"),
        },
        "act_words": act_words(language),
        "command_words": {
            "requested": _("requested"),
            "delivered": _("delivered"),
            "acknowledged": _("acknowledged"),
            "confirmed": _("confirmed"),
            "refused": _("refused"),
            "failed": _("failed"),
            "not_confirmed": _("not confirmed"),
        },
        "disposition_words": {
            "duplicate": _("a repeat, changed nothing"),
            "conflict": _("contradicts another event of this id"),
            "late": _("came late, changed nothing"),
            "orphan": _("its session is not known yet"),
            "parked": _("waits behind an event that cannot be applied"),
            "dead_letter": _("could not be applied"),
        },
    }


def act_words(language: Words) -> dict[str, str]:
    """Return what the acts of the trail are called; those that are not here go by their own name."""
    _ = language.gettext
    return {
        "disconnect": _("disconnect"),
        "sign_in": _("sign in"),
        "sign_out": _("sign out"),
        "confirm": _("type the password again"),
        "user.add": _("add a user"),
        "user.set_roles": _("change roles"),
        "user.choose_password": _("choose a password"),
        "user.reset_password": _("give a new password"),
        "user.disable": _("disable a user"),
        "user.enable": _("enable a user"),
        "token.add": _("make a token"),
        "token.revoke": _("revoke a token"),
        "export": _("export"),
        "export_cancel": _("cancel an export"),
        "export_download": _("download an export"),
        "export_schedule": _("begin a schedule"),
        "export_schedule_end": _("end a schedule"),
        "broker_token.add": _("make a broker's token"),
        "broker_token.revoke": _("revoke a broker's token"),
        "broker.set": _("bind a broker"),
        "tenant.set": _("set up the tenant"),
        "log.accept_gap": _("accept a gap in the log"),
    }
