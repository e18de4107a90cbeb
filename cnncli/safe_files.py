"""Files from outside (configs, run folders, checkpoints, data) are opened here: regular files only, without waiting."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from cnncli.errors import DataError, Place

if TYPE_CHECKING:
    from gzip import GzipFile

# The most that deflate can expand: 258 bytes out of 2 bits (RFC 1951).
DEFLATE_RATIO = 1032


def read_file(path: Path, limit: int, links: bool = True) -> bytes:
    """The bytes of a regular file, at most ``limit`` + 1 of them. OSError for anything else.

    ``links``: whether ``path`` may be a symbolic link.
    """
    with _open_regular(path, links) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        return stream.read(min(size, limit + 1))


@contextmanager
def open_data_file(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open to read. DataError names the file if the system refuses to open or to read it."""
    try:
        with _open_regular(path) as stream:
            yield stream
    except OSError as error:
        raise data_error(path, f"cannot be read: {reason(error)}") from None


@contextmanager
def _open_regular(path: Path, links: bool = True) -> Iterator[BinaryIO]:
    """Neither opening nor reading can block. OSError for anything but a regular file."""
    _require_regular(os.stat(path, follow_symlinks=links))  # opening some devices has effects
    extra = os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | extra)) as stream:
        opened = os.fstat(stream.fileno())
        _require_regular(opened)  # another file may have replaced it since the first check
        # Files of /proc report size 0, and reading some of them waits or never ends.
        yield stream if opened.st_size else io.BytesIO()


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        code = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(code, f"it is {kind_of_file(status.st_mode)}, not a plain file")


def kind_of_file(mode: int) -> str:
    """``a folder``, ``a pipe``, ``a link``, ``a socket`` or ``a device``."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
             (stat.S_ISLNK, "a link"))  # fmt: skip
    return next((name for test, name in kinds if test(mode)), "a device")


def read_into(stream: IO[bytes] | GzipFile, view: memoryview) -> int:
    """Read until ``view`` is full or the stream ends. Returns the number of bytes read."""
    done = 0
    while done < len(view):
        chunk = stream.read(min(1 << 20, len(view) - done))
        if not chunk:
            break
        view[done : done + len(chunk)] = chunk
        done += len(chunk)
    return done


def is_file(path: Path) -> bool:
    """Whether there is anything but a folder at ``path``. A pipe counts: reading it reports what is wrong."""
    return (mode := _mode(path)) != 0 and not stat.S_ISDIR(mode)


def is_folder(path: Path) -> bool:
    """Whether there is a folder at ``path``."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """Type and permissions of a file, 0 where there is none. DataError where the system does not permit to look."""
    try:
        return os.stat(path).st_mode
    except PermissionError as error:
        raise data_error(path, f"cannot be read: {reason(error)}") from None
    except (OSError, ValueError):
        return 0


def data_error(path: Path, message: str, hint: str = "") -> DataError:
    """A DataError about one file or folder."""
    return DataError.of(message, hint, Place(str(path)))


def reason(error: OSError) -> str:
    """Why the system refused: ``no such file or directory``."""
    return (error.strerror or str(error) or type(error).__name__).lower()
