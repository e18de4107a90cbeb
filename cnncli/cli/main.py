"""Where ``cnn`` begins. Here is imported only what listening to Ctrl-C takes; all else while it is listened to."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

SHOW_CURSOR = b"\x1b[?25h"


def main() -> None:
    """Run ``cnn`` and leave with its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from cnncli.cli.process import run

    sys.exit(run())


def _end(signum: int, frame: FrameType | None) -> None:
    """Leave at once: KeyboardInterrupt in the middle of an import may turn into any other error."""
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, SHOW_CURSOR)  # a bar may have hidden it
        os.write(2, b"interrupted\n")
    os._exit(128 + signum)
