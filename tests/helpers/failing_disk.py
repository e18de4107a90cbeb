"""A disk that fails, or a process that ends, at a chosen system call; and what must be on the disk afterwards."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cnncli.runs import checkpoint


def saved_files(run: Path) -> dict[str, bytes]:
    """Content by path of all checkpoints and the metrics, which interruptions must not change. Without damaged ones."""
    folders = [each for each in (run / "checkpoints").iterdir() if not each.name.startswith("damaged-")]
    files = [run / "metrics.jsonl", *(path for folder in folders for path in folder.iterdir())]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


class Killed(BaseException):
    """Stands for the end of the process."""


CALLS = ("write", "fsync", "rename", "replace", "mkdir")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)


@dataclass
class Disk:
    """Counts the calls that write below ``root``; call number ``at`` fails with ``error``, or ends the process."""

    root: Path
    at: int = 1 << 30
    error: int = 0  # errno; 0: the process ends
    count: int = 0
    ended: bool = False
    committed: list[int] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> Disk:
        for name in CALLS:
            patch.setattr(os, name, self._counted(name, getattr(os, name)))
        patch.setattr(os, "open", self._until_ended(os.open))
        # Their failure is not simulated, only the end of the process.
        for name in ("unlink", "rmdir"):
            real = getattr(os, name)
            patch.setattr(os, name, self._until_ended(real) if self.error else self._counted(name, real))
        return self

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: int | str, *arguments: Any, **named: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
            if named.get("dir_fd") is not None:
                path = os.path.join(os.readlink(f"/proc/self/fd/{named['dir_fd']}"), path)
            if not str(path).startswith(str(self.root)):
                return real(target, *arguments, **named)
            self._require_running()
            self.count += 1
            if self.count == self.at:
                if name == "write":
                    # A part is written.
                    real(target, arguments[0][: len(arguments[0]) // 2])
                if self.error:
                    raise OSError(self.error, os.strerror(self.error), str(path))
                self.end()
            done = real(target, *arguments, **named)
            if name == "rename" and Path(arguments[0]).name.startswith("step-"):
                self.committed.append(int(Path(arguments[0]).name.removeprefix("step-")))
            return done

        return call

    def end(self) -> None:
        """Act as if the process ended: no later call reaches the disk."""
        self.ended = True
        raise Killed

    def _until_ended(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._require_running()
            return real(*arguments, **named)

        return call

    def _require_running(self) -> None:
        if self.ended:
            raise Killed


def require_intact(run: Path, committed: list[int]) -> None:
    """Every checkpoint loads, and the newest one that was committed is there."""
    found = [checkpoint.load(folder).state["step"] for folder in checkpoint.folders(run / "checkpoints")]
    assert max(found, default=-1) >= max(committed, default=-1)
