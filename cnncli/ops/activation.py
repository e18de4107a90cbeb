"""Activations: element by element, but for those over channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import lax
from jax.nn import elu, gelu, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, relu, selu, sigmoid, softplus
from jax.nn import softmax as _softmax
from jax.numpy import tanh

from cnncli.ops.channels import per_channel

if TYPE_CHECKING:
    from jaxtyping import Array, Float

__all__ = [
    "elu", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh", "leaky_relu", "maxout", "prelu", "relu", "selu",
    "sigmoid", "softmax", "softplus", "step", "swish", "tanh",
]  # fmt: skip


def step(x: Float[Array, "*shape"], low: float, straight_through: bool) -> Float[Array, "*shape"]:
    """1 where ``x`` >= 0, else ``low``. The gradient is zero or, straight through, that of clip(x, -1, 1)."""
    y = lax.stop_gradient(jnp.where(x >= 0, jnp.ones_like(x), jnp.full_like(x, low)))
    if not straight_through:
        return y
    clipped = jnp.clip(x, -1, 1)
    return y + clipped - lax.stop_gradient(clipped)


def prelu(x: Float[Array, "B ... C"], slope: Float[Array, " C"]) -> Float[Array, "B ... C"]:
    """``x`` where it is positive, else ``slope * x``."""
    return jnp.where(x > 0, x, per_channel(slope, x) * x)


def swish(x: Float[Array, "*shape"], beta: float) -> Float[Array, "*shape"]:
    """``x * sigmoid(beta x)``."""
    return x * sigmoid(beta * x)


def softmax(x: Float[Array, "B ... C"]) -> Float[Array, "B ... C"]:
    """Probabilities over the channels, computed in float32."""
    return _softmax(x.astype(jnp.float32), axis=-1).astype(x.dtype)


def maxout(x: Float[Array, "B ... C"], pieces: int) -> Float[Array, "B ... C/pieces"]:
    """The largest of every ``pieces`` neighbouring channels."""
    return x.reshape(*x.shape[:-1], -1, pieces).max(-1)
