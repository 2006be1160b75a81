"""The independent model: what the tables must hold, by brute force over all records of a log.

For every record, everything that was said about its session is looked at again. No state is carried on.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.model import commanding, decisions
from tests.model.deciding import SOJOURN, Rules
from tests.model.judging import judge, newest_revision, remembered
from tests.model.letters import (
    BYTES_MAX,
    Letter,
    document_named,
    holds,
    mended_bytes,
    named_letter,
    named_session,
    queue_of,
)
from tests.model.placing import partition_of
from tests.model.reading import ALIVE, DESTROYED, HEARTBEAT, HEARTBEATS, Reading, Refused, read
from tests.model.telling import Entry, Told, history_row, live_row
from tests.model.values import instant, is_id, is_tenant

LIFECYCLE = "sojourn.lifecycle"
BEATS = {HEARTBEAT, HEARTBEATS, ALIVE}

Place = tuple[int, str, str]  # of a session: the partition, the tenant, the session id
RowPlace = tuple[int, int, datetime]  # of a row: the partition, the offset, the append time


@dataclass
class Outcome:
    """What the tables must hold."""

    live: dict[Place, dict[str, Any]] = field(default_factory=dict)
    history: dict[RowPlace, dict[str, Any]] = field(default_factory=dict)
    superseded: dict[RowPlace, RowPlace] = field(default_factory=dict)  # to the correction
    dead_letters: dict[tuple[str, int, int, datetime], Letter] = field(default_factory=dict)
    dispositions: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    tenants: set[str] = field(default_factory=set)
    rules: dict[int, Rules] = field(default_factory=dict)  # by partition
    commands: dict[Place, dict[str, Any]] = field(default_factory=dict)  # by partition, tenant and command id


def project(entries: Iterable[Entry], partitions: int) -> Outcome:
    """Return what a log must come to. Of heartbeats only the dead letters: liveness is checked by bounds."""
    reader = Reader(partitions)
    for entry in sorted(entries, key=lambda entry: (entry.topic, entry.partition, entry.offset)):
        reader.take(entry)
    return reader.finish()


class Reader:
    """Reads a log, record by record; keeps all that was told of each session."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.outcome = Outcome()
        self.sessions: dict[Place, list[Told]] = defaultdict(list)
        self.commands: commanding.Commands = {}

    def take(self, entry: Entry) -> None:
        """Give one record its disposition."""
        rules = self.outcome.rules.setdefault(entry.partition, Rules(entry.partition))
        if entry.topic != LIFECYCLE:
            try:
                if read(entry.value, entry.headers).type not in BEATS:
                    raise Refused("unknown_type")
            except Refused as refused:
                self.keep(Letter(entry, refused.reason, entry.appended_at))
            return
        try:
            disposition = self.apply(entry, rules)
        except Refused as refused:
            self.refuse(entry, refused.reason, entry.appended_at, rules)
            disposition = "dead_letter"
        self.count(entry, disposition, 1)

    def apply(self, entry: Entry, rules: Rules) -> str:
        """Apply a record that came just now, and return its disposition."""
        said = self.understand(entry, rules)
        if said.type == decisions.RESOLVED:
            return self.resolve(entry, said, rules)
        if said.type in decisions.OF_PARTITIONS:
            if said.tenant is not None:
                self.outcome.tenants.add(said.tenant)
            return rules.decide(said)
        key = named_session(entry)
        if queue_of(self.letters, key):
            self.outcome.history[place_of(entry)] = history_row(
                Told(entry, said, entry.appended_at, disposition="parked")
            )
            self.keep(Letter(entry, "parked", entry.appended_at, key, waits=True))
            return "parked"
        return self.tell(Told(entry, said, entry.appended_at), rules)

    def understand(self, entry: Entry, rules: Rules) -> Reading:
        """Return what a record of lifecycle says, or raise `Refused`."""
        said = read(entry.value, entry.headers)
        if said.type in BEATS:
            raise Refused("unknown_type")
        rules.refuse_strangers(said)
        if said.type == decisions.GAP_ACCEPTED and said.data["partition"] != entry.partition:
            raise Refused("wrong_partition")
        if said.type not in decisions.OF_PARTITIONS and said.source != SOJOURN:
            assert said.tenant is not None
            assert said.subject is not None
            partitioner = rules.partitioner(said.source)
            if partition_of(said.tenant, said.subject, self.partitions, partitioner) != entry.partition:
                raise Refused("wrong_partition")
        return said

    def tell(self, told: Told, rules: Rules) -> str:
        """Judge one event of a session, keep its row, and return its disposition."""
        entry, said = told.entry, told.said
        assert said.tenant is not None
        assert said.subject is not None
        self.judge(told, rules, self.sessions[entry.partition, said.tenant, said.subject])
        self.outcome.history[place_of(entry)] = history_row(told)
        self.outcome.tenants.add(said.tenant)
        if told.disposition == "conflict":
            self.keep(Letter(entry, "conflict", told.came_at, named_session(entry)))
        return told.disposition

    def judge(self, told: Told, rules: Rules, before: list[Told]) -> None:
        if told.said.type in decisions.OF_COMMANDS:
            told.disposition = commanding.take(told, self.commands, missing(told, before))
            return
        assert told.said.tenant is not None
        told.networks = rules.networks(told.said.tenant)
        judge(told, before)
        before.append(told)
        if told.said.type == DESTROYED and told.disposition != "conflict":
            commanding.confirm(told, self.commands)

    # --- dead letters ---

    @property
    def letters(self) -> Iterable[Letter]:
        return [letter for place, letter in self.outcome.dead_letters.items() if place[0] == LIFECYCLE]

    def keep(self, letter: Letter) -> None:
        self.outcome.dead_letters[letter.entry.topic, *place_of(letter.entry)] = letter

    def count(self, entry: Entry, disposition: str, records: int) -> None:
        self.outcome.dispositions[entry.topic, entry.partition, disposition] += records

    def refuse(self, entry: Entry, reason: str, came_at: datetime, rules: Rules) -> bool:
        """Keep a record that cannot be applied; return whether its session waits for it."""
        letter = Letter(entry, reason, came_at, named_session(entry))
        letter.waits = holds(letter, rules)
        self.keep(letter)
        if reason in {"wrong_partition", "wrong_source"}:
            said = read(entry.value, entry.headers)
            of_command = said.type in decisions.ANSWERS and said.source != SOJOURN
            if said.subject is not None and (reason == "wrong_partition" or of_command):
                self.outcome.history[place_of(entry)] = history_row(
                    Told(entry, said, came_at, disposition="dead_letter")
                )
        return letter.waits

    def resolve(self, entry: Entry, said: Reading, rules: Rules) -> str:
        """Do with a dead letter what was decided, and return the decision's disposition."""
        data = said.data
        if data["topic"] != LIFECYCLE and data["resolution"] == "discarded" and data["partition"] == entry.partition:
            place = data["topic"], data["partition"], data["offset"], instant(data["appended_at"])
            beat = next((one for at, one in self.outcome.dead_letters.items() if at == place), None)
            if beat is not None and beat.resolution is None:
                beat.resolution, beat.resolved = "discarded", (entry.offset, entry.appended_at)
            return "applied"
        letter, mended = named_letter(said, entry.partition, self.letters), mended_bytes(said)
        if letter is None:
            raise Refused("wrong_letter")
        if (letter.resolution, letter.mended) == (data["resolution"], mended):
            return "duplicate"
        if letter.resolution is not None:
            raise Refused("wrong_letter")
        key = letter.key if letter.waits else None
        if data["resolution"] == "requeued":
            key = self.session_to_be(replace(letter, mended=mended), entry.appended_at, rules)
        letter.resolution, letter.mended = data["resolution"], mended
        letter.resolved = entry.offset, entry.appended_at
        queue = queue_of(self.letters, key)
        if letter.waits:
            self.run(queue, entry, rules)
        elif queue and queue[0].turn < letter.turn:
            letter.key, letter.waits = key, True
        else:
            self.leave(letter, entry, rules)
        return "applied"

    def session_to_be(self, letter: Letter, at: datetime, rules: Rules) -> Place:
        """Return the session of a letter that is to be applied anew, if it can be and names no other than before."""
        again = letter.again(at)
        if len(again.value) > BYTES_MAX:
            raise Refused("wrong_letter")
        try:
            said = self.understand(again, rules)
        except Refused:
            raise Refused("wrong_letter") from None
        before = document_named(letter.entry)
        was = [
            one if is_one(one) else None
            for one, is_one in ((before.get("tenant"), is_tenant), (before.get("subject"), is_id))
        ]
        if said.tenant is None or said.subject is None:
            raise Refused("wrong_letter")
        if was[0] not in {None, said.tenant} or was[1] not in {None, said.subject}:
            raise Refused("wrong_letter")
        return again.partition, said.tenant, said.subject

    def run(self, queue: Sequence[Letter], resolution: Entry, rules: Rules) -> None:
        """Apply a queue from its head on, up to the next record that is bad."""
        for letter in queue:
            if letter.resolution is None and letter.reason != "parked":
                return
            if letter.resolution is None:
                letter.resolution, letter.resolved = "released", (resolution.offset, resolution.appended_at)
            if self.leave(letter, resolution, rules):
                return

    def leave(self, letter: Letter, resolution: Entry, rules: Rules) -> bool:
        """Apply a letter, unless it is discarded; return whether its session waits for it again."""
        letter.waits = False
        if letter.resolution == "discarded":
            self.count(letter.entry, letter.counted_as, -1)
            self.count(letter.entry, "conflict" if letter.reason == "conflict" else "dead_letter", 1)
            return False
        self.count(letter.entry, letter.counted_as, -1)
        again, waits = letter.again(resolution.appended_at), False
        try:
            disposition = self.tell(Told(again, self.understand(again, rules), letter.came_at), rules)
        except Refused as refused:
            waits, disposition = self.refuse(again, refused.reason, letter.came_at, rules), "dead_letter"
        self.count(again, disposition, 1)
        return waits

    def finish(self) -> Outcome:
        """Return what all that was read comes to."""
        for key, events in self.sessions.items():
            note_superseded(events, self.outcome)
            newest = newest_revision(events)
            if newest is not None and newest.row["logout_at"] is None:
                self.outcome.live[key] = live_row(newest, events)
        self.outcome.commands = {key: command.row for key, command in self.commands.items()}
        self.outcome.dispositions = +self.outcome.dispositions
        return self.outcome


def missing(told: Told, before: Sequence[Told]) -> str | None:
    """Return why there is no session for a command, or None where there is one."""
    newest = newest_revision(remembered(before, told.entry.appended_at))
    if newest is None:
        return "there is no such session"
    return None if newest.row["logout_at"] is None else commanding.ENDED


def note_superseded(events: Sequence[Told], outcome: Outcome) -> None:
    """Name the ended revisions that a later revision of the same life of the session corrects."""
    revisions = [event for event in events if event.revision is not None]
    for earlier, later in pairwise(revisions):
        if earlier.row["logout_at"] is not None and later.revision != 1:
            outcome.superseded[place_of(earlier.entry)] = place_of(later.entry)


def place_of(entry: Entry) -> RowPlace:
    return entry.partition, entry.offset, entry.appended_at
