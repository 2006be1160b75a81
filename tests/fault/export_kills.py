"""Kills exports before every step that they take in the file system, and looks at what each leaves.

A process of its own, which forks: the victims share what it imported. Writes one JSON object.
"""

import json
import os
import signal
import sys
from collections import Counter
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from sojourn.exporters.dataset import FileFormat, Manifest, write_dataset
from sojourn.exporters.folder import ExportFailed
from tests.contract.writer_contract import DAY, batches, ended, source

STEPS: Final = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
ROWS: Final = [ended(f"s-{number}", logout_at=DAY + timedelta(days=number % 2)) for number in (0, 2, 4, 1, 3, 5)]


def run(out: Path, file_format: FileFormat) -> Manifest:
    """Write the export, in two batches a day."""
    return write_dataset(batches(ROWS, size=2), source(), file_format, out)


def kill_before(number: int, out: Path) -> None:
    """Let this process be killed before its n-th step in the folder."""
    steps = count()

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        inside = event in STEPS and any(str(out) in str(argument) for argument in arguments[:2])
        if inside and next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


def forked(number: int | None, out: Path, file_format: FileFormat) -> str:
    """Run the export in a process of its own, and tell how that ended: done, killed, or what it refused."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        if number is not None:
            kill_before(number, out)
        try:
            os.write(writer, msgspec.json.encode(run(out, file_format)))
        except ExportFailed as error:
            os.write(writer, f"refused: {error}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else told


def looks(out: Path) -> dict[str, Any]:
    """Tell what a reader sees of the folder."""
    files = [path for path in out.rglob("*") if path.is_file()] if out.exists() else []
    return {
        "success": (out / "_SUCCESS").exists(),
        "manifest": (out / "_manifest.json").exists(),
        "data": sum(path.suffix in {".parquet", ".csv"} for path in files),
        "shown": sum(path.suffix in {".parquet", ".csv"} and ".unfinished" not in str(path) for path in files),
    }


def main() -> None:
    """Kill before step 0, 1, 2 … until an export survives."""
    folder, file_format = Path(sys.argv[1]), cast(FileFormat, sys.argv[2])
    whole = run(folder / "whole", file_format)  # here, since the victims then share what Arrow imports at first use
    results = []
    for number in count():
        out = folder / f"killed-{number}"
        ended_as = forked(number, out, file_format)
        if ended_as != "killed":
            break
        left = looks(out)
        again = forked(None, out, file_format)
        results.append(
            {
                **left,
                "again": again if again.startswith("refused") else "done",
                "same": not again.startswith("refused") and msgspec.json.decode(again, type=Manifest) == whole,
                "names": dict(Counter(path.name for path in out.iterdir())),
            }
        )
    sys.stdout.write(json.dumps({"files": len(whole.files), "kills": results}))


if __name__ == "__main__":
    main()
