"""What a partition's owner does about commands: hands them to their brokers, and tells when nothing confirmed them."""

import heapq
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sojourn.events.codec import encode
from sojourn.events.decisions import disconnect_expired
from sojourn.events.topics import COMMANDS, LIFECYCLE, session_key
from sojourn.events.types import DisconnectRequested
from sojourn.projections.command_store import Pending
from sojourn.projections.commands import CommandKey
from sojourn.projections.fold import Changes
from sojourn.projections.outbox import Outgoing

CONFIRM_SECONDS: Final = 30  # from a command's expiry on: a broker that began in time has ended the session by then


def requests(changes: Changes) -> list[Outgoing]:
    """Return what goes to the brokers: the commands that a batch requested and did not conclude."""
    return [
        Outgoing(COMMANDS, entry.fact.event.data.broker.encode(), entry.fact.record.value)
        for entry in changes.entries
        if isinstance(entry.fact.event, DisconnectRequested)
        and entry.disposition == "applied"
        and changes.commands[entry.fact.event.tenant, entry.fact.event.data.command].concluded_at is None
    ]


class Deadlines:
    """The commands of one partition that nothing has concluded, by when that will be told."""

    def __init__(self, pending: Iterable[Pending]) -> None:
        self._pending: dict[CommandKey, Pending] = {}
        self._due: list[tuple[datetime, CommandKey]] = []
        for one in pending:
            self._add(one)

    def settle(self, changes: Changes) -> None:
        """Take over what a committed batch did to commands."""
        for (tenant, command_id), command in changes.commands.items():
            if command.concluded_at is not None:
                self._pending.pop((tenant, command_id), None)
            elif (tenant, command_id) not in self._pending:
                self._add(Pending(tenant, command_id, command.session_id, command.expires_at))

    def expired(self, now: datetime) -> list[Outgoing]:
        """Return the decisions about the commands whose deadline has passed; each is returned once."""
        outgoing = []
        while self._due and self._due[0][0] <= now:
            deadline, key = heapq.heappop(self._due)
            pending = self._pending.pop(key, None)
            if pending is not None:
                event = disconnect_expired(pending.tenant, pending.session_id, pending.command_id, deadline)
                outgoing.append(Outgoing(LIFECYCLE, session_key(pending.tenant, pending.session_id), encode(event)))
        return outgoing

    def _add(self, one: Pending) -> None:
        key = one.tenant, one.command_id
        self._pending[key] = one
        heapq.heappush(self._due, (one.expires_at + timedelta(seconds=CONFIRM_SECONDS), key))
