"""The built wheel in fresh environments, used from another directory: what a user gets from `pip install`."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.unit.tree import PARTS, ROOT

# One worker makes both environments, so that they share the wheel.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel"), pytest.mark.timeout(600)]

IMPORT_EVERYTHING: Final = """
import importlib, pkgutil, sys
for part in sys.argv[1:]:
    package = importlib.import_module(f"sojourn.{part}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
"""
IMPORT_BROKER_SDK: Final = """
import importlib, pkgutil, sojourn.events
for module in pkgutil.walk_packages(sojourn.events.__path__, "sojourn.events."):
    if not module.name.startswith("sojourn.events.embedded"):
        importlib.import_module(module.name)
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # Nothing of the checkout may help: no PYTHONPATH, and -P (PYTHONSAFEPATH) keeps the working directory out.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SOJOURN"))}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**environ, "PYTHONSAFEPATH": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def done(*command: str | Path, cwd: Path, **variables: str) -> str:
    result = run(*command, cwd=cwd, **variables)
    assert result.returncode == 0, f"{command} failed with {result.returncode}:\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path, wheel: Path, extra: str) -> Path:
    """Return the bin/ of a new environment with the wheel and what the lock says it needs."""
    pins = folder / "pins.txt"
    lock = (ROOT / "requirements.lock").read_text()
    pins.write_text("\n".join(re.findall(r"^[a-z0-9-]+==[^\\\n]+", lock, re.MULTILINE)))
    requirement, place = f"{wheel}{extra}", folder / "venv"
    if uv := shutil.which("uv"):
        done(uv, "venv", "--python", sys.executable, place, cwd=folder)
        done(uv, "pip", "install", "--python", place / "bin/python", "-c", pins, requirement, cwd=folder)
    else:
        done(sys.executable, "-m", "venv", place, cwd=folder)
        done(place / "bin/python", "-m", "pip", "install", "--quiet", "-c", pins, requirement, cwd=folder)
    return place / "bin"


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("server"), wheel, "[server]")


@pytest.fixture(scope="module")
def broker(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("broker"), wheel, "")


def test_the_wheel_holds_every_file_of_the_parts_and_no_other(wheel: Path) -> None:
    listed = done("git", "ls-files", "--cached", "--others", "--exclude-standard", *PARTS, cwd=ROOT).splitlines()
    expected = {path.split("/", 1)[1] for path in listed if (ROOT / path).exists()}

    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("sojourn/")}

    assert packed == expected, f"the wheel and the tree differ in: {sorted(packed ^ expected)}"


def test_every_module_of_every_part_imports_from_another_directory(server: Path, tmp_path: Path) -> None:
    done(server / "python", "-c", IMPORT_EVERYTHING, *PARTS, cwd=tmp_path)

    where = done(server / "python", "-c", "import sojourn.events; print(sojourn.events.__file__)", cwd=tmp_path)

    assert where.startswith(str(server.parent)), f"imported from outside the environment: {where}"


def test_the_installed_command_shows_its_help(server: Path, tmp_path: Path) -> None:
    shown = done(server / "sojourn", "--help", cwd=tmp_path)

    assert "publish" in shown


def test_the_installed_command_makes_a_database_from_what_the_wheel_ships(server: Path, tmp_path: Path) -> None:
    done(server / "sojourn", "db", "upgrade", cwd=tmp_path, SOJOURN_DATA_DIR=str(tmp_path / "sojourn"))

    status = done(server / "sojourn", "status", "--json", cwd=tmp_path, SOJOURN_DATA_DIR=str(tmp_path / "sojourn"))

    assert '"sojourn.lifecycle"' in status


def test_the_base_install_imports_the_broker_sdk_without_a_server(broker: Path, tmp_path: Path) -> None:
    done(broker / "python", "-c", IMPORT_BROKER_SDK, cwd=tmp_path)

    psycopg = run(broker / "python", "-c", "import psycopg", cwd=tmp_path)

    assert psycopg.returncode != 0, "the base install brings a database driver"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["publish", "-"]], ids=" ".join)
def test_the_command_of_the_base_install_says_in_one_line_what_to_install(
    broker: Path, tmp_path: Path, arguments: list[str]
) -> None:
    result = run(broker / "sojourn", *arguments, cwd=tmp_path)

    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "sojourn[server]" in result.stderr
