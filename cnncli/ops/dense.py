"""Products and distances with vectors of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from cnncli.ops.channels import add_bias

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def fully_connected(
    x: Float[Array, "B ..."], kernel: Float[Array, "n units"], bias: Float[Array, " units"] | None
) -> Float[Array, "B units"]:
    """``x`` as vectors of n values, times ``kernel``, plus ``bias``."""
    return add_bias(x.reshape(x.shape[0], -1) @ kernel.astype(x.dtype), bias)


def squared_distances(x: Float[Array, "B ..."], codes: Float[Array, "units n"]) -> Float[Array, "B units"]:
    """The squared distance of ``x``, as a vector, to each row of ``codes``, summed in float32."""
    difference = x.reshape(x.shape[0], 1, -1).astype(jnp.float32) - codes[None]  # (B, units, n)
    return jnp.square(difference).sum(-1).astype(x.dtype)
