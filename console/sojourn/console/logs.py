"""Logs of services: one JSON object a line on standard error, whoever wrote it; on a terminal, lines for people."""

import logging
import sys
import threading
import time
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REPEAT_SECONDS: Final = 30.0  # the same words of a library come again after this, with how often they were said
WORDS_MAX: Final = 1000  # different ones that are remembered; libraries have a hundred, unless they put values in

_LIBRARIES: Final = logging.WARNING  # Faust and aiokafka tell every step at INFO
_FIRST: Final = ("timestamp", "level", "event", "worker", "topic", "partition", "offset", "tenant")

# These raise what they cannot mend, so that an error of theirs is a warning of ours.
_TRYING_AGAIN: Final = ("aiokafka", "faust", "mode")

# What libraries say when workers start, stop or share partitions anew, and what is no news then.
_ROUTINE: Final = (
    "Group Coordinator Request failed",  # the first member of a new group is too early
    "Heartbeat failed for group %s because it is rebalancing",
    "Heartbeat failed: local member_id was not recognized",
    "OffsetCommit failed for group %s due to group error",  # told best effort, at the next turn again
)


class Libraries(logging.Filter):
    """Passes what libraries say that is news."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass a line unless it is routine, or was said a moment ago."""
        words = str(record.msg)
        if words.startswith(_ROUTINE):
            return False
        if record.levelno > logging.WARNING and record.name.startswith(_TRYING_AGAIN):
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        if len(self._said) > WORDS_MAX:
            self._said.clear()
        now = time.monotonic()
        said_at, repeats = self._said.get((record.name, words), (-REPEAT_SECONDS, 0))
        if now - said_at < REPEAT_SECONDS:
            self._said[record.name, words] = said_at, repeats + 1
            return False
        self._said[record.name, words] = now, 0
        if repeats:
            record.msg = f"{words} (and {repeats} times more in the {now - said_at:.0f} s before)"
        return True


def log_lines(worker: str) -> None:
    """Write structlog's lines and those of libraries to standard error, each with the worker's name."""

    def name(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        return {"worker": worker, **line}

    shared: tuple[Processor, ...] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name,
    )
    rendering = _rendering(for_people=sys.stderr.isatty())
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(Libraries())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_LIBRARIES)
    threading.excepthook = _tell_of_thread
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def mute_libraries() -> None:
    """Show no more lines of libraries: how they take their end is no news."""
    for handler in logging.getLogger().handlers:  # some loggers have a level of their own
        handler.setLevel(logging.CRITICAL)


def _tell_of_thread(end: threading.ExceptHookArgs) -> None:
    """Log what ended a thread as everything else is logged."""
    if end.exc_value is not None:
        exc_info = (end.exc_type, end.exc_value, end.exc_traceback)
        logging.getLogger("threading").error("a thread ended by an error", exc_info=exc_info)


def _rendering(*, for_people: bool) -> list[Processor]:
    if for_people:
        return [structlog.dev.ConsoleRenderer(sort_keys=False)]
    return [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer()]


def _in_order(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Put first what the eye looks for."""
    return {**{key: line[key] for key in _FIRST if key in line}, **line}
