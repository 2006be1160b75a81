"""The xrdp adapter as its users start it, but that its heart beats faster."""

import sys

from sojourn.events.xrdp import __main__ as command
from sojourn.events.xrdp import adapter

if __name__ == "__main__":
    adapter.BEAT_SECONDS = 1
    sys.exit(command.main())
