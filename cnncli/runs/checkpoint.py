"""A checkpoint: a folder of plain data, committed in one step, verified before use.

    checkpoints/step-00004690/  params.safetensors  optimizer.safetensors  state.json  manifest.json

Commit: write into a temporary sibling, sync each file, manifest last, sync the folder, rename, sync the parent; only
then are old ones pruned. The manifest holds the size and SHA-256 of each file, and its own: no bit of a checkpoint can
change unnoticed. ``latest`` and ``best`` are found by reading manifests.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.errors import CheckpointError, Place
from cnncli.runs.files import sync_folder, write_synced
from cnncli.safe_files import read_file

FORMAT = 3
FORMATS = (1, 2, FORMAT)  # 1: the manifest has no digest of its own; 2: the state holds all validation figures
FILES = PARAMS, OPTIMIZER, STATE = "params.safetensors", "optimizer.safetensors", "state.json"
MAX_MANIFEST, MAX_STATE = 1 << 20, 1 << 27  # bytes; until format 2 the state grew by a line of figures an epoch
UNRANKED = (-math.inf, -math.inf)


def rank(figures: Mapping[str, float] | None) -> tuple[float, float]:
    """Which weights are best: larger is better. Validation accuracy, then lower loss; ``UNRANKED`` if not finite."""
    if figures is None or not all(map(math.isfinite, figures.values())):
        return UNRANKED
    return figures["accuracy"], -figures["loss"]


def step_of(folder: Path) -> int | None:
    """The step in the name of a checkpoint's folder; None if it is not named like one."""
    match = re.fullmatch(r"step-(\d{8,})", folder.name)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds. ``state``: step, epoch and running sums as JSON."""

    params: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    state: dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """A checkpoint's folder, its step, its validation figures and its files' sizes and digests."""

    folder: Path
    step: int
    validation: dict[str, float] | None
    files: dict[str, dict[str, Any]]

    @property
    def rank(self) -> tuple[float, float, int]:
        """Larger is better: ``rank``, then the earlier step; of checkpoints without a rank the latest."""
        ranked = rank(self.validation)
        return (*ranked, self.step if ranked == UNRANKED else -self.step)


def save(folder: Path, contents: Contents, validation: Mapping[str, float] | None) -> Path:
    """Commit a checkpoint under ``folder`` (``checkpoints/``); its path."""
    from safetensors.numpy import save as to_bytes

    step = contents.state["step"]
    final = folder / f"step-{step:08d}"
    if final.exists():
        return final
    temporary = folder / f".tmp-step-{step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()  # fails where the run was removed while it trains
    parts = (to_bytes(contents.params), to_bytes(contents.optimizer), _json(contents.state))
    files = {}
    for name, content in zip(FILES, parts, strict=True):
        write_synced(temporary / name, content)
        files[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"format": FORMAT, "step": step, "validation": validation, "files": files}
    write_synced(temporary / "manifest.json", _json(manifest | {"sha256": _digest(manifest)}))
    sync_folder(temporary)
    os.rename(temporary, final)
    sync_folder(folder)
    return final


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint, so that it is not used and not lost; its new path."""
    aside = folder.with_name(f"damaged-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    sync_folder(folder.parent)
    return aside


def prune(folder: Path, keep: int, every: int = 1) -> None:
    """Remove all but the newest, the best and the newest ``keep`` that are due every ``every`` steps.

    Checkpoints that an interruption left are not due: a resumed run keeps the same ones as an uninterrupted run.
    Parts that an interrupted save left are removed too.
    """
    found = manifests(folder)
    due = [manifest for manifest in found if manifest.step % every == 0]
    kept = {manifest.folder for manifest in (*due[-keep:], *found[-1:], best_of(found)) if manifest}
    discard([manifest.folder for manifest in found if manifest.folder not in kept])
    for left in folder.glob(".tmp-*"):
        shutil.rmtree(left)


def discard(folders: Iterable[Path]) -> None:
    """Remove checkpoints. They are renamed first, so that a half-removed one does not look like one."""
    for folder in folders:
        gone = folder.with_name(f".tmp-{folder.name}")
        os.rename(folder, gone)
        shutil.rmtree(gone)


def folders(folder: Path) -> list[Path]:
    """All folders named like checkpoints, sound or not, oldest first. OSError if ``folder`` cannot be listed."""
    with suppress(FileNotFoundError):
        found = [folder / name for name in os.listdir(folder) if step_of(Path(name)) is not None]
        return sorted(found, key=lambda path: step_of(path) or 0)
    return []


def manifests(folder: Path) -> list[Manifest]:
    """Manifests of all readable checkpoints, oldest first."""
    found = []
    for path in folders(folder):
        with suppress(CheckpointError):
            found.append(read_manifest(path))
    return found


def best_of(found: list[Manifest]) -> Manifest | None:
    """The best by validation; None if no figures are finite."""
    best = max(found, key=lambda manifest: manifest.rank, default=None)
    return best if best and rank(best.validation) != UNRANKED else None


def read_manifest(folder: Path) -> Manifest:
    """A checkpoint's manifest. CheckpointError if it is missing, damaged or invalid."""
    path = folder / "manifest.json"
    content = _read(path, MAX_MANIFEST)
    if len(content) > MAX_MANIFEST:
        raise _bad(path, "is over 1 MiB")
    manifest = _object(path, content)
    version, digest = manifest.get("format"), manifest.pop("sha256", None)
    if type(version) is not int or version not in FORMATS:
        raise _bad(path, f"format {version!r} is not one of {FORMATS}", "A newer cnncli may have written it.")
    if version > 1 and (digest != _digest(manifest) or content != _json(manifest | {"sha256": digest})):
        raise _bad(path, "does not match its own SHA-256", "The file is damaged.")
    files, step, validation = manifest.get("files"), manifest.get("step"), manifest.get("validation")
    if not isinstance(files, dict) or set(files) != set(FILES) or type(step) is not int or step < 0:
        raise _bad(path, "does not list the files of a checkpoint")
    if step_of(folder) not in (None, step):
        raise _bad(path, f"is of step {step}, its folder is not")
    if validation is not None and not _are_figures(validation):
        raise _bad(path, "has no readable validation figures")
    return Manifest(folder, step, validation, files)


def load(folder: Path) -> Contents:
    """Read and verify a checkpoint. CheckpointError (exit 5) names the file that is wrong."""
    manifest = read_manifest(folder)
    parts = [_verified(folder / name, manifest.files[name]) for name in FILES]
    arrays = [_arrays(folder / name, content) for name, content in zip(FILES[:2], parts[:2], strict=True)]
    state = _object(folder / FILES[2], parts[2])
    if state.get("step") != manifest.step:
        raise _bad(folder / FILES[2], f"is of step {state.get('step')!r}, the manifest of {manifest.step}")
    return Contents(arrays[0], arrays[1], state)


def _verified(path: Path, expected: Any) -> bytes:
    size = expected.get("size") if isinstance(expected, dict) else None
    if type(size) is not int or size < 0:
        raise _bad(path.with_name("manifest.json"), f"gives no size of {path.name}")
    content = _read(path, min(size, MAX_STATE) if path.suffix == ".json" else size)
    if len(content) != size:
        found = path.stat().st_size
        said = f"the manifest says {size}" if found != size else f"at most {MAX_STATE} are read"
        raise _bad(path, f"has {found} bytes, {said}", "The file is damaged.")
    if hashlib.sha256(content).hexdigest() != expected.get("sha256"):
        raise _bad(path, "does not match its SHA-256 in the manifest", "The file is damaged.")
    return content


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_file(path, limit, links=False)
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from None


def _arrays(path: Path, content: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _bad(path, f"is not a safetensors file: {error}") from None


def _object(path: Path, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise _bad(path, "is not JSON") from None
    if not isinstance(found, dict):
        raise _bad(path, "is not a JSON object")
    return found


def _are_figures(validation: Any) -> bool:
    figures = isinstance(validation, dict) and set(validation) == {"loss", "accuracy"}
    return figures and all(type(value) is float for value in validation.values())


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json(manifest)).hexdigest()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _bad(path: Path, message: str, hint: str = "") -> CheckpointError:
    return CheckpointError.of(message, hint, Place(str(path)))
