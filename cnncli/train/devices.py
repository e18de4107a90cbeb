"""The devices: what they are, and how arrays lie on them. One device is the mesh of one."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnncli.errors import MachineError
from cnncli.machine import available_cores
from cnncli.train import program_cache

MOST_PROGRAMS = 2 << 30  # bytes of compiled programs that are kept; the longest unused go first
# What a run's random numbers and types follow from: variables like JAX_DEFAULT_PRNG_IMPL would train another network.
PINNED = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_enable_x64": False,
}


@dataclass(frozen=True)
class Placement:
    """``whole``: on every device (weights, data). ``batch``: axis 0 split. ``steps``: axis 1 split (K steps, batch)."""

    mesh: Mesh
    whole: NamedSharding
    batch: NamedSharding
    steps: NamedSharding

    @property
    def device(self) -> jax.Device:
        """One of the devices, which are all of a kind."""
        return self.mesh.devices.flat[0]

    @property
    def on_cpu(self) -> bool:
        """Whether the devices are processors."""
        return self.device.platform == "cpu"

    def scope(self) -> AbstractContextManager[object]:
        """A block in which the kernels know how a batch is divided among the devices."""
        return jax.set_mesh(self.mesh)

    def describe(self) -> str:
        """``cpu (2 threads)``, ``4 x NVIDIA H200``."""
        count, name = self.mesh.devices.size, device_name(self.device)
        return f"{count} x {name}" if count > 1 else name


def devices() -> list[jax.Device]:
    """JAX's devices. MachineError (exit 4) where the platform asked for is not there."""
    for name, value in PINNED.items():
        jax.config.update(name, value)
    keep_memory()
    keep_programs()
    # XLA's CPU client never completes a call that was queued and whose memory is then refused: who reads the result
    # waits for ever, deaf to signals. A call that is not queued raises. Small steps take no longer so.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX's own assertion, where no platform asked for is there
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).splitlines()[0] if str(error) else f"JAX finds nothing for JAX_PLATFORMS={asked}"
        raise MachineError.of(f"no device: {reason}", "Unset JAX_PLATFORMS, or see `cnn doctor`.") from None


@functools.cache
def keep_memory() -> None:
    """Let the allocator keep what is freed, where it is glibc's, for the next call of a compiled program.

    A call frees its temporaries, hundreds of MiB; glibc gives blocks as large back to the system, and the next call
    pays a page fault for every 4 KiB of them: a fifth of ResNet-20's step when a call is two steps.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another system, another C library
        return
    most_arenas, most_mapped, trim_threshold = -8, -4, -1  # malloc.h
    mallopt(most_arenas, 1)  # only the first arena can hold such blocks
    mallopt(most_mapped, 0)
    mallopt(trim_threshold, 2**31 - 1)


@functools.cache
def keep_programs() -> Path | None:
    """Keep compiled programs from one start to the next in the user's own cache; where, or None where that cannot be.

    A program is code: the folder is the user's alone (0700), and there is one for each kind of processor.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):  # somebody has chosen
        return None
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("cnncli", appauthor=False)) / "programs" / _processor_id()
    try:
        str(folder).encode()  # XLA takes UTF-8 only
        for each in (folder.parent.parent, folder.parent, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink()):
            return None
    except (OSError, UnicodeError):
        return None
    if not program_cache.use(program_cache.ProgramCache(folder, MOST_PROGRAMS)):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _processor_id() -> str:
    """The same for processors that can run each other's programs."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        told = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {told}".encode()).hexdigest()[:16]


def placement(batch_size: int | Literal["auto"]) -> Placement:
    """A mesh over as many devices as divide the batch evenly; for ``auto``, any large power of two.

    MachineError where nothing may be compiled.
    """
    found, size = devices(), 1 << 20 if batch_size == "auto" else batch_size
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        raise MachineError.of("nothing may be compiled: JAX_DISABLE_JIT is set", "Unset it.")
    count = next(n for n in range(len(found), 0, -1) if size % n == 0)
    mesh = Mesh(found[:count], ("data",))
    shardings = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",), (None, "data")))
    return Placement(mesh, *shardings)


def device_name(device: jax.Device) -> str:
    """A device in words."""
    if device.platform == "cpu":
        return f"cpu ({available_cores()} cores)"
    return device.device_kind
