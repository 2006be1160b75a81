"""The documentation is complete: what the code knows has its place in docs/, and docs/ name nothing else."""

import re
from collections.abc import Iterator
from inspect import Parameter
from pathlib import Path

import cyclopts
import pytest
from prometheus_client import generate_latest

from sojourn.console.cli import app
from sojourn.console.metrics import metrics_server
from sojourn.consumers.measures import Measures
from sojourn.events.codec import REASONS
from sojourn.events.types import EVENT_TYPES, type_name
from tests.unit.tree import PARTS, ROOT, python_files, text

ANY_COMMAND = "Options of every command"
SETTING = re.compile(r"\bSOJOURN_[A-Z_]+\b")


def sections(path: str) -> dict[str, str]:
    """Return the text below each heading of a page, up to the next heading; code marks are dropped from headings."""
    pieces = re.split(r"^#+ +(.+)$", (ROOT / path).read_text(), flags=re.MULTILINE)[1:]
    return {heading.replace("`", "").strip(): body for heading, body in zip(pieces[::2], pieces[1::2], strict=True)}


def subcommands(app: cyclopts.App) -> Iterator[tuple[str, cyclopts.App]]:
    flags = {*app.help_flags, *app.version_flags}
    for name in app:
        command = app[name]
        if name in flags or not command.show:
            continue
        if command.default_command is not None and command.default_command.__name__ != "help_print":
            yield f"sojourn {name}", command
        yield from ((f"sojourn {name} {rest.removeprefix('sojourn ')}", below) for rest, below in subcommands(command))


COMMANDS = dict(subcommands(app))


def options(command: cyclopts.App) -> list[str]:
    """Return the options of a command; what is given by its place is shown in the command's usage line."""
    return [
        next(name for name in argument.names if name.startswith("--"))
        for argument in command.assemble_argument_collection()
        if argument.field_info.kind is Parameter.KEYWORD_ONLY and argument.show
    ]


def settings() -> set[str]:
    return {name for path in python_files(*PARTS) for name in SETTING.findall(text(path))}


def metrics() -> set[str]:
    """Return the names of Sojourn's own metrics as they are served."""
    measures = Measures()
    metrics_server(measures, "1.0")
    names = {
        line.split()[2] for line in generate_latest(measures.registry).decode().splitlines() if line[:6] == "# TYPE"
    }
    return {name for name in names if name.startswith("sojourn_")}


def test_the_settings_page_has_a_heading_for_every_setting_and_no_other() -> None:
    documented = {heading for heading in sections("docs/settings.md") if SETTING.fullmatch(heading)}

    assert documented == settings(), (
        "docs/settings.md has one heading for each environment variable that the code reads"
    )


def test_the_command_page_has_a_heading_for_every_command_and_no_other() -> None:
    documented = {heading for heading in sections("docs/cli.md") if heading.startswith("sojourn ")}

    assert documented == set(COMMANDS), "docs/cli.md has one heading `sojourn NAME` for each command"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_page_shows_every_option_of_a_command(name: str) -> None:
    page = sections("docs/cli.md")

    shown = re.findall(r"--[a-z-]+", page[name] + page.get(ANY_COMMAND, ""))

    missing = set(options(COMMANDS[name])) - set(shown)
    assert not missing, f"add it to the section of `{name}` in docs/cli.md: {sorted(missing)}"


def test_the_metrics_page_has_a_heading_for_every_metric_and_no_other() -> None:
    documented = {heading for heading in sections("docs/metrics.md") if heading.startswith("sojourn_")}

    assert documented == metrics(), "docs/metrics.md has one heading for each metric that a worker serves"


@pytest.mark.parametrize("name", [*map(type_name, EVENT_TYPES), *REASONS])
def test_the_contract_page_has_a_row_or_heading_for_every_event_type_and_reason(name: str) -> None:
    lines = (ROOT / "docs/contract.md").read_text().splitlines()

    found = [line for line in lines if line.startswith(("#", "|")) and f"`{name}`" in line]

    assert found, f"add a table row or a heading with it to docs/contract.md: `{name}`"


@pytest.mark.parametrize(
    "page", [Path("README.md"), *sorted(p.relative_to(ROOT) for p in (ROOT / "docs").glob("*.md"))]
)
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+:)([^)#]+)(?:#[^)]*)?\)", text(page))

    broken = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]

    assert not broken, f"the file that {page} links to is not there: {broken}"


def test_the_readme_links_to_every_page_of_the_documentation() -> None:
    links = set(re.findall(r"\]\((docs/[^)#]+\.md)\)", text(Path("README.md"))))

    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
    assert links == pages, "the README's list of pages and docs/ differ"
