"""The files of a job as answers over HTTP: whole, or from where a download was cut off (RFC 9110, 14)."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request
from litestar.response import Stream

from sojourn.console.http.problems import Problem
from sojourn.console.jobs.folders import open_file
from sojourn.console.jobs.pieces import Piece, file_piece, read_pieces, size_of
from sojourn.console.jobs.store import Job
from sojourn.console.jobs.zips import Entry, zip_pieces
from sojourn.exporters.dataset import Manifest
from sojourn.exporters.files import FileEntry

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")  # one range; asked for several, a server may send all
_KINDS: Final = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "zip": "application/zip",
}

AnyRequest = Request[Any, Any, Any]


class Download(NamedTuple):
    """What is sent: `etag` names these bytes and no others."""

    name: str
    kind: str
    etag: str
    pieces: Sequence[Piece]


def file_of(data_dir: Path, job: Job, number: int) -> Download:
    """Return a file of a job that is done; raises the problem that it has none of this number, or not here. Blocks."""
    manifest = job.written()
    if not 1 <= number <= len(manifest.files):
        raise Problem(404, "no-such-file", "no such file", f"this export has the files 1 to {len(manifest.files)}")
    entry = manifest.files[number - 1]
    _present(data_dir, job, [entry])
    suffix = "" if len(manifest.files) == 1 else f"-{number}"
    name = f"{_base(job, manifest)}{suffix}.{job.format}"
    piece = file_piece(entry.bytes, partial(open_file, data_dir, job.tenant, job.job_id, job.attempts, entry.path))
    return Download(name, _KINDS[job.format], entry.sha256, [piece])


def archive_of(data_dir: Path, job: Job) -> Download:
    """Return all files of a job that is done as one .zip; raises the problem that they are not here. Blocks."""
    manifest = job.written()
    _present(data_dir, job, manifest.files)
    text = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    base = _base(job, manifest)
    entries = [
        Entry(
            f"{base}/{entry.path}",
            entry.bytes,
            partial(open_file, data_dir, job.tenant, job.job_id, job.attempts, entry.path),
        )
        for entry in manifest.files
    ]
    return Download(f"{base}.zip", _KINDS["zip"], sha256(b"zip" + text).hexdigest(), zip_pieces(entries))


def answer(request: AnyRequest, download: Download) -> Stream:
    """Return the answer to a request, which may ask for a range."""
    size, etag = size_of(download.pieces), f'"{download.etag}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{download.name}"',
        "Cache-Control": "private, no-cache",  # a browser may resume, but asks whether it still may
    }
    start, end = 0, size
    wanted = _wanted(request, etag, size)
    if wanted is not None:
        start, end = wanted
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    return Stream(
        _beside(read_pieces(download.pieces, start, end)),
        status_code=200 if wanted is None else 206,
        media_type=download.kind,
        headers=headers,
    )


def goes_on(request: AnyRequest) -> bool:
    """Tell whether somebody asks for the rest of a download, as one that was cut off."""
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    return match is not None and match[1].strip("0") != ""


def _wanted(request: AnyRequest, etag: str, size: int) -> tuple[int, int] | None:
    """Return [start, end) of the range; None for all. Raises the problem that it lies behind the end."""
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or match[0] == "bytes=-" or request.headers.get("if-range", etag) != etag:
        return None
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:  # no range at all
            return None
    else:
        start, end = max(size - int(match[2]), 0), size
    if start >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise Problem(416, "range-not-satisfiable", "there are no such bytes", f"it has {size} bytes", headers)
    return start, end


def _present(data_dir: Path, job: Job, files: Sequence[FileEntry]) -> None:
    """Raise the problem that the files are gone, or on the machine of another console."""
    try:
        for entry in files:
            os.close(open_file(data_dir, job.tenant, job.job_id, job.attempts, entry.path))
    except OSError:
        detail = "another console wrote them to its own disk; ask there, or let consoles share DATA_DIR/exports"
        raise Problem(409, "files-elsewhere", "the files are not on this machine", detail) from None


def _base(job: Job, manifest: Manifest) -> str:
    return f"sojourn-{job.tenant}-{job.dataset}-{manifest.as_of:%Y%m%dT%H%M%SZ}"


async def _beside(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read beside the event loop."""
    try:
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk
    finally:
        await asyncio.to_thread(chunks.close)  # type: ignore[attr-defined]  # it is a generator
