"""Events that Sojourn will never take stay beside the spool, with the reason, for somebody to look at."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sojourn.events.broker.files import for_its_user
from sojourn.events.broker.transport import Rejection

_logger: Final = structlog.get_logger()


class _Kept(msgspec.Struct):
    rejected_at: datetime
    reason: str
    detail: str
    event: msgspec.Raw


def keep_rejected(path: Path, rejections: list[Rejection]) -> None:
    """Add a line for each to the file, and put it onto the disk."""
    now = datetime.now(UTC)
    lines = [
        msgspec.json.encode(_Kept(now, rejection.reason, rejection.detail, msgspec.Raw(rejection.value))) + b"\n"
        for rejection in rejections
    ]
    with open(path, "ab", opener=for_its_user) as file:
        file.write(b"".join(lines))
        file.flush()
        os.fsync(file.fileno())
    for rejection in rejections:
        _logger.error("event_rejected", reason=rejection.reason, detail=rejection.detail, kept=str(path))
