"""How long sessions lasted, and how they ended."""

from typing import Any, Final

import numpy as np
from msgspec import Struct
from psycopg import AsyncConnection

from sojourn.projections.read import HistoryFilter
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.counted import Counted, answer
from sojourn.projections.statistics.instants import HOUR, MINUTE, SECOND, Ints
from sojourn.projections.statistics.rules import Answer

_PERCENTS: Final = (50, 90, 95, 99)
# From a mistaken click over a meeting to a working day, and what nobody ended.
_EDGES: Final = np.array(
    (0, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, *(hours * HOUR for hours in (1, 2, 4, 8, 12, 24)))
)


class Band(Struct, frozen=True):
    """The sessions that lasted from `from_seconds` to less than `to_seconds`, which the longest have not."""

    from_seconds: float
    to_seconds: float | None
    sessions: int


class Ending(Struct, frozen=True):
    """How many sessions ended in one way."""

    outcome: str
    reason: str
    sessions: int


class Durations(Answer, frozen=True, kw_only=True):
    """Percentiles, greatest and mean are None where no session is counted; `endings` have the most frequent first."""

    median_seconds: float | None
    p90_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    seconds_max: float | None
    seconds_mean: float | None
    histogram: list[Band]
    endings: list[Ending]


async def durations(
    connection: AsyncConnection[Any], cache: StatisticsCache, filters: HistoryFilter, time_zone: str | None
) -> Durations:
    """Return the distribution of online seconds; inside `as_reader`."""
    return await answer(connection, cache, filters, time_zone, _made)


def _made(counted: Counted) -> Durations:
    columns, is_open = counted.columns, counted.is_open
    ended = ~is_open & (columns.ends_first >= counted.start) & (columns.ends_first < counted.end)
    online, kinds = columns.online[ended], np.bincount(columns.kind[ended], minlength=len(counted.names.kinds))
    median, p90, p95, p99 = _percentiles(online)
    bands = np.bincount(np.searchsorted(_EDGES, online, "right") - 1, minlength=len(_EDGES))
    endings: dict[tuple[str, str], int] = {}
    for kind, sessions in zip(counted.names.kinds, kinds.tolist(), strict=True):
        if sessions:
            endings[kind.outcome, kind.reason] = endings.get((kind.outcome, kind.reason), 0) + sessions
    return Durations(
        **counted.facts(
            "durations", ended, still_open=int(is_open.sum()), ended_outside=int((~is_open & ~ended).sum())
        ),
        median_seconds=median,
        p90_seconds=p90,
        p95_seconds=p95,
        p99_seconds=p99,
        seconds_max=int(online.max()) / SECOND if len(online) else None,
        seconds_mean=float(online.mean()) / SECOND if len(online) else None,
        histogram=[
            Band(int(low) / SECOND, None if high is None else int(high) / SECOND, sessions)
            for low, high, sessions in zip(_EDGES, [*_EDGES[1:], None], bands.tolist(), strict=True)
        ],
        endings=[
            Ending(*key, sessions) for key, sessions in sorted(endings.items(), key=lambda item: (-item[1], item[0]))
        ],
    )


def _percentiles(online: Ints) -> list[float | None]:
    if not len(online):
        return [None] * len(_PERCENTS)
    ranks = [-(-percent * len(online) // 100) - 1 for percent in _PERCENTS]
    ordered = np.partition(online, ranks)
    return [int(ordered[rank]) / SECOND for rank in ranks]
