"""lock.json: what a run was made from, enough to make it again."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from cnncli import __version__
from cnncli.data.splits import SplitName

PACKAGES = ("jax", "jaxlib", "optax", "numpy", "pydantic", "safetensors", "pillow", "simplejpeg", "pyyaml")

# Variables that change what XLA, oneDNN and CUDA compute by the last digits, or more.
VARIABLES = (
    "XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_DEFAULT_MATMUL_PRECISION", "NVIDIA_TF32_OVERRIDE", "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
)  # fmt: skip


def variables() -> dict[str, str]:
    """``VARIABLES`` as they are set, empty where they are not."""
    return {name: " ".join(sorted(os.environ.get(name, "").split())) for name in VARIABLES}


def lock(
    seed: int, fingerprint: str, splits: Mapping[SplitName, str], devices: list[str], flags: dict[str, Any]
) -> str:
    """The text of lock.json. ``flags``: precision, kernels and other switches that change numbers.

    ``fingerprint``: of the data as stored; ``splits``: of each split as the network gets it.
    """
    content = {
        "cnncli": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "devices": devices,
        "flags": flags,
        "data": {"sha256": fingerprint, "splits": dict(splits)},
        "command": ["cnn", *sys.argv[1:]],
        "seed": seed,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # a command's bytes that are not UTF-8, as JSON escapes them


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
