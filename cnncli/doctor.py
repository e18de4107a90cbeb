"""What this machine offers to training, and why JAX computes where it does."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import jax

from cnncli import __version__
from cnncli.native.library import kernels
from cnncli.train.devices import device_name, devices


def findings() -> dict[str, Any]:
    """Facts by name, each a text or a list of texts."""
    found = devices()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cnncli": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in ("jax", "jaxlib", "optax", "numpy")),
        "device": [device_name(device) for device in found],
        "why": why(jax.default_backend()),
        "kernels": f"{kernels().name} ({kernels().why})",
        "memory": f"{memory:.1f} GiB",
        "disk": f"{free:.1f} GiB free here",
        "data": os.environ.get("CNN_DATA_DIR", "CNN_DATA_DIR is not set; named data sets go to the user's cache"),
    }


def why(backend: str) -> str:
    """Why JAX chose this backend."""
    asked = os.environ.get("JAX_PLATFORMS")
    if asked:
        return f"JAX_PLATFORMS={asked} asks for it"
    if backend != "cpu":
        return f"JAX found a {backend} and its plugin"
    plugins = sorted(name for each in distributions() if (name := each.metadata["Name"] or "").startswith("jax-cuda"))
    card = shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()
    if card and not plugins:
        return "there is an NVIDIA card, but JAX without CUDA: pip install 'jax[cuda13]'"
    if plugins and not card:
        return f"{plugins[0]} is installed, but no NVIDIA driver is here"
    if plugins:
        return f"{plugins[0]} is installed, there is a card, but JAX could not start it: see JAX_LOGGING_LEVEL=DEBUG"
    return "no accelerator was found"
