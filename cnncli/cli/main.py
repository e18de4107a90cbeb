"""The entry point of ``cnn``. It handles Ctrl-C before it imports anything large."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.cli import process

SHOW_CURSOR = b"\x1b[?25h"


def main() -> None:
    """Run ``cnn`` and exit with its code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)
    sys.exit(process.run())


def _exit(signum: int, frame: FrameType | None) -> None:
    """Exit at once: KeyboardInterrupt in the middle of an import may turn into any other error."""
    with suppress(OSError):
        if os.isatty(1):
            # A progress bar may have hidden the cursor.
            os.write(1, SHOW_CURSOR)
        os.write(2, b"interrupted\n")
    os._exit(128 + signum)
