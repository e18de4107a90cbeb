"""Compiled programs kept in files, for JAX. If anything is wrong with a file, the program is compiled instead.

JAX's own cache with a size limit waits up to ten seconds for the lock of another process at every program, opens
whatever is at an entry's path, and never replaces a damaged entry. This cache has no locks: a file is renamed into
place whole, and begins with a SHA-256 of its key and content.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from jax._src import compilation_cache
from jax._src.compilation_cache_interface import CacheInterface

from cnncli.safe_files import read_file

SUFFIX = ".program"


class ProgramCache(CacheInterface):
    """At most ``most`` bytes in ``folder``; the least recently used programs are removed first."""

    def __init__(self, folder: Path, most: int) -> None:
        self._path, self.most = folder, most

    def get(self, key: str) -> bytes | None:
        """The program of ``key``, or None. A damaged entry is removed, so that a sound one can take its place."""
        path = self._file(key)
        try:
            content = read_file(path, self.most, links=False)
            if content[:32] == _digest(key, content[32:]):
                os.utime(path)  # the time of its last use
                return content[32:]
            path.unlink()
        except OSError:
            pass
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keep ``value``, if the disk permits it."""
        content = _digest(key, value) + value
        if len(content) > self.most:
            return
        with suppress(OSError):
            self._make_room(len(content))
            with tempfile.NamedTemporaryFile(dir=self._path, prefix=".new-", delete=False) as file:
                try:
                    file.write(content)
                    file.close()
                    os.replace(file.name, self._file(key))
                except OSError:
                    os.unlink(file.name)

    def _file(self, key: str) -> Path:
        return self._path / (hashlib.sha256(key.encode()).hexdigest() + SUFFIX)

    def _make_room(self, size: int) -> None:
        """Remove the least recently used files until ``size`` more bytes are within the limit."""
        with os.scandir(self._path) as entries:
            known = [(entry.stat(follow_symlinks=False), entry.path) for entry in entries]
        files = sorted((info.st_mtime, info.st_size, path) for info, path in known if not stat.S_ISDIR(info.st_mode))
        total = size + sum(size for _, size, _ in files)
        for _, freed, path in files:
            if total <= self.most:
                break
            Path(path).unlink(missing_ok=True)
            total -= freed


def use(cache: ProgramCache) -> bool:
    """Let JAX keep programs in ``cache``. False if this version of JAX has no attribute for it."""
    if not hasattr(compilation_cache, "_cache"):
        return False
    compilation_cache._cache = cache
    return True


def _digest(key: str, value: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + value).digest()
