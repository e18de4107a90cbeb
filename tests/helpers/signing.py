"""Checkpoints whose files are changed, with a manifest that vouches for the change."""

import hashlib
import json
from pathlib import Path

from safetensors.numpy import load, save

PARAMS, SLOTS, STATE, MANIFEST = "params.safetensors", "optimizer.safetensors", "state.json", "manifest.json"


def signed(folder: Path, name: str, content: bytes) -> None:
    """Put ``content`` there, and make the manifest vouch for it (in format 1, which does not vouch for itself)."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest.pop("sha256", None)
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": 1}))


def tensors(change):
    """Weights changed, and signed again."""

    def apply(folder: Path) -> None:
        arrays = load((folder / PARAMS).read_bytes())
        signed(folder, PARAMS, save(change(arrays)))

    return apply
