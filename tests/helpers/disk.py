"""A disk that fails, or a process that ends, at the call one chooses; and what must have survived."""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.runs import checkpoint


def leaves(run: Path) -> dict[str, bytes]:
    """All checkpoints and the metrics: what must not depend on interruptions. A damaged checkpoint was set aside."""
    folders = [each for each in (run / "checkpoints").iterdir() if not each.name.startswith("damaged-")]
    files = [run / "metrics.jsonl", *(path for folder in folders for path in folder.iterdir())]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


class Killed(BaseException):
    """The process ends here."""


CALLS = ("write", "fsync", "rename", "replace", "mkdir")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)


@dataclass
class Disk:
    """What goes to the disk below ``root``, counted; the call number ``at`` fails, or ends the process."""

    root: Path
    at: int = 1 << 30
    error: int = 0  # 0: the process ends
    count: int = 0
    ended: bool = False
    committed: list[int] = field(default_factory=list)

    def install(self, patch) -> "Disk":
        for name in CALLS:
            patch.setattr(os, name, self._counted(name, getattr(os, name)))
        patch.setattr(os, "open", self._mortal(os.open))
        for name in ("unlink", "rmdir"):  # that a disk refuses them is not tried: only where the process ends
            real = getattr(os, name)
            patch.setattr(os, name, self._mortal(real) if self.error else self._counted(name, real))
        return self

    def _counted(self, name, real):
        def call(target, *arguments, **named):
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
            if named.get("dir_fd") is not None:
                path = os.path.join(os.readlink(f"/proc/self/fd/{named['dir_fd']}"), path)
            if not str(path).startswith(str(self.root)):
                return real(target, *arguments, **named)
            self._require_life()
            self.count += 1
            if self.count == self.at:
                if name == "write":  # a part gets there
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
        """As if the process ended: nothing that follows reaches the disk."""
        self.ended = True
        raise Killed

    def _mortal(self, real):
        def call(*arguments, **named):
            self._require_life()
            return real(*arguments, **named)

        return call

    def _require_life(self):
        if self.ended:
            raise Killed


def require_intact(run: Path, committed: list[int]) -> None:
    """All that looks like a checkpoint is one, and the newest that was committed is there."""
    found = [checkpoint.load(folder).state["step"] for folder in checkpoint.folders(run / "checkpoints")]
    assert max(found, default=-1) >= max(committed, default=-1)
