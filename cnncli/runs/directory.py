"""A run's folder: what is in it, how it is made, and how it is found from its path or a checkpoint's path."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnncli.config.schema import Config
from cnncli.config.writer import to_yaml
from cnncli.errors import CheckpointError, ConfigError, MachineError, Place
from cnncli.json_text import json_text
from cnncli.paths import located
from cnncli.runs import checkpoint
from cnncli.runs.files import append_synced, replace_file, sync_folder, writing
from cnncli.runs.records import LINES, validated
from cnncli.safe_files import read_file, reason
from cnncli.text import in_bytes

MAX_LOCK, MAX_LINES = 1 << 20, 1 << 30  # bytes of lock.json; of metrics.jsonl and timing.jsonl, a line an epoch or more


class Run:
    """A run's folder and the paths in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"  # as given
        self.resolved = folder / "resolved.yaml"  # every default filled in, overrides applied
        self.lock = folder / "lock.json"  # versions, device, SHA-256 of the data, command, seed
        self.metrics = folder / "metrics.jsonl"  # a line per logging interval and per epoch; nothing of the clock
        self.timing = folder / "timing.jsonl"  # a line per epoch: seconds, images per second
        self.checkpoints = folder / "checkpoints"
        self.plots = folder / "plots"

    def metric_lines(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl; a half-written last line is left out."""
        return list(json_lines(self.metrics))


def resolved_yaml(config: Config) -> str:
    """The text of resolved.yaml. Paths are absolute, so that the run means the same from any folder."""
    return to_yaml(config.to_yaml() | {"data": located(config.data, lambda _: Path().absolute()).to_yaml()})


def create(root: Path, name: str, files: Mapping[str, str]) -> Run:
    """Make ``root/name-1`` (or the next free number) holding ``files``. Safe when many start at once."""
    run = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        run = Run(_free_folder(root, name))
        run.checkpoints.mkdir()
        run.plots.mkdir()
        for file, content in {run.metrics.name: "", run.timing.name: "", **files}.items():
            replace_file(run.folder / file, content.encode())
        sync_folder(root)
    except OSError as error:
        if run:
            shutil.rmtree(run.folder, ignore_errors=True)
        raise MachineError.of(f"cannot make a run folder: {error.strerror}", "Is it writable? Is the disk full?",
                              Place(str(root))) from None  # fmt: skip
    return run


def _free_folder(root: Path, name: str) -> Path:
    taken = [path.name.removeprefix(f"{name}-") for path in root.glob(f"{name}-*")]
    number = max((int(each) for each in taken if each.isdecimal()), default=0) + 1
    while True:
        try:
            (root / f"{name}-{number}").mkdir()
            return root / f"{name}-{number}"
        except FileExistsError:
            number += 1


def find(path: Path) -> tuple[Run, Path | None]:
    """The run at ``path``, and the checkpoint if the path is one's. CheckpointError (exit 5) where it is neither.

    ``mynet-1`` alone is ``runs/mynet-1`` where that is all there is.
    """
    if len(path.parts) == 1 and not os.path.lexists(path) and os.path.isdir("runs" / path):
        path = "runs" / path
    place = Place(str(path))
    if not os.path.exists(path):
        raise CheckpointError.of("no such run or checkpoint", "`ls runs` shows the runs here.", place)
    if (path / "resolved.yaml").is_file():
        return Run(path), None
    if path.parent.name == "checkpoints" and (path.parent.parent / "resolved.yaml").is_file():
        checkpoint.read_manifest(path)
        return Run(path.parent.parent), path
    raise CheckpointError.of("is not a run or a checkpoint (no resolved.yaml)",
                             "Give a folder like runs/NAME-1 or runs/NAME-1/checkpoints/step-...", place)  # fmt: skip


def require_inside(run: Run) -> None:
    """Refuse to write into a run that came with links leading out of it."""
    home = os.path.realpath(run.folder)
    for folder, *kinds in os.walk(run.folder):
        for path in (os.path.join(folder, name) for names in kinds for name in names):
            if os.path.islink(path) and os.path.commonpath([home, os.path.realpath(path)]) != home:
                raise CheckpointError.of("is a link that leads out of the run", "Remove it.", Place(path))


@contextmanager
def only_trainer(run: Run, note: Callable[[str], None]) -> Iterator[None]:
    """Hold the run's lock; the system releases it when the process ends. MachineError (exit 4) names its holder."""
    with writing(run.folder):
        descriptor = os.open(run.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            raise MachineError.of(f"process {pid} is training this run", "Wait for it, or stop it (kill).",
                                  Place(str(run.folder))) from None  # fmt: skip
        except OSError as error:
            note(f"this file system has no locks ({error.strerror}): do not train this run twice at once")
        with writing(run.folder):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one JSON line and force it to the disk."""
    append_synced(path, (json_text(line) + "\n").encode())


def cut_lines(path: Path, step: int, restores: int = 0) -> None:
    """Remove lines after ``step``, and restores after number ``restores``: training writes them again."""
    kept = [line for line in json_lines(path) if line["step"] <= step and line.get("restore", 0) <= restores]
    replace_file(path, "".join(json_text(line) + "\n" for line in kept).encode())


def read(path: Path, limit: int) -> bytes:
    """One of the run's files. CheckpointError (exit 5) where it cannot be read or is larger than ``limit``."""
    try:
        content = read_file(path, limit)
    except OSError as error:
        raise CheckpointError.of(f"cannot be read: {reason(error)}", place=Place(str(path))) from None
    if len(content) > limit:
        raise CheckpointError.of(f"has more than {in_bytes(limit)}", place=Place(str(path)))
    return content


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of metrics.jsonl or timing.jsonl; the last is left out if it is half written.

    CheckpointError (exit 5) names any other line that training does not write.
    """
    lines = read(path, MAX_LINES).splitlines() if path.exists() else []
    for number, text in enumerate(lines, 1):
        try:
            validated(LINES[path.name], text, Place(str(path), number))
        except CheckpointError:
            if number == len(lines):
                return
            raise
        yield json.loads(text, object_hook=_with_loss)


def _with_loss(found: dict[str, Any]) -> dict[str, Any]:
    """A loss that was not finite is null in JSON, and NaN again here."""
    return found | {"loss": math.nan} if found.get("loss", 0) is None else found


def locked(run: Run, *keys: str) -> Any:
    """A value of lock.json."""
    try:
        found = json.loads(read(run.lock, MAX_LOCK))
        for key in keys:
            found = found[key]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError.of("is not readable", place=Place(str(run.lock)), path=".".join(keys)) from None
    return found


def require_name(root: Path, name: str) -> None:
    """Refuse a name whose folder would lie outside ``root``."""
    if (root / f"{name}-1").resolve().parent != root.resolve():
        raise ConfigError.of(f"the run '{name}' would lie outside {root}", "Choose a plain name.", path="name")
