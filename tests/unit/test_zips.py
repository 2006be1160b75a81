"""The archive of an export: other people's readers take it, and any part of it can be asked for."""

import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sojourn.console.jobs import pieces, zips
from sojourn.console.jobs.pieces import Piece, read_pieces, size_of
from sojourn.console.jobs.zips import Entry, zip_pieces

CONTENTS = {"a/date=2026-11-20/part-0.parquet": b"one" * 1000, "a/empty": b"", "a/größe.csv": os.urandom(5000)}


def opener(path: Path) -> Callable[[], int]:
    return lambda: os.open(path, os.O_RDONLY)


def archive(folder: Path) -> list[Piece]:
    """Lay the files down and return the archive of them."""
    entries = []
    for number, (name, content) in enumerate(CONTENTS.items()):
        path = folder / str(number)
        path.write_bytes(content)
        entries.append(Entry(name, len(content), opener(path)))
    return zip_pieces(entries)


def whole(parts: list[Piece]) -> bytes:
    return b"".join(read_pieces(parts, 0, size_of(parts)))


@pytest.mark.parametrize("large", [zips.LARGE, 4000, 1])  # from which size on zip64 records are written
def test_python_and_unzip_read_what_was_archived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(zips, "LARGE", large)
    if large != 0xFFFF_FFFF:  # a field that says "see the zip64 record" holds this value, whatever the size
        monkeypatch.setattr(zips, "min", lambda size, limit: 0xFFFF_FFFF if size >= limit else size, raising=False)

    content = whole(archive(tmp_path))

    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == CONTENTS
    (tmp_path / "all.zip").write_bytes(content)
    if shutil.which("unzip"):  # a reader that shares no code with Python's
        tested = subprocess.run(["unzip", "-t", str(tmp_path / "all.zip")], capture_output=True, check=False)
        assert tested.returncode == 0, tested.stdout


def test_any_part_of_an_archive_is_what_the_whole_has_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CHUNK_BYTES", 700)
    content = whole(archive(tmp_path))

    parts = archive(tmp_path)

    for start in range(0, len(content), 97):
        for end in (start + 1, start + 500, len(content)):
            assert b"".join(read_pieces(parts, start, min(end, len(content)))) == content[start:end]


def test_a_file_that_became_shorter_is_an_error_and_not_a_short_archive(tmp_path: Path) -> None:
    parts = archive(tmp_path)
    (tmp_path / "0").write_bytes(b"one")

    with pytest.raises(OSError, match="shorter than its manifest says"):
        whole(parts)
