"""What names that people give to things may hold: anything that is read as it stands."""

import re
from typing import Final

# Control characters, and those that turn the direction or end the line of what stands beside them.
_UNREADABLE: Final = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"

READABLE_PATTERN: Final = rf"^[^{_UNREADABLE}]*[^\s{_UNREADABLE}][^{_UNREADABLE}]*$"  # as schemas say it

_READABLE: Final = re.compile(READABLE_PATTERN.removesuffix("$"))


def is_readable(name: str) -> bool:
    """Tell whether a name has something to read, and nothing that is not."""
    return _READABLE.fullmatch(name) is not None
