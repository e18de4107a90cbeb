"""Dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key


def dropout(
    key: Key[Array, ""], x: Float[Array, "B ... C"], rate: float, per: Literal["unit", "channel", "example"]
) -> Float[Array, "B ... C"]:
    """Zeros with probability ``rate``, drawn for each value, each channel of an example, or each example."""
    ones = (1,) * (x.ndim - 2)
    shapes = {"unit": x.shape, "channel": (x.shape[0], *ones, x.shape[-1]), "example": (x.shape[0], *ones, 1)}
    kept = jax.random.bernoulli(key, 1 - rate, shapes[per])
    return jnp.where(kept, x / (1 - rate), jnp.zeros((), x.dtype))
