"""Loads the compiled kernels, or says why they cannot be used.

The shared library is built with the package. It is loaded where it fits the processor, oneDNN and the FFI of the
installed jaxlib. Its handlers are registered after JAX has started, so that a refusal cannot stop JAX.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import jax
import jax.numpy as jnp

from cnncli.errors import MachineError

SWITCH = "CNN_KERNELS"
HANDLERS = (
    "cnn_convolution", "cnn_convolution_input_gradient", "cnn_convolution_weight_gradient", "cnn_batch_norm",
    "cnn_batch_norm_gradient", "cnn_max_pool", "cnn_max_pool_gradient", "cnn_response_norm",
    "cnn_response_norm_gradient",
)  # fmt: skip


@dataclass(frozen=True)
class Backend:
    """What computes convolutions: ``name`` is ``onednn`` or ``xla``, and ``why``.

    ``wanting``: the kernels would be faster here, but cannot be used. ``bfloat16``: 0 not supported, 1 no faster than
    float32, 2 by the processor's matrix units (AMX).
    """

    name: str
    why: str
    wanting: bool = False
    bfloat16: int = 0


def takes(x: jax.Array) -> bool:
    """Whether the kernels are loaded and take arrays like ``x``."""
    if x.dtype == jnp.float32:
        return x.size > 0 and kernels().name == "onednn"
    return bool(x.size > 0 and x.dtype == jnp.bfloat16 and kernels().bfloat16)


class UnusableError(Exception):
    """The kernels cannot be used; the message says why."""


@functools.cache
def kernels() -> Backend:
    """What computes convolutions here. MachineError (exit 4) where CNN_KERNELS asks for what cannot be used."""
    asked = os.environ.get(SWITCH, "")
    if asked not in ("", "xla", "onednn"):
        raise MachineError.of(f"{SWITCH}={asked} is neither xla nor onednn", f"Unset {SWITCH}.")
    if asked == "xla":
        return Backend("xla", f"{SWITCH}=xla asks for it")
    try:
        return _load()
    except UnusableError as reason:
        if asked:
            raise MachineError.of(f"{SWITCH}=onednn, but {reason}", f"Unset {SWITCH}.") from None
        return Backend("xla", str(reason), wanting=jax.default_backend() == "cpu")


def _load() -> Backend:
    backend = jax.default_backend()  # starts JAX
    if backend != "cpu":
        raise UnusableError(f"the device is a {backend}: XLA's own kernels are the fast ones there")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UnusableError(f"the kernels are for x86-64 Linux, this is {platform.machine()} {platform.system()}")
    file = built()
    if file is None:
        raise UnusableError(f"the kernels were not built in {Path(__file__).parent}: install g++, then cnncli again "
                            "(a clone that is run from its own folder: pip install -e .)")  # fmt: skip
    onednn = _load_onednn()
    try:
        library = ctypes.CDLL(str(file))
    except OSError as error:
        raise UnusableError(f"{file.name} does not load: {error}") from None
    compiled, running = (library.cnn_ffi_major(), library.cnn_ffi_minor()), _ffi_version()
    if compiled[0] != running[0] or compiled > running:
        built_for, has = (".".join(map(str, version)) for version in (compiled, running))
        raise UnusableError(f"the kernels were built for XLA's FFI {built_for}, jaxlib has {has}: install cnncli again")
    try:
        for name in HANDLERS:
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    except Exception as error:  # JAX works without the kernels, whatever it says
        raise UnusableError(f"JAX refuses the kernels: {str(error).splitlines()[0]}") from None
    return Backend("onednn", f"oneDNN {onednn}", bfloat16=library.cnn_bfloat16())


def built() -> Path | None:
    """The shared library beside this file."""
    places = (Path(__file__).with_name("kernels" + ending) for ending in EXTENSION_SUFFIXES)
    return next((file for file in places if file.exists()), None)


def _load_onednn() -> str:
    """Load oneDNN from its package or the system, so that the kernels find it; its version."""
    try:
        package = [Path(str(file.locate())) for file in metadata.files("onednn-cpu-gomp") or ()]
    except metadata.PackageNotFoundError:
        package = []
    names = [str(file.resolve()) for file in package if file.name == "libdnnl.so.3"]
    for name in [*names, "libdnnl.so.3"]:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        version = ctypes.cast(library.dnnl_version, ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_int)))()
        return ".".join(str(version[place]) for place in range(3))
    raise UnusableError("oneDNN 3 is not installed: pip install onednn-cpu-gomp")


def _ffi_version() -> tuple[int, int]:
    """The FFI version of the installed jaxlib, from its header."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text(encoding="utf-8")
    major, minor = (re.search(rf"#define XLA_FFI_API_{part} (\d+)", header) for part in ("MAJOR", "MINOR"))
    if not major or not minor:
        raise UnusableError("jaxlib does not say which FFI it has")
    return int(major[1]), int(minor[1])
