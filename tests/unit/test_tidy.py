"""How the code should read, where a machine can tell; ruff holds the rest (pyproject.toml)."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.unit.tree import PARTS, ROOT, parsed, python_files, text

FUNCTION_LINES_MAX = 70  # fits a screen
MODULE_LINES_MAX = 400  # is read top to bottom in one sitting
TEST_NAME_WORDS_MIN = 4  # fewer make no sentence

PRODUCT: Final = python_files(*PARTS)
TESTS: Final = python_files("tests")
EVERYTHING: Final = [*PRODUCT, *TESTS, *python_files("bench", "deploy")]

Functions = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """One Python file, read and parsed."""

    path: Path
    text: str
    tree: ast.Module


class Rule(NamedTuple):
    """Where a rule is broken (`find` yields line and what stands there), and what to do instead."""

    find: Callable[[Source], Iterator[tuple[int, str]]]
    paths: list[Path]
    instead: str
    bad: str
    good: str


def long_modules(source: Source) -> Iterator[tuple[int, str]]:
    lines = len(source.text.splitlines())
    if lines > MODULE_LINES_MAX:
        yield lines, f"{lines} lines"


def long_functions(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, Functions):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {lines} lines"


def prints(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "pprint")):
                yield node.lineno, ast.unparse(node)


def standard_output(source: Source) -> Iterator[tuple[int, str]]:
    if source.path.parts[0] == "console":
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="sys"), attr="stdout"):
                yield node.lineno, ast.unparse(node)


def naive_datetimes(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="utcnow" | "utcfromtimestamp")):
                yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="date" | "datetime"), attr="today")):
                yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Attribute(value=owner, attr="now"), args=[], keywords=[]):
                if ast.unparse(owner).endswith("datetime"):
                    yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="fromtimestamp"), args=[_], keywords=[]):
                yield node.lineno, ast.unparse(node)


IMPURE: Final = frozenset({"asyncio", "os", "psycopg", "random", "secrets", "socket", "threading", "time", "uuid"})


def impurities(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Import(names=names) if any(alias.name.split(".")[0] in IMPURE for alias in names):
                yield node.lineno, ast.unparse(node)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in IMPURE:
                yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="now" | "today" | "utcnow") | ast.Name(id="open")):
                yield node.lineno, ast.unparse(node)


def unexplained_limits(source: Source) -> Iterator[tuple[int, str]]:
    lines = source.text.splitlines()
    for node in ast.walk(source.tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                statement = lines[node.lineno - 1 : node.end_lineno]
                if name.isupper() and name.endswith(("_MAX", "_MIN")) and not any("# " in line for line in statement):
                    yield node.lineno, name


def short_test_names(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, Functions) and node.name.startswith("test"):
            words = [word for word in node.name.removeprefix("test").split("_") if word]
            if len(words) < TEST_NAME_WORDS_MIN:
                yield node.lineno, node.name


FOLD: Final = [
    path
    for path in PRODUCT
    if path.parts[:3] == ("projections", "sojourn", "projections")
    and (path.stem.startswith("fold") or path.stem in {"facts", "session", "states"})
]

RULES: Final = {
    "long modules": Rule(
        long_modules,
        EVERYTHING,
        f"split it by what it owns; a module has at most {MODULE_LINES_MAX} lines",
        bad="x = 1\n" * (MODULE_LINES_MAX + 1),
        good="x = 1\n" * MODULE_LINES_MAX,
    ),
    "long functions": Rule(
        long_functions,
        EVERYTHING,
        f"name its steps and make them functions; one has at most {FUNCTION_LINES_MAX} lines",
        bad="def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX,
        good="def f():\n" + "    x = 1\n" * (FUNCTION_LINES_MAX - 1),
    ),
    "print": Rule(
        prints,
        [*PRODUCT, *TESTS],
        "log with structlog; in console/ write through rich or sys.stdout.write",
        bad="print(1)",
        good="log.info('printed', lines=1)",
    ),
    "standard output": Rule(
        standard_output,
        PRODUCT,
        "return or yield what is to be shown, and let console/ write it",
        bad="sys.stdout.write('')",
        good="sys.stderr.write('')",
    ),
    "naive datetimes": Rule(
        naive_datetimes,
        EVERYTHING,
        "use datetime.now(UTC), or datetime.fromtimestamp(seconds, UTC), or take the instant as an argument",
        bad="datetime.now()",
        good="datetime.now(UTC)",
    ),
    "impure fold": Rule(
        impurities,
        FOLD,
        "the fold is a function of state and records alone: take the instant from the record's append time",
        bad="def f():\n    return datetime.now(UTC)",
        good="def f(record):\n    return record.appended_at",
    ),
    "unexplained limits": Rule(
        unexplained_limits,
        EVERYTHING,
        "give the reason for the number in a comment on its line",
        bad="ROWS_MAX = 10",
        good="ROWS_MAX: Final = 10  # a page shows ten",
    ),
    "short test names": Rule(
        short_test_names,
        TESTS,
        f"make the name a sentence that can be false, of at least {TEST_NAME_WORDS_MIN} words",
        bad="def test_fold_works(): ...",
        good="def test_folding_twice_changes_nothing(): ...",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_the_tree_keeps_each_rule_of_style(name: str) -> None:
    rule = RULES[name]

    found = [
        f"{path}:{line}: {what}"
        for path in rule.paths
        for line, what in rule.find(Source(path, text(path), parsed(path)))
    ]

    assert rule.paths, "this rule reads no file at all: mend its paths"
    assert not found, "\n".join([rule.instead, *found])


def test_every_sql_file_begins_by_saying_what_it_is_for() -> None:
    paths = [path for part in PARTS for path in (ROOT / part).rglob("*.sql")]

    silent = [str(path.relative_to(ROOT)) for path in paths if not path.read_text().startswith("-- ")]

    assert paths
    assert not silent, f"begin it with a comment that says what the statement is for: {silent}"


@pytest.mark.parametrize("name", RULES)
def test_each_rule_finds_its_own_bad_example_and_only_that(name: str) -> None:
    rule = RULES[name]
    path = Path("events/example.py")

    bad, good = (list(rule.find(Source(path, example, ast.parse(example)))) for example in (rule.bad, rule.good))

    assert len(bad) == 1
    assert good == []


@pytest.mark.parametrize(
    "example",
    [
        "datetime.datetime.now()",
        "datetime.utcnow()",
        "datetime.datetime.utcfromtimestamp(0)",
        "datetime.fromtimestamp(0)",
        "datetime.today()",
        "date.today()",
    ],
)
def test_every_spelling_of_a_naive_datetime_is_found(example: str) -> None:
    assert list(naive_datetimes(Source(Path("x.py"), example, ast.parse(example)))) != []


@pytest.mark.parametrize(
    "example", ["import time", "from random import choice", "import os.path", "open('x')", "date.today()"]
)
def test_every_way_out_of_the_pure_fold_is_found(example: str) -> None:
    assert list(impurities(Source(Path("x.py"), example, ast.parse(example)))) != []
