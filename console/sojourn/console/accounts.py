"""Who runs a command: what the log and `admin_action` keep."""

import getpass
import os


def account() -> str:
    """Return the account that runs this; one without a name has its number."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return f"uid {os.getuid()}"
