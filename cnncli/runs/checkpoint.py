"""Checkpoints: a folder of plain data, committed in one step, verified before use.

    checkpoints/step-00004690/  params.safetensors  optimizer.safetensors  state.json  manifest.json

Commit: write into a temporary sibling, sync each file, manifest last, sync the folder, rename, sync the parent; only
then are old ones pruned. The manifest holds the size and SHA-256 of each file; ``latest`` and ``best`` are found by
reading manifests.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.errors import CheckpointError, Place
from cnncli.runs.files import sync_folder, write_synced

FORMAT = 1
FILES = ("params.safetensors", "optimizer.safetensors", "state.json")
MAX_JSON = 1 << 20
_NAME = re.compile(r"step-(\d{8,})")


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
        """Larger is better: validation accuracy, then lower loss, then the earlier step. Non-finite is worst."""
        if self.validation is None or not all(map(math.isfinite, self.validation.values())):
            return (-math.inf, -math.inf, -self.step)
        return (self.validation["accuracy"], -self.validation["loss"], -self.step)


def save(folder: Path, contents: Contents, validation: Mapping[str, float] | None) -> Path:
    """Commit a checkpoint under ``folder`` (``checkpoints/``); its path."""
    from safetensors.numpy import save as to_bytes

    step = contents.state["step"]
    final = folder / f"step-{step:08d}"
    if final.exists():
        return final
    temporary = folder / f".tmp-step-{step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    parts = (to_bytes(contents.params), to_bytes(contents.optimizer), _json(contents.state))
    for name, content in zip(FILES, parts, strict=True):
        write_synced(temporary / name, content)
    files = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in zip(FILES, parts, strict=True)
    }
    manifest = {"format": FORMAT, "step": step, "validation": validation, "files": files}
    write_synced(temporary / "manifest.json", _json(manifest))
    sync_folder(temporary)
    os.rename(temporary, final)
    sync_folder(folder)
    return final


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint, so that it is neither used nor in the way, nor lost; its new path."""
    aside = folder.with_name(f"damaged-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    sync_folder(folder.parent)
    return aside


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` and the best; and what an interrupted save left."""
    found = manifests(folder)
    best = best_of(found)
    kept = {each.folder for each in found[-keep:]} | ({best.folder} if best else set())
    for each in found:
        if each.folder not in kept:  # renamed first: a half-removed checkpoint must not look like one
            os.rename(each.folder, folder / f".tmp-{each.folder.name}")
    for left in folder.glob(".tmp-*"):
        shutil.rmtree(left)


def manifests(folder: Path) -> list[Manifest]:
    """Manifests of all readable checkpoints, oldest first."""
    found = []
    for path in folder.glob("step-*"):
        if _NAME.fullmatch(path.name) and path.is_dir():
            try:
                found.append(read_manifest(path))
            except CheckpointError:
                continue
    return sorted(found, key=lambda each: each.step)


def best_of(found: list[Manifest]) -> Manifest | None:
    """The best by validation; None where none was validated."""
    ranked = [each for each in found if each.validation is not None]
    return max(ranked, key=lambda each: each.rank) if ranked else None


def read_manifest(folder: Path) -> Manifest:
    """A checkpoint's manifest. CheckpointError where it is missing or says what it must not."""
    path = folder / "manifest.json"
    manifest = _read_json(path)
    files = manifest.get("files")
    if manifest.get("format") != FORMAT:
        raise _bad(path, f"format {manifest.get('format')!r} is not {FORMAT}", "A newer cnncli may have written it.")
    if not isinstance(files, dict) or set(files) != set(FILES) or not isinstance(manifest.get("step"), int):
        raise _bad(path, "does not list the files of a checkpoint")
    validation = manifest.get("validation")
    if validation is not None and not (isinstance(validation, dict) and set(validation) == {"loss", "accuracy"}):
        raise _bad(path, "has no readable validation figures")
    return Manifest(folder, manifest["step"], validation, files)


def load(folder: Path) -> Contents:
    """Read and verify a checkpoint. CheckpointError (exit 5) names the file that is wrong."""
    manifest = read_manifest(folder)
    parts = [_verified(folder / name, manifest.files[name]) for name in FILES]
    arrays = [_arrays(folder / name, content) for name, content in zip(FILES[:2], parts[:2], strict=True)]
    try:
        state = json.loads(parts[2])
    except ValueError:
        raise _bad(folder / FILES[2], "is not JSON") from None
    return Contents(arrays[0], arrays[1], state)


def _verified(path: Path, expected: Any) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from None
    if not isinstance(expected, dict) or len(content) != expected.get("size"):
        size = expected.get("size") if isinstance(expected, dict) else "?"
        raise _bad(path, f"has {len(content)} bytes, the manifest says {size}", "The file is damaged.")
    if hashlib.sha256(content).hexdigest() != expected.get("sha256"):
        raise _bad(path, "does not match its SHA-256 in the manifest", "The file is damaged.")
    return content


def _arrays(path: Path, content: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _bad(path, f"is not a safetensors file: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_JSON + 1)
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_JSON:
        raise _bad(path, "is over 1 MiB")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise _bad(path, "is not JSON") from None
    if not isinstance(found, dict):
        raise _bad(path, "is not a JSON object")
    return found


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _bad(path: Path, message: str, hint: str = "") -> CheckpointError:
    return CheckpointError.of(message, hint, Place(str(path)))
