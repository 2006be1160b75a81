"""What many ask for at once and would all get alike, made once for all of them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, TypeVar

KEPT_MAX: Final = 100  # of one tenant; who looks at still another list gets it made for them alone
MAKING_MAX: Final = 2  # at once, of eight connections that all share
REMEMBERED_MAX: Final = 1000  # questions by which is told how many are alike; half of them count on after that

Made = TypeVar("Made")


class Shared:
    """Keeps what was made since the streams of a tenant were last told something; with no streams it keeps nothing.

    Who asks because of what was told therefore gets what was read after that.
    """

    def __init__(self) -> None:
        self._kept: dict[str, dict[Hashable, asyncio.Task[Any]]] = {}
        self._making = asyncio.Semaphore(MAKING_MAX)
        self._asked = self._made = 0

    @property
    def made_share(self) -> float:
        """Which share of what was asked for lately had to be made."""
        return self._made / max(1, self._asked)

    def renew(self, tenant: str) -> None:
        """Keep nothing from before."""
        self._kept[tenant] = {}

    def forget(self, tenant: str) -> None:
        """Keep nothing more."""
        self._kept.pop(tenant, None)

    async def get(self, tenant: str, key: Hashable, make: Callable[[], Coroutine[Any, Any, Made]]) -> Made:
        """Return what `make` makes, or what it made for another who asked with this key."""
        self._asked += 1
        kept = self._kept.get(tenant, {})
        if key not in kept or _has_failed(kept[key]):
            self._made += 1
            if len(kept) >= KEPT_MAX or tenant not in self._kept:
                return await self._make(make)
            kept[key] = asyncio.create_task(self._make(make))
        if self._asked > REMEMBERED_MAX:
            self._asked, self._made = self._asked // 2, self._made // 2
        made: Made = await asyncio.shield(kept[key])  # one who goes does not take it from the others
        return made

    async def _make(self, make: Callable[[], Coroutine[Any, Any, Made]]) -> Made:
        async with self._making:
            return await make()


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
