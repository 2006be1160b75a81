"""Finding the record that the database refuses, so that it alone becomes a dead letter: docs/why.md, "Refused"."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import psycopg

from sojourn.events.codec import DETAIL_CHARACTERS_MAX
from sojourn.events.log import Batch
from sojourn.projections.facts import DeadLetter, Fact, Judged
from sojourn.projections.parking import is_resolution, pieces

# Classes of SQLSTATE that what is written can cause: data, constraint, limit of the program, not supported.
_OF_DATA: Final = ("22", "23", "54", "0A")

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Piece(NamedTuple):
    """Consecutive records of a batch, and what each is judged to be."""

    batch: Batch
    judged: Sequence[Judged]


def is_of_data(error: psycopg.Error) -> bool:
    """Tell whether an error may come from one record's content; psycopg itself refuses a NUL in a text."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.DataError)
    return error.sqlstate.startswith(_OF_DATA)


async def apply_batch(batch: Batch, judged: Sequence[Judged], apply: Callable[[Piece], Awaitable[None]]) -> None:
    """Apply a batch piece by piece, each in a transaction of its own: usually there is one.

    A piece that the database refuses for its data is halved, down to the record that is why; that one is applied as a
    dead letter. Whatever else is raised ends it, and all before that is applied.
    """
    start = 0
    for part in pieces(judged):
        end = start + len(part)
        await _apply(_piece(batch, judged, start, end), apply)
        start = end


async def _apply(piece: Piece, apply: Callable[[Piece], Awaitable[None]]) -> None:
    try:
        await apply(piece)
    except psycopg.Error as error:
        count = len(piece.judged)
        if not is_of_data(error) or count == 0:
            raise
        if count == 1:
            letter = _refused(piece.judged[0], error)
            if letter is None:
                raise
            await apply(Piece(piece.batch, [letter]))
            return
    else:
        return
    for start, end in ((0, count // 2), (count // 2, count)):
        await _apply(_piece(piece.batch, piece.judged, start, end), apply)


def _piece(batch: Batch, judged: Sequence[Judged], start: int, end: int) -> Piece:
    """Return some of a batch's records as a batch that ends where the next record begins."""
    is_last = end == len(judged)
    next_offset = batch.next_offset if is_last else judged[end].record.offset
    return Piece(Batch(batch.topic, batch.partition, batch.records[start:end], next_offset), judged[start:end])


def _refused(item: Judged, error: psycopg.Error) -> DeadLetter | None:
    """Return the dead letter for a record that the database refuses; None where no producer can be why.

    Only the first line of what the server says: the others quote rows, perhaps of others.
    """
    detail = (error.diag.message_primary or str(error)).replace("\0", "\\0")[:DETAIL_CHARACTERS_MAX]
    match item:
        case Fact():
            return DeadLetter(item.record, "refused_by_database", detail, *item.key)
        case DeadLetter(tenant=tenant, session_id=session_id):
            return DeadLetter(item.record, "refused_by_database", detail, tenant, session_id)
        case _ if is_resolution(item):
            return DeadLetter(item.record, "refused_by_database", f"what it lets go: {detail}", None, None)
        case _:
            return None


async def refused_of(
    items: Mapping[_Key, _Value], attempt: Callable[[Mapping[_Key, _Value]], Awaitable[None]]
) -> dict[_Key, psycopg.Error]:
    """Return those of `items` that the database refuses for their data; `attempt` writes some and leaves no trace."""
    try:
        await attempt(items)
    except psycopg.Error as error:
        if not is_of_data(error) or not items:
            raise
        if len(items) == 1:
            return dict.fromkeys(items, error)
    else:
        return {}
    keys = list(items)
    found: dict[_Key, psycopg.Error] = {}
    for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
        found |= await refused_of({key: items[key] for key in half}, attempt)
    return found
