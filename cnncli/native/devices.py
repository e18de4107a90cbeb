"""A custom call on a batch that is split over devices: XLA cannot split it by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec


def on_one() -> bool:
    """Whether what is being traced runs on a single device."""
    mesh = jax.sharding.get_abstract_mesh()
    return bool(mesh.empty or mesh.size == 1)


def over_batch(call: Callable[..., Any], split: tuple[bool, ...], summed: bool = False) -> Callable[..., Any]:
    """``call`` on each device's share of those arguments that are ``split`` along axis 0; what comes out is split too.

    ``summed``: what comes out is added up over the devices instead.
    """
    if on_one():
        return call
    whole, parts = PartitionSpec(), PartitionSpec("data")

    def share(*arguments: Any) -> Any:
        out = call(*arguments)
        return jax.lax.psum(out, "data") if summed else out

    specs = tuple(parts if each else whole for each in split)
    return jax.shard_map(share, in_specs=specs, out_specs=whole if summed else parts, check_vma=False)
