"""The folder tree is the architecture: one folder, one part, one package `sojourn.<part>`."""

import sys
import tomllib

import pytest

from tests.unit.tree import PARTS, ROOT

# Other people's distributions on the package index have these names and would be overwritten by ours.
BARE_NAMES = sorted(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_the_namespace_has_no_init_file_of_its_own(part: str) -> None:
    namespace = ROOT / part / "sojourn"

    intruders = [path.name for path in namespace.iterdir() if path.name not in {part, "__pycache__"}]

    assert not intruders, f"put it into {part}/sojourn/{part}/, since `sojourn` is shared by all parts: {intruders}"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_a_regular_and_typed_package(part: str) -> None:
    package = ROOT / part / "sojourn" / part

    present = {path.name for path in package.iterdir()}

    assert present >= {"__init__.py", "py.typed"}, f"a part needs both an __init__.py and a py.typed: {package}"


@pytest.mark.parametrize("part", BARE_NAMES)
def test_no_part_can_be_imported_by_its_bare_name(part: str) -> None:
    intruders = [name for name in ("__init__.py", f"{part}.py") if (ROOT / part / name).exists()]

    assert not intruders, f"a part is imported as sojourn.{part}; move its code below {part}/sojourn/: {intruders}"
    assert getattr(sys.modules.get(part), "__file__", None) is None, f"something imports the bare name: {part}"


def test_the_project_file_names_exactly_these_parts() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]

    wheel = build["targets"]["wheel"]

    assert sorted(build["dev-mode-dirs"]) == BARE_NAMES
    assert sorted(wheel["sources"]) == BARE_NAMES
    assert sorted(wheel["only-include"]) == [f"{part}/sojourn" for part in BARE_NAMES]


def test_every_top_level_folder_with_a_namespace_is_a_part() -> None:
    found = sorted(path.parent.name for path in ROOT.glob("*/sojourn"))

    assert found == BARE_NAMES, f"add the part to PARTS in tests/unit/tree.py, or move its code: {found}"
