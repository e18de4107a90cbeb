"""Writing that survives a crash: whole files, synced, renamed into place.

Every byte goes through ``os.write``, ``os.fsync``, ``os.rename`` and ``os.replace``: tests fail and kill at each.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnncli.errors import MachineError, Place
from cnncli.text import in_bytes


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and force it to the disk."""
    _write(path, content, os.O_CREAT | os.O_EXCL)


def append_synced(path: Path, content: bytes) -> None:
    """Add to the end of a file and force it to the disk. The file must exist: a removed run is not rebuilt."""
    _write(path, content, os.O_APPEND)


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one step: either the old file or the new one is there, never a part.

    A link is replaced, not followed. OSError where there is a folder, a pipe or a device.
    """
    if os.path.lexists(path) and not (path.is_symlink() or path.is_file()):
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    write_synced(temporary, content)
    os.replace(temporary, path)
    sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[io.BytesIO]:
    """A file in memory; ``replace_file`` puts it at ``path`` at the end, unless the block fails."""
    file = io.BytesIO()
    yield file
    replace_file(path, file.getvalue())


def sync_folder(folder: Path) -> None:
    """Force a folder's entries (creations, renames) to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(folder: Path, size: int) -> None:
    """MachineError (exit 4) unless ``size`` bytes are free where ``folder`` is, or will be."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise MachineError.of(f"the checkpoints need {in_bytes(size)}, {in_bytes(free)} are free",
                              "Make room, keep fewer (train.keep), or choose another disk (--runs).",
                              Place(str(there)))  # fmt: skip


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """What the disk refuses while ``run`` is written, in words (exit 4)."""
    try:
        yield
    except OSError as error:
        saved = any(run.glob("checkpoints/step-*"))
        hint = f"What was saved before is intact: make room or mend it, then cnn train --resume {run}"
        if not saved:
            hint = "Nothing is saved yet: make room or mend it, then train again."
        if not run.is_dir():
            hint = "The run's folder was removed or moved; nothing is written in its place."
        place = Place(str(error.filename or run))
        raise MachineError.of(f"cannot write: {error.strerror or error}", hint, place) from error


def _write(path: Path, content: bytes, flags: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | flags, 0o666)
    try:
        rest = memoryview(content)
        while rest:  # a disk that fills up takes a part first
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)
