"""Consoles: plain where there is no terminal, no colour where none is wanted, names from files never markup."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from cnncli.errors import printable

WIDE = 120  # columns when the output is a file or a pipe


def make_console(stderr: bool = False) -> Console:
    """A console on stdout, or on stderr where stdout carries JSON."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=not stream.isatty())


def bytes_text(count: float) -> str:
    """1536 -> ``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""


def count_text(count: int) -> str:
    """Exact up to a million, then ``4.09 G``."""
    for power, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if count >= power:
            return f"{count / power:.2f} {unit}"
    return f"{count:,}"


def seconds_text(seconds: float) -> str:
    """9.84 -> ``9.8s``, 75 -> ``1m15s``, 4000 -> ``1h07m``."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def dim(text: str) -> Text:
    """Text in the background, control characters neutralised: paths are part of it."""
    return Text(printable(text), style="dim")
