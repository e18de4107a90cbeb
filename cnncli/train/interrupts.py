"""SIGINT, SIGTERM and SIGHUP as a request to stop at the next safe point; a second signal ends the process at once.

SIGHUP means that the terminal was closed. It stays ignored where it is ignored (``nohup``), and is never a second
signal: a shell and the system may both send it, and service managers send it after SIGTERM.
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


class Interrupted(Exception):  # noqa: N818 (asked for, so not an error)
    """Training stopped as asked; everything up to here is saved. ``exit_code``: 130, 143 or 129.

    ``trained``: all steps were done, only the last evaluation was not.
    """

    def __init__(self, signum: int, trained: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.trained = signum, trained
        self.exit_code = 128 + signum


@dataclass
class StopRequest:
    """``signum``: the first signal that came, else 0. It raises Interrupted at once, or later while ``is_deferred``."""

    signum: int = 0
    is_deferred: bool = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block that no signal interrupts. Interrupted at its end if one came."""
        self.is_deferred = True
        try:
            yield
        finally:
            self.is_deferred = False
        self.check()

    def check(self) -> None:
        """Interrupted if a signal came."""
        if self.signum:
            raise Interrupted(self.signum)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch SIGINT, SIGTERM and SIGHUP inside the block."""
    stop = StopRequest()

    def handle(signum: int, frame: FrameType | None) -> None:
        stop.signum = stop.signum or signum
        if not stop.is_deferred:
            stop.check()

    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    before = {signum: signal.signal(signum, handle) for signum in SIGNALS if signum != signal.SIGHUP or not ignored}
    try:
        with _second_signal_ends():
            yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _second_signal_ends() -> Iterator[None]:
    """Python's handlers wait while the main thread compiles. A thread that reads the wakeup socket does not."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(receiver,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sender.close()
        watcher.join()
        receiver.close()


def _watch(receiver: socket.socket) -> None:
    count = 0
    while received := receiver.recv(16):
        for signum in received:
            if signum not in SIGNALS or (signum == signal.SIGHUP and count):
                continue
            count += 1
            with suppress(OSError):  # the terminal may be closed
                if count > 1 and os.isatty(1):
                    os.write(1, SHOW_CURSOR)  # a progress bar may have hidden it
                if count == 1:
                    os.write(2, b"stopping at the next safe point; once more to stop at once\n")
            if count > 1:
                os._exit(128 + signum)
