"""SIGINT and SIGTERM as a wish to stop, granted at the next safe point; a second one ends the process at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Interrupted(Exception):  # noqa: N818 (a wish, not an error)
    """Training stopped as asked; everything up to here is saved. ``exit_code``: 130 or 143."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


@dataclass
class Wish:
    """Which signal came, if any."""

    signum: int = 0


@contextmanager
def stop_wish() -> Iterator[Wish]:
    """Catch SIGINT and SIGTERM inside the block."""
    wish = Wish()

    def handle(signum: int, frame: FrameType | None) -> None:
        if wish.signum:
            os._exit(128 + signum)
        wish.signum = signum

    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
