"""What the decisions in a partition's log come to, which everything behind them is judged by."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from sojourn.events.decision_data import TenantConfiguredData
from sojourn.events.fields import Partitioner
from sojourn.events.log import Record
from sojourn.events.types import (
    BrokerReturned,
    BrokerSilent,
    DeadLetterResolved,
    GapAccepted,
    PartitionEvent,
    SourceBound,
    TenantConfigured,
)


class Decision(Struct, frozen=True, gc=False):
    """What Sojourn's own event decides for its partition; `repeats` if that holds already."""

    record: Record
    event: PartitionEvent
    repeats: bool


class Silence(NamedTuple):
    """The decision that a broker is silent, and when it was heard of last, by append time."""

    id: str
    since: datetime


class Decided(NamedTuple):
    """What all decisions of a partition's log so far come to.

    By source: the partitioner, the tenants it may speak for (None for any), the silence that has not ended.
    By tenant: what was configured. Gaps are (from, to) offsets.
    """

    partitioners: Mapping[str, Partitioner] = {}
    gaps: frozenset[tuple[int, int]] = frozenset()
    tenants: Mapping[str, frozenset[str] | None] = {}
    settings: Mapping[str, TenantConfiguredData] = {}
    silent: Mapping[str, Silence] = {}

    @property
    def is_strict(self) -> bool:
        """Whether sources have been bound to tenants, so that one that is bound to none may not publish."""
        return any(tenants is not None for tenants in self.tenants.values())

    def holds(self, event: PartitionEvent) -> bool:
        """Tell whether the event decides nothing new."""
        match event:
            case SourceBound(data=data):
                tenants = None if data.tenants is None else frozenset(data.tenants)
                source = data.source
                bound = source in self.tenants and self.tenants[source] == tenants
                return bound and self.partitioners.get(source) == data.partitioner
            case GapAccepted(data=gap):
                return (gap.from_offset, gap.to_offset) in self.gaps
            case TenantConfigured(tenant=tenant, data=setting):
                return self.settings.get(tenant) == replace(setting, who=None)
            case BrokerSilent(data=data):
                return data.source in self.silent
            case BrokerReturned(data=end):
                silence = self.silent.get(end.source)
                return silence is None or silence.id != end.silent
            case DeadLetterResolved():
                return False

    def after(self, decisions: Iterable[Decision]) -> "Decided":
        """Return what holds behind these."""
        partitioners, gaps, tenants = dict(self.partitioners), set(self.gaps), dict(self.tenants)
        settings, silent = dict(self.settings), dict(self.silent)
        for decision in decisions:
            match decision.event:
                case SourceBound(data=data):
                    partitioners[data.source] = data.partitioner
                    tenants[data.source] = None if data.tenants is None else frozenset(data.tenants)
                case GapAccepted(data=gap):
                    gaps.add((gap.from_offset, gap.to_offset))
                case TenantConfigured(tenant=tenant, data=setting):
                    settings[tenant] = replace(setting, who=None)
                case BrokerSilent(id=silent_id, data=silence):
                    silent[silence.source] = Silence(silent_id, silence.last_heard_at)
                case BrokerReturned(data=end):
                    silent.pop(end.source, None)
                case DeadLetterResolved():
                    pass
        return Decided(partitioners, frozenset(gaps), tenants, settings, silent)


NOTHING_DECIDED: Final = Decided()
