"""A log is read once and whole, whatever logrotate, a crash or an unfinished line does."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sojourn.events.xrdp.tail import LINE_BYTES_MAX, Place, Tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "sesman.log"


@pytest.fixture
def tail(log: Path) -> Iterator[Tail]:
    with closing(Tail(log)) as tail:
        yield tail


def add(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_lines_come_once_and_an_unfinished_one_when_it_is_whole(log: Path, tail: Tail) -> None:
    assert tail.lines() == []
    add(log, "one\ntw")
    assert tail.lines() == ["one"]
    add(log, "o\nthree\n")

    assert tail.lines() == ["two", "three"]
    assert tail.lines() == []


def test_what_was_written_before_and_after_a_rename_is_read_in_order(log: Path, tail: Tail) -> None:
    add(log, "one\n")
    tail.lines()
    add(log, "two\n")
    log.rename(log.with_name("sesman.log.1"))
    add(log, "three\n")

    assert tail.lines() == ["two", "three"]


def test_a_log_that_was_copied_and_truncated_is_read_from_its_beginning(log: Path, tail: Tail) -> None:
    add(log, "one\ntwo\n")
    tail.lines()
    shutil.copy(log, log.with_name("sesman.log.1"))
    os.truncate(log, 0)
    add(log, "three\nand more than there was before\n")

    assert tail.lines() == ["three", "and more than there was before"]


def test_a_restart_goes_on_where_the_place_says(log: Path, tail: Tail) -> None:
    add(log, "one\ntw")
    tail.lines()
    place = tail.place
    add(log, "o\n")

    with closing(Tail(log, place)) as again:
        assert again.lines() == ["two"]


def test_a_restart_after_a_rename_reads_the_old_file_first(log: Path, tail: Tail) -> None:
    add(log, "one\n")
    tail.lines()
    place = tail.place
    add(log, "two\n")
    log.rename(log.with_name("sesman.log.1"))
    add(log, "three\n")

    with closing(Tail(log, place)) as again:
        assert again.lines() == ["two", "three"]


@pytest.mark.parametrize("same_inode", [True, False])
def test_a_restart_finds_that_the_log_is_another_one_and_reads_all_of_it(log: Path, *, same_inode: bool) -> None:
    add(log, "three\nfour\nfive\n")
    inode = log.stat().st_ino if same_inode else 1

    with closing(Tail(log, Place(inode, 8, b"one\ntwo\n"))) as again:
        assert again.lines() == ["three", "four", "five"]


def test_a_place_is_kept_while_the_log_is_away(log: Path) -> None:
    place = Place(1, 8, b"one\ntwo\n")

    with closing(Tail(log, place)) as tail:
        assert tail.lines() == []
        assert tail.place == place


def test_bytes_that_are_no_text_and_lines_without_end_do_no_harm(log: Path, tail: Tail) -> None:
    log.write_bytes(b"\xff\xfe\nshort\n" + b"x" * (LINE_BYTES_MAX + 1) + b"\nlast\n")

    assert tail.lines() == ["\N{REPLACEMENT CHARACTER}" * 2, "short", "last"]
    add(log, "x" * (LINE_BYTES_MAX + 1))
    assert tail.lines() == []
    add(log, "\nafter it\n")
    assert tail.lines() == ["after it"]
