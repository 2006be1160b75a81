"""JSON as RFC 8259 writes it, read by hand: whether a text is JSON, was cut, or never was any, and what it says."""

import json
import math
import re
from typing import Any

DIGITS_MAX = 4300  # docs/contract.md: what Python reads

STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"')
FILLS = ("", "n", "u0041", "0041", "041", "41", "1", "0", "00", "udc00", "dc00", "c00", "\\udc00")
ENDINGS = [fill + ending for fill in FILLS for ending in ('"', '\\udc00"')]  # what a cut string may have lost
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
NUMBER_CUT = re.compile(r"-|-?(?:0|[1-9][0-9]*)(?:\.|(?:\.[0-9]+)?[eE][+-]?)")
SPACE = re.compile(r"[ \t\r\n]*")


class NoJson(Exception):
    """The text is no JSON; `reason` tells whether it was cut."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(text: str) -> Any:
    check_grammar(text)
    return json.loads(text, parse_float=number, parse_int=number)


def is_deeper(text: str, limit: int) -> bool:
    """Tell whether more than `limit` brackets stand open at once; most texts do not have so many."""
    return text.count("[") + text.count("{") > limit and depth(text) > limit


def depth(text: str) -> int:
    """Return how many brackets stand open at once, outside of strings."""
    deepest = level = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            level += 1
            deepest = max(deepest, level)
        elif character in "]}":
            level -= 1
    return deepest


def check_grammar(text: str) -> None:
    """Raise `NoJson` unless the text is JSON: truncated when it ends before what it opened is closed."""
    if is_plain(text):
        return
    begin = SPACE.match(text).end()  # type: ignore[union-attr] # it matches the empty string
    if text[begin : begin + 1] not in {"{", "[", '"'}:
        raise NoJson("not_json")
    end = skip_value(text, begin)
    if SPACE.match(text, end).end() != len(text):  # type: ignore[union-attr] # it matches the empty string
        raise NoJson("not_json")


def is_plain(text: str) -> bool:
    """Tell whether Python's reader takes the text as an object without what only it would take; most texts are so."""
    if "\\u" in text or not text.startswith("{"):
        return False
    try:
        json.loads(text, parse_constant=refuse, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True


def refuse(name: str) -> None:
    """Python reads NaN and Infinity, which are no JSON."""
    raise ValueError(name)


def skip_value(text: str, at: int) -> int:
    at = skip_space(text, at)
    if text[at] == "{":
        return skip_members(text, at + 1, "}", named=True)
    if text[at] == "[":
        return skip_members(text, at + 1, "]", named=False)
    if text[at] == '"':
        return skip_string(text, at)
    for word in ("true", "false", "null"):
        if text.startswith(word, at):
            return at + len(word)
        if word.startswith(text[at:]):
            raise NoJson("truncated_json")
    if NUMBER_CUT.fullmatch(text, at):
        raise NoJson("truncated_json")
    found = NUMBER.match(text, at)
    if found is None:
        raise NoJson("not_json")
    return found.end()


def skip_members(text: str, at: int, closing: str, *, named: bool) -> int:
    at = skip_space(text, at)
    if text[at] == closing:
        return at + 1
    while True:
        if named:
            at = skip_space(text, skip_string(text, skip_space(text, at)))
            if text[at] != ":":
                raise NoJson("not_json")
            at += 1
        at = skip_space(text, skip_value(text, at))
        if text[at] == closing:
            return at + 1
        if text[at] != ",":
            raise NoJson("not_json")
        at += 1


def skip_string(text: str, at: int) -> int:
    found = STRING.match(text, at)
    if found is not None and is_unicode(found.group()):
        return found.end()
    if found is None and any(STRING.fullmatch(text[at:] + e) and is_unicode(text[at:] + e) for e in ENDINGS):
        raise NoJson("truncated_json")
    raise NoJson("not_json")


def is_unicode(literal: str) -> bool:
    """Tell whether the literal holds no half of a surrogate pair, which is no character."""
    if "\\u" not in literal:  # UTF-8 has no such halves: only an escape can bring one
        return True
    return all(not 0xD800 <= ord(character) < 0xE000 for character in json.loads(literal))


def skip_space(text: str, at: int) -> int:
    """Return where the next token begins; text that ends here was cut."""
    end = SPACE.match(text, at).end()  # type: ignore[union-attr] # it matches the empty string
    if end == len(text):
        raise NoJson("truncated_json")
    return end


class Whole(int):
    """A whole number that was written with a fraction or an exponent: the same content, but no count of anything."""


def number(spelling: str) -> int | float | str:
    """Return one value for every spelling of a number: 1, 1.0 and 1e0 are the same; one past all floats stays text."""
    if re.fullmatch(f"-?[0-9]{{1,{DIGITS_MAX}}}", spelling):
        return int(spelling)
    value = float(spelling)
    if math.isinf(value):
        return spelling
    return Whole(value) if value.is_integer() else value


def has_long_integer(text: str) -> bool:
    numbers = NUMBER.findall(STRING.sub("", text))
    return any(re.fullmatch(f"-?[0-9]{{{DIGITS_MAX + 1},}}", spelling) for spelling in numbers)


def canonical(value: Any) -> Any:
    """Return the value with its numbers spelled one way; keys are sorted when it is dumped."""
    if isinstance(value, dict):
        return {name: canonical(member) for name, member in value.items()}
    if isinstance(value, list):
        return [canonical(member) for member in value]
    return value
