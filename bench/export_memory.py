"""`python -m bench.export_memory`: the peak memory of exporting a hundred thousand and a million rows of history."""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.history import fill_history
from sojourn.console.opening import opened

ROWS = {"small": 100_000, "large": 1_000_000}
RATIO_MAX = 1.2  # what the issue allows
EXPORT = """
import resource, sys
from pathlib import Path
from sojourn.exporters.export import export
from sojourn.projections.read import HistoryFilter

dsn, tenant, file_format, out = sys.argv[1:]
rows = export(dsn, tenant, HistoryFilter(), file_format, Path(out)).rows
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


async def fill(directory: Path) -> None:
    """Measure on a fresh data directory, each export in a process of its own."""
    async with opened(directory / "data") as parts:
        for tenant, rows in ROWS.items():
            await fill_history(parts.database, tenant, rows)
        for file_format in ("parquet", "csv"):
            await asyncio.to_thread(compare, parts.database.dsn, file_format, directory)


def compare(dsn: str, file_format: str, directory: Path) -> None:
    """Print both peaks and their ratio."""
    peaks = {}
    for tenant, rows in ROWS.items():
        command = [sys.executable, "-c", EXPORT, dsn, tenant, file_format, str(directory / f"{tenant}-{file_format}")]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        assert int(told[0]) == rows
        peaks[tenant] = int(told[1]) / 1024
    ratio = peaks["large"] / peaks["small"]
    verdict = "" if ratio <= RATIO_MAX else f" (more than {RATIO_MAX})"
    print(
        f"{file_format}: {peaks['small']:.0f} MiB for {ROWS['small']:,} rows, "
        f"{peaks['large']:.0f} MiB for {ROWS['large']:,}: {ratio:.2f} ×{verdict}"
    )


def main() -> None:
    """Fill a database, export, tell."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        asyncio.run(fill(Path(directory)))


if __name__ == "__main__":
    main()
