"""The lock: complete, hashed, and silent about where packages come from."""

import re
import tomllib

from tests.unit.tree import ROOT

LOCK = (ROOT / "requirements.lock").read_text()


def locked_names() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))


def test_every_dependency_of_the_project_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["server"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]

    missing = {re.split(r"[>=\[]", line, maxsplit=1)[0] for line in requirements} - locked_names()

    assert not missing, f"run `make lock` and commit requirements.lock: {sorted(missing)}"


def test_every_locked_package_has_hashes() -> None:
    entries = re.split(r"^(?=[a-z])", LOCK, flags=re.MULTILINE)[1:]

    bare = [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]

    assert entries
    assert not bare, f"run `make lock`, which asks for hashes: {bare}"


def test_the_lock_names_no_index_and_no_address() -> None:
    found = [line for line in LOCK.splitlines() if "://" in line or "index" in line or line.startswith(("-", "#"))]

    assert not found, f"where packages come from is the machine's setting; run `make lock`: {found}"
