"""The errors a user of Sojourn can meet; each says what to do."""


class SojournError(Exception):
    """something in Sojourn went wrong"""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class UsageError(SojournError):
    """the command was called in a way it does not understand"""

    exit_code = 2


class Unreachable(SojournError):
    """a server that is needed cannot be reached"""

    exit_code = 3


class OffsetOutOfRange(SojournError):
    """the log no longer, or not yet, holds this offset"""

    def __init__(self, topic: str, partition: int, offset: int, start: int, end: int) -> None:
        super().__init__(
            f"offset out of range in {topic}, partition {partition}, which holds {start} to {end}: {offset}"
        )
        self.topic, self.partition, self.offset = topic, partition, offset
        self.start, self.end = start, end
