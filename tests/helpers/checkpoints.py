"""Change a file of a checkpoint and write its new SHA-256 into the manifest, so that the checksums agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

PARAMS, SLOTS, STATE, MANIFEST = "params.safetensors", "optimizer.safetensors", "state.json", "manifest.json"


def signed(folder: Path, name: str, content: bytes) -> None:
    """Write ``content`` and its checksum. The manifest becomes format 1, which has no checksum of itself."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest.pop("sha256", None)
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": 1}))


def tensors(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Callable[[Path], None]:
    """A function of a checkpoint's folder that applies ``change`` to its parameters."""

    def apply(folder: Path) -> None:
        arrays = load((folder / PARAMS).read_bytes())
        signed(folder, PARAMS, save(change(arrays)))

    return apply
