"""What many ask for at once is made once, and never for who was told of something newer."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sojourn.console.site import shared
from sojourn.console.site.shared import Shared

Ask = Callable[[str, str], Awaitable[int]]


@pytest.fixture
def kept() -> Shared:
    return Shared()


@pytest.fixture
def ask(kept: Shared) -> Ask:
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        number = made
        await asyncio.sleep(0)
        return number

    return lambda tenant, key: kept.get(tenant, key, make)


async def test_all_who_ask_alike_get_what_is_made_once_until_something_is_told(kept: Shared, ask: Ask) -> None:
    kept.renew("acme")

    assert set(await asyncio.gather(*(ask("acme", "list") for _ in range(3)))) == {1}
    assert await ask("acme", "list") == 1
    assert kept.made_share == 1 / 4
    kept.renew("acme")
    assert await ask("acme", "list") == 2


async def test_another_list_and_another_tenant_are_made_for_themselves(kept: Shared, ask: Ask) -> None:
    kept.renew("acme")
    kept.renew("globex")

    assert [await ask("acme", "list"), await ask("acme", "other"), await ask("globex", "list")] == [1, 2, 3]


async def test_nothing_is_kept_of_a_tenant_that_nobody_is_told_of(kept: Shared, ask: Ask) -> None:
    assert [await ask("acme", "list"), await ask("acme", "list")] == [1, 2]
    kept.renew("acme")
    kept.forget("acme")
    assert [await ask("acme", "list"), await ask("acme", "list")] == [3, 4]


async def test_what_failed_is_made_again(kept: Shared, ask: Ask) -> None:
    async def fail() -> int:
        raise ZeroDivisionError

    kept.renew("acme")
    with pytest.raises(ZeroDivisionError):
        await kept.get("acme", "list", fail)

    assert await ask("acme", "list") == 1


async def test_who_goes_takes_nothing_from_the_others(kept: Shared, ask: Ask) -> None:
    kept.renew("acme")
    first, second = asyncio.ensure_future(ask("acme", "list")), asyncio.ensure_future(ask("acme", "list"))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == 1


async def test_no_more_lists_are_kept_than_are_good(kept: Shared, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "KEPT_MAX", 1)
    kept.renew("acme")

    assert [await ask("acme", name) for name in ("list", "other", "other", "list")] == [1, 2, 3, 1]
