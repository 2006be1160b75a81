"""Users and desktops by their ids, whatever names they had, and the name each had last."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sojourn.projections.statistics.columns import Codes, Named
from sojourn.projections.statistics.instants import Ints


class Identities(NamedTuple):
    """The id of each number in a column, as a place in `ids`."""

    ids: list[str]
    places: Ints


def identities(named: Sequence[Named]) -> Identities:
    """Join the numbers of those who have one id."""
    known: dict[str, int] = {}
    places = [known.setdefault(one.id, len(known)) for one in named]
    return Identities(list(known), np.array(places, dtype=np.int64))


def last_names(
    named: Sequence[Named], column: Codes, logins: Ints, places: Ints, shown: Iterable[int]
) -> dict[int, str]:
    """Return the name that each of the `shown` places had at its last login; of simultaneous ones the greatest."""
    is_shown = np.zeros(int(places.max(initial=-1)) + 1, dtype=bool)
    is_shown[list(shown)] = True
    numbers = np.flatnonzero(is_shown[places])
    if len(numbers) == is_shown.sum():  # nobody among them changed names
        return {int(places[number]): named[number].name for number in numbers.tolist()}
    of_shown = np.zeros(len(places), dtype=bool)
    of_shown[numbers] = True
    rows = np.flatnonzero(of_shown[column])
    last = np.full(len(places), np.iinfo(np.int64).min)
    np.maximum.at(last, column[rows], logins[rows])
    found: dict[int, tuple[int, str]] = {}
    for number in np.flatnonzero(last > np.iinfo(np.int64).min).tolist():
        candidate = (int(last[number]), named[number].name)
        place = int(places[number])
        found[place] = max(found.get(place, candidate), candidate)
    return {place: name for place, (_, name) in found.items()}
