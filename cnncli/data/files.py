"""What every source needs of a file: open it without surprises, say what is wrong with it, ask for memory first.

Everything that is read from outside (configs, run folders, checkpoints, data) is opened by ``open_file``.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, BinaryIO, TypeVar, get_args

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from cnncli.errors import DataError, MachineError, Place
from cnncli.machine import available_memory
from cnncli.spec import Settings, Spec, check

if TYPE_CHECKING:
    from gzip import GzipFile

    import numpy as np

S = TypeVar("S", bound=Settings)
Location = tuple[int | str, ...]  # of a value in a config

MAX_CLASSES = 100_000
DEFLATE_RATIO = 1032  # no deflate stream grows by more: RFC 1951, 258 bytes out of 2 bits


def _path_text(value: object) -> object:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise PydanticCustomError("path", "expected a path, got an empty text" if value.isspace() or not value else
                                  "a path holds no NUL character")  # fmt: skip
    return value


# A file or folder as the YAML writes it: relative to the config's folder, `~` is the home directory, no variables.
_IS_PATH = check(_path_text)
PathText = Annotated[str, _IS_PATH, Field(min_length=1)]


def is_path(field: FieldInfo) -> bool:
    """Whether a field is a ``PathText``, or one that may be left out."""
    written = [field.metadata, *(getattr(each, "__metadata__", ()) for each in get_args(field.annotation))]
    return any(_IS_PATH in metadata for metadata in written)


def located(settings: S, folder: Callable[[Location], Path], location: Location = ()) -> S:
    """The same settings, each relative path in them put below the ``folder`` of its location."""
    changed: dict[str, Any] = {}
    for name, info in type(settings).model_fields.items():
        value, at = getattr(settings, name), (*location, name)
        if isinstance(value, Settings):
            changed[name] = located(value, folder, (*at, value.kind) if isinstance(value, Spec) else at)
        elif value is not None and is_path(info):
            changed[name] = str(folder(at) / user_path(value))
    return settings.model_copy(update=changed)


def user_path(text: str) -> Path:
    """The path that a config names. Only a leading ``~`` is expanded."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        return Path(text)


def data_error(path: Path, message: str, hint: str = "") -> DataError:
    """A DataError about one file or folder."""
    error = DataError.of(message, hint, Place(str(path)))
    assert isinstance(error, DataError)
    return error


def reason(error: OSError) -> str:
    """Why the system refused: ``no such file or directory``."""
    return (error.strerror or str(error) or type(error).__name__).lower()


@contextmanager
def open_file(path: Path, links: bool = True) -> Iterator[BinaryIO]:
    """A regular file, open to read; OSError for anything else. Neither opening nor reading can block.

    ``links``: whether ``path`` may be a symbolic link.
    """
    _require_regular(os.stat(path, follow_symlinks=links))  # opening some devices has effects
    extra = os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | extra)) as stream:
        found = os.fstat(stream.fileno())
        _require_regular(found)  # once more: another may have been put there since
        # Files of /proc say that they are empty, and may wait or never end when they are read.
        yield stream if found.st_size else io.BytesIO()


def read_file(path: Path, limit: int, links: bool = True) -> bytes:
    """The bytes of a regular file, and no more than ``limit`` + 1. OSError for anything else."""
    with open_file(path, links) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        return stream.read(min(size, limit + 1))


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """``open_file``, and what the system refuses as a DataError that names the file."""
    try:
        with open_file(path) as stream:
            yield stream
    except OSError as error:
        raise data_error(path, f"cannot be read: {reason(error)}") from None


def fill(stream: IO[bytes] | GzipFile, view: memoryview) -> int:
    """Read until ``view`` is full or the stream ends; bytes read."""
    done = 0
    while done < len(view):
        chunk = stream.read(min(1 << 20, len(view) - done))
        if not chunk:
            break
        view[done : done + len(chunk)] = chunk
        done += len(chunk)
    return done


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        code = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        raise OSError(code, f"it is {kind_of_file(found.st_mode)}, not a plain file")


def kind_of_file(mode: int) -> str:
    """``a folder``, ``a pipe``, ``a link``, ``a socket`` or ``a device``."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
             (stat.S_ISLNK, "a link"))  # fmt: skip
    return next((name for test, name in kinds if test(mode)), "a device")


def is_file(path: Path) -> bool:
    """Whether something other than a folder lies at ``path`` (a pipe counts: reading it says what is wrong)."""
    return (mode := _mode(path)) != 0 and not stat.S_ISDIR(mode)


def is_folder(path: Path) -> bool:
    """Whether a folder lies at ``path``."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """Of the file at ``path``, or 0 where there is none. DataError where the system does not permit to look."""
    try:
        return os.stat(path).st_mode
    except PermissionError as error:
        raise data_error(path, f"cannot be read: {reason(error)}") from None
    except (OSError, ValueError):
        return 0


def need_memory(size: int, path: Path, what: str, hint: str = "") -> None:
    """Refuse what would not fit before a byte of it is allocated."""
    free = available_memory()
    if free is not None and size > free:
        raise MachineError.of(f"{what} take {in_bytes(size)} of memory, {in_bytes(free)} are free", hint,
                              Place(str(path)))  # fmt: skip


def some(names: Sequence[str], most: int = 10) -> str:
    """Names in a line, the first ``most`` of them."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def in_bytes(size: int) -> str:
    """``12.3 GB``, ``4.0 MB``, ``17 bytes``."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6)):
        if size >= scale / 10:
            return f"{size / scale:,.1f} {unit}"
    return f"{size:,} bytes"


def class_name_problem(name: str) -> str:
    """What is wrong with a class name, or nothing. Names reach terminals, HTML and JSON: no control characters."""
    if not name.strip():
        return "is empty"
    bad = next((char for char in name if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")), "")
    return f"holds the control character U+{ord(bad):04X}" if bad else ""


def check_classes(names: Sequence[str], path: Path) -> None:
    """At least two classes, each with a name of its own that can be printed."""
    if len(names) < 2:
        raise data_error(path, f"has {len(names)} class{'es' * (not names)}{': ' * len(names)}{', '.join(names)}",
                         "A classifier needs two or more.")  # fmt: skip
    for name in names:
        if problem := class_name_problem(name):
            raise data_error(path, f"class name {name!r} {problem}", "Rename it.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise data_error(path, f"class name {twice!r} is there twice")


def check_labels(labels: np.ndarray, count: int, classes: int, path: Path) -> None:
    """As many labels as images, each in 0 .. classes - 1."""
    if len(labels) != count:
        raise data_error(path, f"holds {len(labels):,} labels for {count:,} images")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise data_error(path, f"label {labels[row]} at row {row:,} is out of range",
                         f"There are {classes} classes: 0 to {classes - 1}.")  # fmt: skip


def numbered_classes(labels: np.ndarray, path: Path) -> tuple[str, ...]:
    """The names "0", "1", ... up to the largest training label."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MAX_CLASSES:
        raise data_error(path, f"label {low if low < 0 else high} is out of range",
                         f"Labels are whole numbers from 0 to {MAX_CLASSES - 1:,}.")  # fmt: skip
    return tuple(str(label) for label in range(high + 1))
