"""The load that is measured: lifecycle events and heartbeats as brokers send them."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from sojourn.events.codec import encode
from sojourn.events.types import (
    Desktop,
    Destroyed,
    DestroyedData,
    Established,
    EstablishedData,
    Heartbeats,
    HeartbeatsData,
    Terminal,
    User,
)

WAITING_MAX = 20_000  # ends come so many events later at the most
OPEN_SHARE = 8  # one in eight sessions is still open at the end
TENANTS = ("acme", "globex", "initech")


def sessions(count: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Yield (tenant, session id)."""
    random = Random(seed)
    for number in range(count):
        yield TENANTS[number % len(TENANTS)], str(uuid.UUID(int=random.getrandbits(128), version=4))


def lifecycle(count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield `count` encoded events: established, and for seven of eight sessions later destroyed."""
    now = datetime.now(UTC).replace(microsecond=0)
    waiting: list[bytes] = []
    made = 0
    for number, (tenant, session_id) in enumerate(sessions(count, seed)):
        began = now - timedelta(seconds=number % 36_000 + 60)
        yield encode(established(tenant, session_id, number, began))
        made += 1
        if number % OPEN_SHARE:
            waiting.append(encode(destroyed(tenant, session_id, began + timedelta(seconds=number % 3600))))
        if len(waiting) > WAITING_MAX or (waiting and count - made <= len(waiting)):
            yield waiting.pop(0)
            made += 1
        if made >= count:
            return


def established(tenant: str, session_id: str, number: int, at: datetime) -> Established:
    """Return the event that a session of one of 50,000 users began, on one of 30,000 desktops."""
    return Established(
        specversion="1.0",
        id=f"{session_id}-1",
        source=f"/brokers/eu-{number % 4}",
        time=at,
        sequence="1",
        sequencetype="Integer",
        tenant=tenant,
        subject=session_id,
        data=EstablishedData(
            User(f"u-{number % 50_000}", f"Ada Byron {number % 50_000}"),
            Desktop(f"d-{number % 30_000}", f"CAD-{number % 30_000}", "cad"),
            Terminal("thin_client", "Linux", "7.1", f"TC-{number % 30_000}"),
            f"10.4.{number // 256 % 256}.{number % 256}",
            "blast",
        ),
    )


def destroyed(tenant: str, session_id: str, at: datetime) -> Destroyed:
    """Return the event that a session ended."""
    return Destroyed(
        specversion="1.0",
        id=f"{session_id}-2",
        source="/brokers/eu-1",
        time=at,
        sequence="2",
        sequencetype="Integer",
        tenant=tenant,
        subject=session_id,
        data=DestroyedData("logoff"),
    )


def heartbeats(keys: list[tuple[str, str]], at: datetime, size: int) -> Iterator[bytes]:
    """Yield heartbeats of all `keys`, `size` sessions of one tenant to a record."""
    for tenant in TENANTS:
        ids = [session_id for name, session_id in keys if name == tenant]
        for start in range(0, len(ids), size):
            yield encode(
                Heartbeats(
                    specversion="1.0",
                    id=f"beats-{tenant}-{start}",
                    source="/brokers/eu-1",
                    time=at,
                    tenant=tenant,
                    data=HeartbeatsData(ids[start : start + size]),
                )
            )
