"""What is wrong with the words of a command line, in one line that says what to do."""

import re
from collections.abc import Sequence
from typing import Any, get_args

from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from sojourn.events.errors import UsageError

_NOTHING = re.compile(r"(--[\w-]+=)?")


def check_words(words: Sequence[str]) -> None:
    """Refuse what no command can use: an empty value, as of a shell variable that is not set, and what is no UTF-8."""
    for before, word in zip(("sojourn", *words), words, strict=False):
        if _NOTHING.fullmatch(word):
            raise UsageError(f"a value is empty, perhaps that of an unset variable, after: {word or before}")
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"this is no UTF-8: {word!r}") from None


def explain(error: CycloptsError) -> str:
    """Return the line for words that a command does not take."""
    command = " ".join(("sojourn", *(error.command_chain or ())))
    see = f"see `{command} --help`"
    match error:
        case UnknownCommandError(unused_tokens=[word, *_]):
            return f"no such command; {see}: {word!r}"
        case MissingArgumentError():
            return f"a value is missing; {see}: {_name(error)}"
        case UnknownOptionError():
            return f"no such option; {see}: {error.token.keyword or error.token.value}"
        case UnusedCliTokensError(unused_tokens=[word, *_]):
            return f"one value too many; {see}: {word!r}"
        case CoercionError(token=token) if token is not None:
            return f"{_name(error)} is {_kind(error.target_type)}, not: {token.value!r}"
        case ValidationError():
            return f"{_name(error)} {_lowered(error.exception_message)}, unlike: {_value(error)}"
        case RepeatArgumentError():
            return f"this may be given once only; {see}: {error.token.keyword}"
        case _:
            return f"{_lowered(str(error))}; {see}"


def _name(error: CycloptsError) -> str:
    return "it" if error.argument is None else error.argument.name


def _kind(target: Any) -> str:
    if choices := get_args(target):
        return f"one of {', '.join(map(str, choices))}"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(target, "of another kind")


def _value(error: ValidationError) -> str:
    return str(error.argument.value if error.argument else error.value)


def _lowered(text: str) -> str:
    line = " ".join(text.split())
    return (line[:1].lower() + line[1:]).rstrip(".")
