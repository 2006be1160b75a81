"""The xrdp adapter is made of nothing but the broker SDK, as anybody else's adapter would be."""

import ast
from pathlib import Path
from typing import Final

import pytest

from tests.unit.test_imports import imported
from tests.unit.tree import parsed, python_files

ADAPTER: Final = Path("events/sojourn/events/xrdp")
# The SDK's calls and ways, what events are made of, what its errors are, and where Kafka is.
SDK: Final = (
    "sojourn.events.broker.broker",
    "sojourn.events.broker.inbox",
    "sojourn.events.broker.transports",
    "sojourn.events.errors",
    "sojourn.events.fields",
    "sojourn.events.kafka.settings",
    "sojourn.events.types",
    "sojourn.events.xrdp",
)


def foreign(tree: ast.AST, path: Path) -> list[str]:
    """Return what a file imports of Sojourn besides the SDK."""
    names = {name for _, name in imported(tree, path) if name.startswith("sojourn.")}
    return sorted(name for name in names if not any(f"{name}.".startswith(f"{module}.") for module in SDK))


@pytest.mark.parametrize("path", python_files(str(ADAPTER)), ids=str)
def test_the_adapter_imports_only_the_sdk(path: Path) -> None:
    assert foreign(parsed(path), path) == []


def test_an_import_of_anything_else_of_sojourn_is_found() -> None:
    tree = ast.parse("from sojourn.events.broker.spool import Spool\nfrom sojourn.events import codec")

    assert foreign(tree, ADAPTER / "x.py") == ["sojourn.events.broker.spool.Spool", "sojourn.events.codec"]


def test_the_adapter_is_there_to_be_held_to_it() -> None:
    assert len(python_files(str(ADAPTER))) > 5
