"""PostgreSQL's configuration files, written at each start; a user's own settings go in by ALTER SYSTEM."""

import os
from pathlib import Path

from sojourn.events.embedded.binaries import UNPRIVILEGED, Account

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # none of the caller's PG* variables

_SETTINGS = """\
# Sojourn writes this file at each start; to change a setting use ALTER SYSTEM.
listen_addresses = ''
unix_socket_permissions = 0700
cluster_name = 'sojourn'
max_connections = 100
shared_buffers = 256MB
max_wal_size = 4GB
jit = off
timezone = 'UTC'
# Parallel queries need /dev/shm, of which a container has 64 MB.
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
# Messages without statements or values: those hold personal data.
lc_messages = 'C'
log_timezone = 'UTC'
log_checkpoints = off
log_error_verbosity = terse
log_min_error_statement = panic
"""


def configure(cluster: Path, sockets: Path, account: Account) -> None:
    """Write the three files; only root and the owner of the cluster may log in, as `sojourn`, over the socket."""
    folder = str(sockets).replace("'", "''")
    write_file(cluster / "postgresql.conf", f"{_SETTINGS}unix_socket_directories = '\"{folder}\"'\n")
    write_file(cluster / "pg_hba.conf", "local all sojourn peer map=sojourn\n")
    names = {"root", account.name}
    if account.is_other:
        names.discard(UNPRIVILEGED)  # other programs run as nobody too; another owner may use what is his
    write_file(cluster / "pg_ident.conf", "".join(f'sojourn "{name}" sojourn\n' for name in sorted(names)))


def write_file(path: Path, text: str) -> None:
    """Replace a file in one step; a link that stands in its place is replaced, not followed."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w") as out:
        os.fchmod(out.fileno(), 0o644)  # whatever the umask: the server's account reads what root wrote
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
