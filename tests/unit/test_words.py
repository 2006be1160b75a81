"""The words of the pages: every message has its Chinese, with the same values in it, and none is left over."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

PAGES: Final = Path(__file__).parents[2] / "console/sojourn/console/pages"
RULES: Final = PAGES.parents[3] / "projections/sojourn/projections/statistics"  # which are said on the pages
CATALOGUE: Final = PAGES / "catalogues/zh.po"
METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]
_VALUE: Final = re.compile(r"%\((\w+)\)s|\{(\w+)\}")


def said() -> dict[str, set[str]]:
    """Return every message of the pages, and where it stands."""
    found: dict[str, set[str]] = {}
    options = {"templates/**.html": {"silent": "false", "extensions": "jinja2.ext.do"}}
    for name, _, message, *_ in extract_from_dir(
        PAGES, method_map=METHODS, options_map=options, keywords={"_": None, "gettext": None, "ngettext": (1, 2)}
    ):
        found.setdefault(message if isinstance(message, str) else message[0], set()).add(name)
    for name, message in _indirect():
        found.setdefault(message, set()).add(name)
    return found


def _indirect() -> Iterator[tuple[str, str]]:
    """Yield texts of the code that stand in the catalogue, and are looked up through a variable."""
    known = {message.id for message in catalogue()}
    for path in sorted([*PAGES.glob("*.py"), *RULES.glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in known:
                yield path.name, node.value


def catalogue() -> list[Message]:
    with CATALOGUE.open("rb") as file:
        return [message for message in read_po(file, locale="zh") if message.id]


def test_every_message_has_its_chinese() -> None:
    translated = {_one(message) for message in catalogue() if message.string and not message.fuzzy}

    missing = {message: sorted(names) for message, names in said().items() if message not in translated}

    assert missing == {}


def test_no_chinese_is_left_over() -> None:
    assert {_one(message) for message in catalogue()} - said().keys() == set()


def test_no_message_stands_twice() -> None:
    ids = re.findall(r'^msgid "(.+)"$', CATALOGUE.read_text(), re.MULTILINE)

    assert sorted(ids) == sorted(set(ids))


def test_translations_hold_the_same_values() -> None:
    for message in catalogue():
        forms = [message.string] if isinstance(message.string, str) else list(message.string or [])
        sources = [message.id] if isinstance(message.id, str) else list(message.id)
        for form in forms:
            assert _values(form) in [_values(source) for source in sources], message.id


def _one(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def _values(text: str) -> set[str]:
    return {one or other for one, other in _VALUE.findall(text)}
