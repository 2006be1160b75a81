"""What a test sees of the embedded server from outside: its processes, and other processes that use it.

Run as a program, it is such a user: it opens the database, says so, and closes it at the end of its input.
"""

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import structlog

from sojourn.events.embedded.binaries import account_of
from sojourn.events.embedded.database import open_database
from sojourn.events.errors import SojournError
from sojourn.events.settings import Settings

SECONDS_MAX = 30  # everything waited for here takes less than one second on an idle machine

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as another user")

OTHER = "daemon"  # an unprivileged user that every system has, and that is not the server's


def _other_can_use_this_python() -> bool:
    if os.geteuid() != 0:
        return False
    return account_of(pwd.getpwnam(OTHER).pw_uid).can_enter(Path(msgspec.__file__).resolve().parent)


with_other_user = pytest.mark.skipif(
    not _other_can_use_this_python(), reason="needs root, and a virtual environment that other users can enter"
)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll, since processes of others do not tell when they end."""
    until = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < until, f"waited in vain until {what}"
        time.sleep(0.01)


def postmaster(data_dir: Path) -> int:
    """Return the process id that the server has written down."""
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])


def server_processes(data_dir: Path) -> set[int]:
    """Return the living processes whose working directory is the cluster, as all of the server's are."""
    cluster = str((data_dir / "postgres").resolve())
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "cwd").readlink()) == cluster:
                found.add(int(process.name))
    return found


def kill(*processes: int) -> None:
    """End processes as a power cut would."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def kill_server(data_dir: Path) -> None:
    """End every process of the server at once."""
    kill(postmaster(data_dir), *server_processes(data_dir))
    wait_until(lambda: not server_processes(data_dir), "the server's processes are gone")


@contextlib.contextmanager
def user_process(data_dir: Path, user: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run another process that uses the database."""
    command = [sys.executable, "-m", __name__, str(data_dir), user]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    """Return the next line of a user process: `ready`, `closed` or its error."""
    assert process.stdout
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> str:
    """Let a user process close the database, and return what it says."""
    assert process.stdin
    process.stdin.close()
    return answer(process)


async def _use(data_dir: Path) -> None:
    database = await open_database(Settings(data_dir))
    async with await database.connect() as connection:
        await connection.execute("SELECT 1")
    _say("ready")
    await asyncio.to_thread(sys.stdin.read)
    await database.close()
    _say("closed")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _become(user: str) -> None:
    """Change the user of this process; the interpreter may lie where that user cannot start it."""
    asyncio.run(asyncio.to_thread(int))  # imports what is needed, from where that user may not read
    number = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    os.setgroups([])
    os.setgid(number)
    os.setuid(number)


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    data_dir, user = sys.argv[1:]
    if user:
        _become(user)
    try:
        asyncio.run(_use(Path(data_dir)))
    except SojournError as error:
        _say(f"error {error.exit_code}: {error}")


if __name__ == "__main__":
    main()
