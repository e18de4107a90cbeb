"""The devices: what they are, and how arrays lie on them. One device is the mesh of one."""

from __future__ import annotations

import os
from dataclasses import dataclass

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnncli.errors import MachineError


@dataclass(frozen=True)
class Placement:
    """``whole``: on every device (weights, data). ``batch``: axis 0 split. ``steps``: axis 1 split (K steps, batch)."""

    mesh: Mesh
    whole: NamedSharding
    batch: NamedSharding
    steps: NamedSharding

    def describe(self) -> str:
        """``cpu (2 threads)``, ``4 x NVIDIA H200``."""
        first, count = self.mesh.devices.flat[0], self.mesh.devices.size
        return f"{count} x {device_name(first)}" if count > 1 else device_name(first)


def devices() -> list[jax.Device]:
    """JAX's devices. MachineError (exit 4) where the platform asked for is not there."""
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX's own assertion, where no platform asked for is there
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).splitlines()[0] if str(error) else f"JAX finds nothing for JAX_PLATFORMS={asked}"
        raise MachineError.of(f"no device: {reason}", "Unset JAX_PLATFORMS, or see `cnn doctor`.") from None


def placement(batch_size: int) -> Placement:
    """A mesh over as many devices as divide the batch evenly."""
    found = devices()
    count = next(n for n in range(len(found), 0, -1) if batch_size % n == 0)
    mesh = Mesh(found[:count], ("data",))
    shardings = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",), (None, "data")))
    return Placement(mesh, *shardings)


def device_name(device: jax.Device) -> str:
    """A device in words."""
    if device.platform == "cpu":
        return f"cpu ({available_cores()} cores)"
    return device.device_kind


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
