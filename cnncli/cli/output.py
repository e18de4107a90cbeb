"""What every command prints with: the standard streams, the ``--json`` option and its document, the next line."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]
ASCII = {"█": "#", "·": ".", "≥": ">=", "≤": "<="}  # what tables are drawn with, where the stream cannot say it


class Output(io.FileIO):
    """A standard stream that may be refused: what is lost is lost, and the work goes on.

    ``refused``: why, unless nobody reads any more (a pipe's reader that has left, a terminal that was closed).
    """

    refused: OSError | None = None

    def write(self, data: Any) -> int:
        """All or some of ``data``."""
        try:
            while (count := super().write(data)) is None:  # a pipe that does not wait, and is full
                select.select([], [self], [])
            return count
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.refused = error
            return len(data)


def open_streams() -> Output | None:
    """Make stdout and stderr such streams, of any encoding; stdout's, unless something else has taken its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file opened would get this number, and what is printed with it
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("ascii", _in_ascii)
    made = {}
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            made[name] = Output(number, "w", closefd=False)
            encoding = stream.encoding if stream else "utf-8"
            lines = bool(stream and stream.line_buffering)
            text = io.TextIOWrapper(io.BufferedWriter(made[name]), encoding, "ascii", line_buffering=lines)
            setattr(sys, name, text)
    return made.get("stdout")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """For ``codecs``: what an encoding lacks, in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(ASCII.get(each, each.encode("ascii", "backslashreplace").decode()) for each in lost), error.end


def print_json(found: Any) -> None:
    """One document on stdout."""
    from cnncli.json_text import json_text

    print(json_text(found))


def print_json_list(found: Iterable[Any]) -> None:
    """One document on stdout, a list of which one item is held at a time."""
    from cnncli.json_text import json_text

    start = "["
    for each in found:
        print(start + json_text(each), end="")
        start = ", "
    print("[]" if start == "[" else "]")


def next_line(*words: str) -> Text:
    """``next    cnn WORD ...``, quoted as a shell needs it."""
    import shlex

    from cnncli.report.console import dim

    return dim(f"next    {shlex.join(('cnn', *words))}")
