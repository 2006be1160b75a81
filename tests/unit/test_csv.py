"""What a spreadsheet makes of an exported CSV: nothing but texts and numbers, and nothing lost."""

import csv
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from sojourn.exporters.dataset import write_dataset
from tests.contract.writer_contract import batches, ended, source

DANGEROUS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"

# PostgreSQL keeps every text but those with NUL; a lone surrogate is no text.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
FORMULAS = st.builds(str.__add__, st.sampled_from(DANGEROUS), TEXTS)


def written(names: list[str], *, neutralise: bool = True) -> list[str]:
    """Return the user names as Python's reader gives them back."""
    rows = [ended(f"s-{number:03}", user_name=name, desktop_name=name) for number, name in enumerate(names)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        write_dataset(batches(rows), source(), "csv", out, neutralise=neutralise)
        with (out / "history.csv").open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file, strict=True))
    assert [row["desktop_name"] for row in read] == [row["user_name"] for row in read]
    return [row["user_name"] for row in read]


def evaluated(value: str) -> bool:
    """Tell whether a spreadsheet takes the text for a formula."""
    cell: Any = Workbook().active["A1"]  # type: ignore[index]
    cell.value = value
    return bool(cell.data_type == "f")


@settings(deadline=None)  # it writes files
@given(st.lists(TEXTS | FORMULAS, max_size=10))
def test_no_text_begins_like_a_formula_and_the_text_can_be_told_from_it(names: list[str]) -> None:
    read = written(names)

    assert not any(name.startswith(tuple(DANGEROUS)) for name in read)
    assert read == [f"'{name}" if name.startswith(tuple(DANGEROUS)) else name for name in names]


@settings(deadline=None)  # it writes files
@given(st.lists(TEXTS | FORMULAS, max_size=10))
def test_without_neutralising_every_text_comes_back_as_it_was(names: list[str]) -> None:
    assert written(names, neutralise=False) == names


def test_a_spreadsheet_evaluates_no_cell_unless_neutralising_was_refused() -> None:
    formula = "=1+1"

    assert [evaluated(name) for name in written([formula])] == [False]
    assert [evaluated(name) for name in written([formula], neutralise=False)] == [True]
