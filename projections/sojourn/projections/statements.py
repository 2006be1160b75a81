"""The named SQL statements of this part; each stands in its own file under sql/."""

from functools import cache
from importlib.resources import files
from typing import LiteralString


@cache
def statement(name: str) -> LiteralString:
    """Return the statement that sql/`name`.sql holds."""
    return files("sojourn.projections").joinpath("sql", f"{name}.sql").read_text()
