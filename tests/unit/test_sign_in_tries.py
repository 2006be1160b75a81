"""How often one may try to sign in, and which passwords may be chosen."""

import asyncio
from typing import Any

import pytest
from argon2 import PasswordHasher

from sojourn.console.http.problems import Problem
from sojourn.console.identity import passwords as passwords_module
from sojourn.console.identity import rates
from sojourn.console.identity.passwords import Passwords, one_time_password, weakness
from sojourn.console.identity.rates import ADDRESS_TRIES_MAX, NAME_SECONDS, NAME_TRIES_MAX, Tries


class Clock:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def wait(tries: Tries, name: str, address: str) -> int:
    """Return how long one has to wait for a try, which is taken if there is one."""
    try:
        tries.take(name, address)
    except Problem as problem:
        return int(problem.headers["Retry-After"])
    return 0


def test_a_name_runs_out_of_tries_in_whatever_case_and_from_whatever_address() -> None:
    tries = Tries(Clock())

    waits = [wait(tries, "Ada" if n % 2 else "aDA", f"10.0.0.{n}") for n in range(NAME_TRIES_MAX + 1)]

    assert waits == [0] * NAME_TRIES_MAX + [NAME_SECONDS]
    assert wait(tries, "grace", "10.0.0.1") == 0


def test_no_more_of_a_name_is_remembered_than_names_have() -> None:
    tries = Tries(Clock())

    waits = [wait(tries, "ada" * 100_000 + str(n), f"10.0.0.{n}") for n in range(NAME_TRIES_MAX + 1)]

    assert waits == [0] * NAME_TRIES_MAX + [NAME_SECONDS]


def test_an_address_runs_out_of_tries_whatever_names_it_tries() -> None:
    tries = Tries(Clock())

    waits = [wait(tries, f"name-{n}", "10.0.0.1") for n in range(ADDRESS_TRIES_MAX + 1)]

    assert waits[:-1] == [0] * ADDRESS_TRIES_MAX
    assert waits[-1] > 0
    assert wait(tries, "name-1", "10.0.0.2") == 0


def test_a_try_comes_back_with_time_and_at_once_where_it_succeeded() -> None:
    clock = Clock()
    tries = Tries(clock)
    for _ in range(NAME_TRIES_MAX):
        assert wait(tries, "ada", "a") == 0
    assert wait(tries, "ada", "a") > 0

    clock.now += NAME_SECONDS
    later = [wait(tries, "ada", "a"), wait(tries, "ada", "a")]
    tries.give_back("ada", "a")

    assert later == [0, NAME_SECONDS]
    assert wait(tries, "ada", "a") == 0


def test_however_many_names_are_tried_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "KEYS_MAX", 100)
    tries = Tries(Clock())

    for number in range(1000):
        wait(tries, f"name-{number}", f"address-{number}")

    assert len(tries._names._left) == len(tries._addresses._left) == 100


def test_made_up_passwords_differ_and_may_be_read_out() -> None:
    made = {one_time_password() for _ in range(1000)}

    assert len(made) == 1000
    assert all(len(one) == 23 and weakness(one, "ada") is None for one in made)
    assert not set("".join(made)) & set("01ilo")


@pytest.mark.parametrize(
    "password",
    [
        *("", "short", "x" * 201, "aaaaaaaaaaaaaa", "abababababab", "Password12345", "sojournsojourn1"),
        *("Ada-Byron-1234", "qwertyuiop123", "1q2w3e4r5t6y", "q1w2e3r4t5y6", "zaq12wsxcde3", "1qaz2wsx3edc"),
        *("123456789abc", "iloveyou1234", "iloveyou12345678", "passw0rd2026", "asdfghjkl123", "football1234"),
    ],
)
def test_a_password_that_is_guessed_first_is_weak(password: str) -> None:
    assert weakness(password, "ada-byron") is not None


@pytest.mark.parametrize(
    "password", ["seven purple elephants", "k7qxm-4zt9r-w2hfc", "密码要有十二个不同的字符吧", "x" * 150 + "abcdef"]
)
def test_long_passwords_of_any_kind_are_good(password: str) -> None:
    assert weakness(password, "ada") is None


async def test_a_password_is_hashed_also_where_nobody_has_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str | None] = []

    async def beside(_: Passwords, password: str, kept: str | None) -> str:
        judged.append(kept)
        return "" if password == "right" else "hash"  # noqa: S105 - of nobody

    monkeypatch.setattr(Passwords, "_beside", beside)
    passwords = Passwords()

    assert not await passwords.verify(None, "right")
    assert await passwords.verify("kept", "right")
    assert judged == [None, "hash", "kept"]  # what nobody has, once made, is judged as what somebody has


async def test_many_attempts_at_once_are_hashed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords_module, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords = Passwords()
    kept = await passwords.hash("right")
    most = 0
    under_way = 0
    to_thread = asyncio.to_thread

    async def counted(function: Any, *arguments: Any) -> Any:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        try:
            return await to_thread(function, *arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr(asyncio, "to_thread", counted)
    answers = await asyncio.gather(*(passwords.verify(kept, "wrong") for _ in range(40)), return_exceptions=True)

    assert most == 2
    assert answers.count(False) == 20
    assert all(getattr(answer, "status", None) == 429 for answer in answers if answer is not False)
