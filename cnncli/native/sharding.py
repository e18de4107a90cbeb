"""Kernels on a batch that is split over devices: XLA cannot split a custom call by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec


def one_device() -> bool:
    """Whether the program that is being traced runs on a single device."""
    mesh = jax.sharding.get_abstract_mesh()
    return bool(mesh.empty or mesh.size == 1)


def over_batch(call: Callable[..., Any], *arguments: jax.Array, whole: int = 0, summed: bool = False) -> Any:
    """``call`` on each device's part of the batch. The last ``whole`` arguments are given whole to every device.

    The results are split along axis 0 too or, where ``summed``, added up over the devices.
    """
    if one_device():
        return call(*arguments)
    everywhere, split = PartitionSpec(), PartitionSpec("data")

    def on_each(*parts: jax.Array) -> Any:
        results = call(*parts)
        return jax.lax.psum(results, "data") if summed else results

    specs = (split,) * (len(arguments) - whole) + (everywhere,) * whole
    mapped = jax.shard_map(on_each, in_specs=specs, out_specs=everywhere if summed else split, check_vma=False)
    return mapped(*arguments)
