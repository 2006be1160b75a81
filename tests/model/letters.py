"""Dead letters, the sessions that wait for them, and what a resolution may name; from design §6 and issue 6, item 7."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.model.deciding import OF_BROKERS, SOJOURN, Rules
from tests.model.decisions import OF_SESSIONS as DECIDED_OF_SESSIONS
from tests.model.reading import DESTROYED, ESTABLISHED, Reading, Refused, document_of
from tests.model.telling import Entry
from tests.model.values import bytes_of, instant, is_id, is_tenant

HOLDS_NOTHING = {
    "conflict", "wrong_partition", "tenant_mismatch", "unbound_source", "wrong_source", "unknown_type", "wrong_letter",
}  # fmt: skip
OF_SESSIONS = {ESTABLISHED, DESTROYED, *DECIDED_OF_SESSIONS}
BYTES_MAX = 1 << 20  # of a dead letter's bytes in its table

SessionPlace = tuple[int, str, str]


@dataclass
class Letter:
    """A record that was not applied, and what was decided about it since."""

    entry: Entry
    reason: str
    came_at: datetime
    key: SessionPlace | None = None  # the session that it names
    waits: bool = False
    resolution: str | None = None
    mended: bytes | None = None
    resolved: tuple[int, datetime] | None = None

    @property
    def turn(self) -> tuple[datetime, int]:
        return self.came_at, self.entry.offset

    @property
    def counted_as(self) -> str:
        return self.reason if self.reason in {"parked", "conflict"} else "dead_letter"

    def again(self, at: datetime) -> Entry:
        """Return the record as it is applied anew: in its place, at the time of the resolution."""
        entry = self.entry._replace(appended_at=max(at, self.entry.appended_at + timedelta(microseconds=1)))
        return entry if self.mended is None else entry._replace(value=self.mended, headers=())


def document_named(entry: Entry) -> dict[str, Any]:
    """Return what can be read of a record, if it is an object at all."""
    try:
        document = document_of(entry.value, entry.headers)
    except Refused:
        return {}
    return document if isinstance(document, dict) else {}


def named_session(entry: Entry) -> SessionPlace | None:
    """Return the session that a record names, though it may say nothing else that can be read."""
    document = document_named(entry)
    tenant, subject = document.get("tenant"), document.get("subject")
    if not is_tenant(tenant) or not is_id(subject):
        return None
    return entry.partition, str(tenant), str(subject)


def holds(letter: Letter, rules: Rules) -> bool:
    """Tell whether the later events of the session that a letter names have to wait for it."""
    document = document_named(letter.entry)
    kind, source = document.get("type"), document.get("source")
    if letter.key is None or letter.reason in HOLDS_NOTHING or kind not in list(OF_SESSIONS):
        return False
    if (source == SOJOURN) == (kind in OF_BROKERS):
        return False
    if source == SOJOURN or not rules.strict:
        return True
    if not isinstance(source, str) or source not in rules.bindings:
        return False
    tenants = rules.bindings[source][1]
    return tenants is None or letter.key[1] in tenants


def queue_of(letters: Iterable[Letter], key: SessionPlace | None) -> list[Letter]:
    """Return the letters that wait in a session's queue, in their turn."""
    return sorted((letter for letter in letters if letter.waits and letter.key == key), key=lambda one: one.turn)


def named_letter(said: Reading, partition: int, letters: Iterable[Letter]) -> Letter | None:
    """Return the letter that a resolution names, if it may name it."""
    data = said.data
    if data["topic"] != "sojourn.lifecycle" or data["partition"] != partition:
        return None
    place = data["offset"], instant(data["appended_at"])
    return next(
        (
            letter
            for letter in letters
            if letter.entry.partition == partition and (letter.entry.offset, letter.entry.appended_at) == place
        ),
        None,
    )


def mended_bytes(said: Reading) -> bytes | None:
    value = said.data.get("value")
    return None if value is None or said.data["resolution"] == "discarded" else bytes_of(value)
