"""SIGINT, SIGTERM and SIGHUP as a wish to stop, granted at the next safe point; a second one ends the process at once.

SIGHUP says that the terminal was closed. It is left alone where it is ignored (``nohup``), and is never a second one:
a shell and the system may both send it, and service managers send it after SIGTERM.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(Exception):  # noqa: N818 (a wish, not an error)
    """Training stopped as asked; everything up to here is saved. ``exit_code``: 130, 143 or 129.

    ``trained``: all steps were done, only the last measurement was not.
    """

    def __init__(self, signum: int, trained: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.trained = signum, trained
        self.exit_code = 128 + signum


@dataclass
class Wish:
    """Which signal came, if any. ``patient``: it is looked at when convenient; else it breaks in."""

    signum: int = 0
    patient: bool = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing breaks in inside the block."""
        self.patient = True
        try:
            yield
        finally:
            self.patient = False
        self.grant()

    def grant(self) -> None:
        """Interrupted if a signal came."""
        if self.signum:
            raise Interrupted(self.signum)


@contextmanager
def stop_wish() -> Iterator[Wish]:
    """Catch SIGINT, SIGTERM and SIGHUP inside the block."""
    wish = Wish()

    def handle(signum: int, frame: FrameType | None) -> None:
        wish.signum = wish.signum or signum
        if not wish.patient:
            wish.grant()

    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    before = {signum: signal.signal(signum, handle) for signum in SIGNALS if signum != signal.SIGHUP or not ignored}
    try:
        with _second_one_ends():
            yield wish
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _second_one_ends() -> Iterator[None]:
    """Python's handlers wait while the main thread compiles; a thread that the system tells does not."""
    ours, told = socket.socketpair()
    told.setblocking(False)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(ours,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        watcher.join()
        ours.close()


def _watch(ours: socket.socket) -> None:
    count = 0
    while received := ours.recv(16):
        for signum in received:
            if signum not in SIGNALS or (signum == signal.SIGHUP and count):
                continue
            count += 1
            with suppress(OSError):  # the terminal may be closed
                if count > 1 and os.isatty(1):
                    os.write(1, SHOW_CURSOR)  # a bar may have hidden it
                if count == 1:
                    os.write(2, b"stopping at the next safe point; once more to stop at once\n")
            if count > 1:
                os._exit(128 + signum)
