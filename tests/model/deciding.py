"""What Sojourn's decisions come to for one partition, and which sources may say what."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.model.addresses import INTERNAL
from tests.model.decisions import ANSWERS, CONFIGURED, GAP_ACCEPTED, RETURNED, SILENT, SOURCE_BOUND
from tests.model.reading import ALIVE, DESTROYED, ESTABLISHED, HEARTBEAT, HEARTBEATS, Reading, Refused
from tests.model.values import instant

SOJOURN = "/sojourn"
OF_BROKERS = {ESTABLISHED, DESTROYED, HEARTBEAT, HEARTBEATS, ALIVE, *ANSWERS}
SETTINGS = ("internal_networks", "heartbeat_timeout_seconds", "lost_grace_seconds", "time_zone")


@dataclass
class Rules:
    """What one partition was told so far."""

    partition: int
    bindings: dict[str, tuple[str, list[str] | None]] = field(default_factory=dict)  # partitioner, tenants
    gaps: set[tuple[int, int]] = field(default_factory=set)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    silent: dict[str, tuple[str, datetime | None]] = field(default_factory=dict)  # the decision's id, since when

    @property
    def strict(self) -> bool:
        """Whether a source that is bound to no tenants may say nothing."""
        return any(tenants is not None for _, tenants in self.bindings.values())

    def decide(self, said: Reading) -> str:
        """Take one decision, and return its disposition."""
        data, changed = said.data, True
        match said.type:
            case kind if kind == SOURCE_BOUND:
                tenants = data.get("tenants")
                binding = data["partitioner"], None if tenants is None else sorted(set(tenants))
                changed = self.bindings.get(data["source"]) != binding
                self.bindings[data["source"]] = binding
            case kind if kind == GAP_ACCEPTED:
                if data["partition"] != self.partition:
                    raise Refused("wrong_partition")
                gap = data["from_offset"], data["to_offset"]
                changed = gap not in self.gaps
                self.gaps.add(gap)
            case kind if kind == CONFIGURED:
                assert said.tenant is not None
                setting = {name: data.get(name) for name in SETTINGS} | {"timeouts": data.get("timeouts", {})}
                changed = self.settings.get(said.tenant) != setting
                self.settings[said.tenant] = setting
            case kind if kind == SILENT:
                changed = data["source"] not in self.silent
                self.silent.setdefault(data["source"], (said.id, instant(data["last_heard_at"])))
            case kind if kind == RETURNED:
                changed = self.silent.get(data["source"], ("", None))[0] == data["silent"]
                if changed:
                    del self.silent[data["source"]]
        return "applied" if changed else "duplicate"

    def refuse_strangers(self, said: Reading) -> None:
        """Raise `Refused` where the source may not say this, or not for this tenant."""
        if (said.type in OF_BROKERS) == (said.source == SOJOURN):
            raise Refused("wrong_source")
        if said.source == SOJOURN or said.tenant is None or not self.strict:
            return
        if said.source not in self.bindings:
            raise Refused("unbound_source")
        tenants = self.bindings[said.source][1]
        if tenants is not None and said.tenant not in tenants:
            raise Refused("tenant_mismatch")

    def partitioner(self, source: str) -> str:
        return self.bindings[source][0] if source in self.bindings else "murmur2"

    def networks(self, tenant: str) -> Sequence[str]:
        told: list[str] | None = self.settings.get(tenant, {}).get("internal_networks")
        return INTERNAL if told is None else told
