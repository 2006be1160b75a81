"""The spool against a list: whatever is cut off or killed, exactly what callers were told to be spooled is there."""

import os
import random
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.events.broker.frames import HEADER_BYTES
from sojourn.events.broker.spool import Spool, SpoolDamaged, SpoolFull
from tests.conftest import open_folder

PLENTY: Final = 1 << 30
SMALL: Final = 4000  # bytes: some of the groups do not fit, and files are begun and dropped all the time

SENDING: Final = 0.4  # of the steps: less is sent than spooled, until there is no room

VALUES: Final = st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=5)
FEW_SMALL: Final = st.lists(
    st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=3), min_size=1, max_size=3
)
GROUPS: Final = st.lists(VALUES, min_size=1, max_size=6)
# Append a group; acknowledge up to some events; be killed (the files as they are), perhaps without the cursor.
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("append"), VALUES),
        st.tuples(st.just("send"), st.integers(1, 7)),
        st.tuples(st.just("kill"), st.booleans()),
    ),
    max_size=60,
)


def remember() -> bytes:
    return b'{"kept":true}'


def written(path: Path, groups: list[list[bytes]]) -> Path:
    """Spool groups, and return the one file that holds them."""
    with closing(Spool(path, PLENTY)) as spool:
        for group in groups:
            spool.append(group, remember)
    (file,) = path.glob("*.events")
    return file


def held(path: Path, bytes_max: int = PLENTY) -> list[bytes]:
    """Open a spool, and return all that it would send."""
    with closing(Spool(path, bytes_max)) as spool:
        return all_of(spool)


def all_of(spool: Spool) -> list[bytes]:
    values = list[bytes]()
    while some := spool.read(3, 200):
        values += some
        spool.acknowledge(len(some))
    return values


@given(groups=FEW_SMALL, junk=st.binary(max_size=40))
@settings(max_examples=25)  # each opens a spool for every byte
def test_a_file_cut_at_any_byte_keeps_what_was_whole_and_nothing_else(groups: list[list[bytes]], junk: bytes) -> None:
    flat = [value for group in groups for value in group]
    with open_folder() as path:
        file = written(path / "spool", groups)
        content = file.read_bytes()
        ends = list(accumulate(len(value) + HEADER_BYTES for value in flat))

        for size in range(len(content) + 1):
            # What follows the cut is not what was there: else there was none.
            file.write_bytes(content[:size] + bytes(byte ^ 255 for byte in content[size : size + 1]) + junk)
            (path / "spool" / "cursor").unlink(missing_ok=True)
            whole = [value for value, end in zip(flat, ends, strict=True) if end <= size]

            assert held(path / "spool")[: len(whole)] == whole
            assert file.stat().st_size == max([0, *(end for end in ends if end <= size)])


@given(groups=GROUPS, data=st.data())
def test_a_damaged_byte_is_found_and_never_costs_an_earlier_group(
    groups: list[list[bytes]], data: st.DataObject
) -> None:
    with open_folder() as path:
        file = written(path / "spool", groups)
        content = bytearray(file.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)

        with suppress(SpoolDamaged):
            found = held(path / "spool")

            assert found == [value for group in groups for value in group][: len(found)]
            assert len(found) >= sum(map(len, groups[:-1]))


@given(steps=STEPS)
def test_nothing_told_to_be_spooled_is_lost_and_only_what_was_sent_comes_again(
    steps: list[tuple[str, list[bytes] | int | bool]],
) -> None:
    with open_folder() as path:
        accepted, sent, life = list[bytes](), 0, 0
        spool = Spool(path / "0", SMALL)
        for what, of in steps:
            if isinstance(of, list):
                with suppress(SpoolFull):
                    spool.append(of, remember)
                    accepted += of
            elif what == "send":
                values = spool.read(int(of), 300)
                assert values == accepted[sent : sent + len(values)]
                assert len(values) > 0 or sent == len(accepted)
                if values:
                    spool.acknowledge(len(values))
                sent += len(values)
            else:
                life += 1
                killed, spool = spool, killed_copy(path, life, bool(of))
                killed.close()
                assert spool.tail == len(accepted)
                assert spool.head <= sent
                assert of or spool.head == sent
                sent = spool.head
            assert sum(file.stat().st_size for file in spool.folder.glob("*.events")) <= SMALL

        with closing(spool):
            assert all_of(spool) == accepted[sent:]


def killed_copy(path: Path, life: int, without_cursor: bool) -> Spool:  # noqa: FBT001 - drawn, and named by the strategy
    """Open the files as they are while the last process still has them."""
    shutil.copytree(path / str(life - 1), path / str(life))
    if without_cursor:
        (path / str(life) / "cursor").write_bytes(b"")
    return Spool(path / str(life), SMALL)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5)  # each opens a spool for every call of the system
def test_a_spool_killed_before_any_call_of_the_system_holds_what_was_told(seed: int) -> None:
    draw = random.Random(seed)
    with open_folder() as path, pytest.MonkeyPatch.context() as patch:
        told, sent, writing = list[bytes](), 0, list[bytes]()
        moments = list[tuple[int, int, list[bytes]]]()

        def keep() -> None:
            if (path / "spool" / "state.json").exists():
                shutil.copytree(path / "spool", path / f"{len(moments)}")
                moments.append((len(told), sent, writing))

        def count_told() -> bytes:
            return b"%d" % len(told)

        watched = Watched(patch, keep)
        with closing(Spool(path / "spool", SMALL)) as spool:
            for _ in range(40):
                if draw.random() < SENDING and (values := spool.read(draw.randint(1, 9), 1000)):
                    spool.acknowledge(len(values))
                    sent += len(values)
                else:
                    writing = [draw.randbytes(draw.randint(1, 120)) for _ in range(draw.randint(1, 5))]
                    with suppress(SpoolFull):
                        spool.append(writing, count_told)
                        told += writing
                    writing = []
        watched.stop()

        for moment, (count, sent_then, written_then) in enumerate(moments):
            with closing(Spool(path / f"{moment}", SMALL)) as spool:
                assert spool.head <= sent_then + 9, "a batch may be acknowledged in the call that is cut off"
                assert (msgspec.json.decode(spool.memory) or 0) + len(spool.since) == spool.tail
                rest = told[spool.head : count]
                found = all_of(spool)
            assert found[: len(rest)] == rest
            assert found[len(rest) :] == written_then[: len(found) - len(rest)]


class Watched:
    """Calls `keep` before whatever the process does to files."""

    NAMES: Final = ("open", "pwrite", "ftruncate", "fsync", "fdatasync", "replace", "unlink")

    def __init__(self, patch: pytest.MonkeyPatch, keep: Callable[[], None]) -> None:
        self._keep, self._is_off = keep, False
        for name in self.NAMES:
            patch.setattr(os, name, self._watching(getattr(os, name)))

    def stop(self) -> None:
        self._is_off = True

    def _watching(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*of: Any, **more: Any) -> Any:
            if not self._is_off:
                self._is_off = True  # the copying is no step of its own
                self._keep()
                self._is_off = False
            return call(*of, **more)

        return watching
