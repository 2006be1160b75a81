"""What the handlers share: who asks, how much they may ask for, and the way to the log."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from sojourn.console.http.bodies import AnyRequest, headers
from sojourn.console.http.credentials import shown
from sojourn.console.http.database import GatewayDatabase, Token
from sojourn.console.http.limits import BODIES_MAX, POLLS_MAX, Rate, Slots
from sojourn.console.http.polls import Polls
from sojourn.console.http.problems import unauthorized, unavailable
from sojourn.events.embedded.database import Database
from sojourn.events.log import Log
from sojourn.events.publisher import Publisher

APPEND_SECONDS_MAX: Final = 10.0  # the log itself waits for half a minute; clients give up before that

_log = structlog.get_logger("sojourn.gateway")


class Gateway:
    """Publishes for brokers that show a token, and keeps their commands for them."""

    def __init__(self, database: Database, log: Log) -> None:
        self.database = GatewayDatabase(database)
        self.rate = Rate()
        self.bodies = Slots(BODIES_MAX, "requests with a body")
        self.waiting = Slots(POLLS_MAX, "polls")
        self.polls = Polls(self.database.pending)
        self._publisher = Publisher(log)
        self._is_away = False

    async def authenticate(self, request: AnyRequest) -> Token:
        """Return whose token the request shows, or raise the problem that there is none, or that it asks too often."""
        given = headers(request, b"authorization")
        token = shown(given[0]) if len(given) == 1 else None
        found = None if token is None else await self.database.find_token(token)
        if found is None:
            raise unauthorized()
        self.rate.spend(found.token_id)
        return found

    async def append(self, values: Sequence[bytes]) -> None:
        """Append events and return when the log has acknowledged all; otherwise raise the problem that it has not."""
        if not values:
            return
        try:
            async with asyncio.timeout(APPEND_SECONDS_MAX):
                await self._publisher.publish(values)
        except Exception as error:  # whatever it is, nothing may be told as accepted
            if not self._is_away:
                _log.warning("http.log_away", reason=type(error).__name__)
            self._is_away = True
            detail = "the log has not acknowledged this; send the same again, since what it has already counts once"
            raise unavailable(detail) from error
        if self._is_away:
            _log.info("http.log_back")
        self._is_away = False

    def stop(self) -> None:
        """Let no poll hold up the end of the process."""
        self.polls.stop()

    async def close(self) -> None:
        """Close the connections."""
        await self.database.close()
