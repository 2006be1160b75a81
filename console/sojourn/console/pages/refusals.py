"""What other parts refuse or note, in the reader's language: their texts are English, with values in places."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from markupsafe import Markup

from sojourn.console.pages.words import ENGLISH, Words

SENTENCES: Final = (
    # Passwords.
    "a password has %(least)s to %(most)s characters",
    "a password has at least %(number)s different characters",
    "a password is more than a name or a common word with something behind it",
    # Users and their roles.
    "a name has letters, digits and . _ @ + -, at most %(most)s, and begins with one of the first two, not: %(name)s",
    "the name that is shown has 1 to %(most)s characters",
    "the name that is shown has no control characters",
    "a role is one of %(roles)s, not: %(role)s",
    "without any role nobody can see anything; disable the account instead",
    "platform_admin is the role of who belongs to no tenant, and their only one",
    "platform_admin allows everything already; it goes with no other role",
    "the name is taken, and nobody shares one",
    "who signs in at %(issuer)s has no password here",
    "there is no such user",
    "nobody gives or takes a role that allows more than their own",
    "the last administrator stays one; make another one first",
    # Tokens.
    "a token of this name was made before, and no name is used twice",
    "there is no such token",
    "a token's name has letters, digits and . _ -, at most %(most)s, not: %(name)s",
    "a scope is one of %(scopes)s, not: %(scope)s",
    "a token allows no more than who makes it may do",
    "a token is good for one of %(days)s days",
    "a token of one tenant does not reach the others: make it on the platform's page",
    # Disconnecting.
    "no such session",
    "has ended at %(at)s UTC",
    "its broker does not take %(command)s; what %(broker)s declares: %(commands)s",
    "the session has ended, and its end names no command",
    # Exports.
    "the end must be later than the beginning, `from`",
    "a text has at most %(most)s characters and no NUL",
    "a schedule's name has 1 to %(most)s characters",
    "a time of day is written like 06:30, not: %(given)s",
    # The trail, and what a role does not allow.
    "wrong name or password",
    "wrong password",
    "needs the permission %(permission)s",
    "this needs the permission: %(permission)s",
    # Timelines.
    "there is no such session",
    "it is about another loss: %(loss)s",
    "the session is %(state)s",
    "its id was seen before with other content: %(event)s",
    "an event of its kind ranks before it: %(event)s",
    "another request had this command's id before",
    "the command was %(state)s before",
    "no such command of this session: %(command)s",
)
_VALUE: Final = re.compile(r"%\\\((\w+)\\\)s")


def told(text: str, words: Words) -> str:
    """Return a text of another part in the reader's language; what it does not know, as brokers' words, as it is."""
    if words.locale == ENGLISH:
        return text
    for sentence, values in _readings(text):
        return words.gettext(sentence) % values
    return Markup("<bdi>{}</bdi>").format(text)


def _readings(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for sentence, pattern in _PATTERNS.items():
        found = pattern.fullmatch(text)
        if found is not None:
            yield sentence, found.groupdict()


def _pattern(sentence: str) -> re.Pattern[str]:
    return re.compile(_VALUE.sub(r"(?P<\1>.+)", re.escape(sentence)), re.DOTALL)


_PATTERNS: Final = {sentence: _pattern(sentence) for sentence in SENTENCES}
