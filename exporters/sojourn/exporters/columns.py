"""The columns of each dataset as Arrow types, and the instant that a row stands at."""

from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sojourn.projections.read import CURRENT_COLUMNS, HISTORY_COLUMNS

Dataset = Literal["current", "history"]

INSTANT: Final = pa.timestamp("us", "UTC")

_COLUMNS: Final[dict[Dataset, tuple[str, ...]]] = {"current": CURRENT_COLUMNS, "history": HISTORY_COLUMNS}
_NO_STRINGS: Final[dict[str, Any]] = {
    "login_at": INSTANT,
    "logout_at": INSTANT,
    "last_seen_at": INSTANT,
    "ended_after": INSTANT,
    "ended_before": INSTANT,
    "duration_seconds": pa.float64(),
    "online_seconds": pa.float64(),
    "revision": pa.int32(),
}


def arrow_schema(dataset: Dataset) -> Any:
    """Return the columns of a dataset, those that stand in the path of a Parquet file included."""
    return pa.schema([(name, _NO_STRINGS.get(name, pa.string())) for name in _COLUMNS[dataset]])


def instants(batch: Any) -> Any:
    """Return where each row stands in time: at its logout, or at its login while that is open."""
    if "logout_at" not in batch.schema.names:
        return batch.column("login_at")
    return pc.coalesce(batch.column("logout_at"), batch.column("login_at"))
