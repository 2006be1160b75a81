"""What the tests that hold the tree read: its parts and its Python files."""

import ast
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

# A part, and what it may import of ours (docs/why.md, "one way through the folders").
PARTS: Final[dict[str, frozenset[str]]] = {
    "events": frozenset(),
    "projections": frozenset({"events"}),
    "consumers": frozenset({"events", "projections"}),
    "exporters": frozenset({"events", "projections"}),
    "console": frozenset({"events", "projections", "consumers", "exporters"}),
}


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below the folders, relative to the root, in order."""
    return [
        path.relative_to(ROOT)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]


@cache
def text(path: Path) -> str:
    """Return the text of a file, its path relative to the root."""
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file, its path relative to the root."""
    return ast.parse(text(path), str(path))
