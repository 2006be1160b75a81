"""The spool's files: what is synced when, and what happens where there is no room, another process, or damage."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sojourn.events.broker import files
from sojourn.events.broker import spool as spool_module
from sojourn.events.broker.frames import frame
from sojourn.events.broker.rejected import keep_rejected
from sojourn.events.broker.spool import REJECTED, Spool, SpoolDamaged, SpoolFull, SpoolTaken
from sojourn.events.broker.transport import Rejection
from sojourn.events.errors import SojournError

PLENTY = 1 << 30

T = TypeVar("T")


def nothing() -> bytes:
    return b"null"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    with closing(Spool(folder, PLENTY)) as spool:
        yield spool


def noting(calls: list[str], name: str, call: Callable[..., T]) -> Callable[..., T]:
    """Return the call so that it notes each time that it is made."""

    def noted(*of: Any) -> T:
        calls.append(name)
        return call(*of)

    return noted


def held(folder: Path) -> list[bytes]:
    with closing(Spool(folder, PLENTY)) as spool:
        return spool.read(1000, PLENTY)


def test_an_append_is_synced_after_its_last_byte_and_before_it_returns(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[str]()
    monkeypatch.setattr(os, "pwrite", noting(calls, "write", os.pwrite))
    monkeypatch.setattr(os, "fdatasync", noting(calls, "sync", os.fdatasync))

    spool.append([b"one", b"two"], nothing)

    assert calls == ["write", "sync"]


def test_a_new_file_is_synced_into_the_folder_before_anything_stands_in_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[str]()
    with closing(Spool(folder, 8000)) as spool:
        spool.append([b"x" * 900], nothing)
        monkeypatch.setattr(spool_module, "sync_folder", noting(calls, "folder", files.sync_folder))
        monkeypatch.setattr(files.Tail, "add", noting(calls, "add", files.Tail.add))

        spool.append([b"y" * 900], nothing)

    assert calls == ["folder", "add"]
    assert len(list(folder.glob("*.events"))) == 2


def test_a_second_process_is_told_which_one_has_the_spool(spool: Spool) -> None:
    program = (
        "import sys, pathlib; from sojourn.events.broker.spool import Spool; Spool(pathlib.Path(sys.argv[1]), 9999)"
    )

    ended = subprocess.run([sys.executable, "-c", program, spool.folder], capture_output=True, text=True, check=False)

    assert (
        f"SpoolTaken: one process uses a spool, and process {os.getpid()} does already: {spool.folder}" in ended.stderr
    )


def test_a_second_spool_in_one_process_is_refused_until_the_first_is_closed(folder: Path) -> None:
    with closing(Spool(folder, PLENTY)), pytest.raises(SpoolTaken):
        Spool(folder, PLENTY)

    Spool(folder, PLENTY).close()


def test_a_full_spool_refuses_and_takes_more_when_something_was_sent(folder: Path) -> None:
    taken = 0
    with closing(Spool(folder, 4000)) as spool:
        while spool.bytes_used + len(frame(0, 0, b"%0100d" % 0)) <= 4000:
            spool.append([b"%0100d" % taken], nothing)
            taken += 1
        with pytest.raises(SpoolFull, match=rf"^the spool is full[^\n]*: {folder}$"):
            spool.append([b"%0100d" % taken], nothing)
        values = spool.read(1000, PLENTY)
        spool.acknowledge(len(values))

        spool.append([b"one more"], nothing)

        assert taken >= 4000 // 118 - 1
        assert values == [b"%0100d" % number for number in range(len(values))]


def test_what_was_rejected_takes_room_until_somebody_has_looked(folder: Path) -> None:
    with closing(Spool(folder, 4000)) as spool:
        (folder / REJECTED).write_bytes(b"x" * 4000)
        with pytest.raises(SpoolFull):
            spool.append([b"no room"], nothing)

        (folder / REJECTED).unlink()

        spool.append([b"room"], nothing)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write = os.pwrite

    def write_some(file: int, content: bytes, offset: int) -> int:
        if len(content) > 10:
            return write(file, content[:10], offset)
        raise OSError(number, os.strerror(number))

    with closing(Spool(folder, PLENTY)) as spool:
        spool.append([b"before"], nothing)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", write_some)
            with pytest.raises(SpoolFull, match=os.strerror(number)):
                spool.append([b"does not fit"], nothing)
        spool.append([b"after"], nothing)

        assert spool.read(10, PLENTY) == [b"before", b"after"]

    assert held(folder) == [b"before", b"after"]


def test_a_sync_that_fails_takes_the_events_back(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(SojournError, match="cannot be written"):
            spool.append([b"refused"], nothing)

    spool.append([b"taken"], nothing)

    assert spool.read(10, PLENTY) == [b"taken"]


def test_a_disk_that_cannot_even_take_back_ends_the_use_of_the_spool(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        patch.setattr(os, "fsync", failing)
        with pytest.raises(SojournError, match="cannot be written"):
            spool.append([b"refused"], nothing)

    with pytest.raises(SojournError, match="opened again after an error"):
        spool.append([b"refused too"], nothing)


def failing(_: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_damage_in_an_earlier_file_is_told_and_not_jumped_over(folder: Path) -> None:
    with closing(Spool(folder, 8000)) as spool:
        for number in range(5):
            spool.append([b"%0900d" % number], nothing)
    first = min(folder.glob("*.events"))
    first.write_bytes(first.read_bytes()[:-1])

    with pytest.raises(SpoolDamaged, match=rf"^the spool does not hold[^\n]*from byte 0 on: {first}$"):
        Spool(folder, 8000)


@pytest.mark.parametrize(
    ("name", "content"), [("state.json", b"{"), ("state.json", None), ("00000000000000000001.events", b"")]
)
def test_files_that_do_not_fit_together_are_told(folder: Path, name: str, content: bytes | None) -> None:
    with closing(Spool(folder, PLENTY)) as spool:
        spool.append([b"one", b"two"], nothing)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)

    with pytest.raises(SpoolDamaged, match=r"^the spool does not hold what was written to it[^\n]*$"):
        Spool(folder, PLENTY)


def test_a_cursor_beyond_the_end_does_not_swallow_what_comes(folder: Path) -> None:
    with closing(Spool(folder, PLENTY)) as spool:
        spool.append([b"one", b"two"], nothing)
        spool.acknowledge(len(spool.read(10, PLENTY)))
    (file,) = folder.glob("*.events")
    file.write_bytes(frame(0, 0, b"one"))  # a disk that forgot what it had synced

    for value in (b"three", b"four"):
        with closing(Spool(folder, PLENTY)) as spool:
            spool.append([value], nothing)

    assert held(folder) == [b"three", b"four"]


def test_what_is_remembered_outlives_the_files(folder: Path) -> None:
    with closing(Spool(folder, 8000)) as spool:
        for number in range(20):
            spool.append([b"%0900d" % number], lambda number=number: b"%d" % number)  # type: ignore[misc]
            spool.acknowledge(len(spool.read(10, PLENTY)))

    with closing(Spool(folder, 8000)) as spool:
        assert spool.head == spool.tail == 20
        assert int(spool.memory) + len(spool.since) == 20
        assert len(spool.since) < 8


def test_only_its_user_can_read_a_spool(folder: Path) -> None:
    with closing(Spool(folder, PLENTY)) as spool:
        spool.append([b"names of people"], nothing)
        keep_rejected(folder / REJECTED, [Rejection(b"{}", "reason", "detail")])

    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}

    assert modes.pop("spool") == 0o700
    assert len(modes) == 5
    assert set(modes.values()) == {0o600}
