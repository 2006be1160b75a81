"""Imports go one way, and the broker SDK stays small: the table stands in tests/unit/tree.py."""

import ast
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.unit.tree import PARTS, ROOT, parsed, python_files

EMBEDDED: Final = "sojourn.events.embedded"
# Distributions that are imported by another name.
OTHER_NAMES: Final = {"argon2-cffi": "argon2", "faust-streaming": "faust"}

Rule = Callable[[ast.AST, Path], list[str]]


def module_name(path: Path) -> str:
    """Return the dotted name of a product file: events/sojourn/events/log.py is sojourn.events.log."""
    return ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")


def imported(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of whatever the file imports, wherever in the file it does."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*above, *([module] if module else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"), args=[name, *_]
            ):
                yield node.lineno, str(name.value) if isinstance(name, ast.Constant) else ast.unparse(name)


def declared() -> tuple[set[str], set[str]]:
    """Return the import names of the base dependencies, and those that [server] adds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base, server = project["dependencies"], project["optional-dependencies"]["server"]
    return {import_name(line) for line in base}, {import_name(line) for line in server}


def import_name(requirement: str) -> str:
    """Return the import name of a requirement; most differ by the hyphen only."""
    name = requirement.partition(">")[0].partition("[")[0]
    return OTHER_NAMES.get(name, name.replace("-", "_"))


def misdirected(tree: ast.AST, path: Path) -> list[str]:
    """Return the imports of a file that the table of parts does not allow."""
    part = path.parts[0]
    may = PARTS[part] | {part}
    return [
        f"{path}:{line}: {part} may import {', '.join(sorted(PARTS[part])) or 'no other part'}; "
        f"move the code, or pass what is needed as an argument, instead of importing {name}"
        for line, name in imported(tree, path)
        if name.startswith("sojourn.") and name.split(".")[1] not in may
    ]


def undeclared(tree: ast.AST, path: Path) -> list[str]:
    """Return the imports of a file that its kind of installation does not bring."""
    base, server = declared()
    sdk = path.parts[0] == "events" and not module_name(path).startswith(EMBEDDED)
    may = base if sdk else base | server
    advice = (
        "the broker SDK has these dependencies only; put what needs a server into sojourn.events.embedded"
        if sdk
        else "add it to [server] in pyproject.toml and run `make lock`"
    )
    return [
        f"{path}:{line}: {name.split('.')[0]} is none of {sorted(may)}: {advice}"
        for line, name in imported(tree, path)
        if name.split(".")[0] not in may | {"sojourn"} | sys.stdlib_module_names
    ]


def reaching_into_embedded(tree: ast.AST, path: Path) -> list[str]:
    """Return the imports by which the broker SDK would need a server's dependencies."""
    if path.parts[0] != "events" or module_name(path).startswith(EMBEDDED):
        return []
    return [
        f"{path}:{line}: the broker SDK works without PostgreSQL; take a `Log` as argument instead of importing {name}"
        for line, name in imported(tree, path)
        if f"{name}.".startswith(f"{EMBEDDED}.")
    ]


RULES: Final[tuple[Rule, ...]] = (misdirected, undeclared, reaching_into_embedded)


@pytest.mark.parametrize("path", python_files(*PARTS), ids=str)
def test_a_file_imports_only_what_it_may(path: Path) -> None:
    complaints = [complaint for rule in RULES for complaint in rule(parsed(path), path)]

    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (misdirected, "events/sojourn/events/x.py", "from sojourn.projections import fold"),
        (misdirected, "projections/sojourn/projections/x.py", "def f():\n    import sojourn.consumers.host"),
        (misdirected, "consumers/sojourn/consumers/x.py", "from sojourn import exporters"),
        (misdirected, "exporters/sojourn/exporters/x.py", "import_module('sojourn.console.cli')"),
        (misdirected, "exporters/sojourn/exporters/x.py", "from ..consumers import host"),
        (undeclared, "events/sojourn/events/x.py", "import psycopg"),
        (undeclared, "events/sojourn/events/simulator/x.py", "import numpy as np"),
        (undeclared, "console/sojourn/console/x.py", "import requests"),
        (reaching_into_embedded, "events/sojourn/events/x.py", "from sojourn.events.embedded.log import EmbeddedLog"),
        (reaching_into_embedded, "events/sojourn/events/x.py", "from sojourn.events import embedded"),
        (reaching_into_embedded, "events/sojourn/events/x.py", "from .embedded import log"),
    ],
)
def test_each_rule_finds_the_import_that_it_forbids(rule: Rule, path: str, source: str) -> None:
    assert rule(ast.parse(source), Path(path)) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("events/sojourn/events/x.py", "import asyncio, msgspec\nfrom sojourn.events import log"),
        ("events/sojourn/events/embedded/x.py", "import psycopg\nfrom sojourn.events.embedded import log"),
        ("projections/sojourn/projections/x.py", "from sojourn.events.embedded.database import Database"),
        ("console/sojourn/console/x.py", "import rich.progress\nfrom sojourn.exporters import parquet"),
    ],
)
def test_no_rule_complains_of_an_allowed_import(path: str, source: str) -> None:
    assert [complaint for rule in RULES for complaint in rule(ast.parse(source), Path(path))] == []
