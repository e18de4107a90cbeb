"""Standard streams that survive a full disk, a closed pipe and an encoding that lacks a character."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from typing import Any

from typing_extensions import override

ASCII = {"█": "#", "·": ".", "≥": ">=", "≤": "<="}  # for the characters of tables, where the encoding lacks them


class Output(io.FileIO):
    """A standard stream on which a failed write is no error: the text is lost and the work goes on.

    ``refused``: the last failure, unless it says that nobody reads (a closed pipe or terminal).
    """

    refused: OSError | None = None

    @override
    def write(self, data: Any) -> int:
        try:
            # None: a pipe in non-blocking mode is full.
            while (count := super().write(data)) is None:
                select.select([], [self], [])
            return count
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.refused = error
            return len(data)


def open_streams() -> Output | None:
    """Replace stdout and stderr by such streams. Returns the new stdout; None if the old one was replaced before."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It is closed: the next file opened would get this number, and the text that is printed.
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("ascii", _in_ascii)
    outputs = {}
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            outputs[name] = Output(number, "w", closefd=False)
            encoding = stream.encoding if stream else "utf-8"
            lines = bool(stream and stream.line_buffering)
            text = io.TextIOWrapper(io.BufferedWriter(outputs[name]), encoding, "ascii", line_buffering=lines)
            setattr(sys, name, text)
    return outputs.get("stdout")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """An error handler for ``codecs``: the characters that an encoding lacks, in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(ASCII.get(each, each.encode("ascii", "backslashreplace").decode()) for each in missing), error.end
