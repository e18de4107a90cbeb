"""First values of weights, in float32, and dropout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key

Shape = tuple[int, ...]
TRUNCATED_STD = 0.87962566103423978  # of a unit normal distribution cut at -2 and 2


def constant(key: Key[Array, ""], shape: Shape, value: float) -> Float[Array, "*shape"]:
    """``value`` everywhere."""
    return jnp.full(shape, value, jnp.float32)


def zeros(key: Key[Array, ""], shape: Shape) -> Float[Array, "*shape"]:
    """All zero."""
    return jnp.zeros(shape, jnp.float32)


def ones(key: Key[Array, ""], shape: Shape) -> Float[Array, "*shape"]:
    """All one."""
    return jnp.ones(shape, jnp.float32)


def array(values: Any) -> Float[Array, "*shape"]:
    """Nested tuples of numbers."""
    return jnp.asarray(values, jnp.float32)


def in_each_channel(taps: list[float], shape: Shape) -> Float[Array, "*shape"]:
    """(*size, C, filters): ``taps``, in reading order, where filter i meets channel i mod C, and zeros elsewhere."""
    *size, channels, filters = shape
    meet = (jnp.arange(filters) % channels)[None, :] == jnp.arange(channels)[:, None]  # (C, filters)
    pattern = array(taps).reshape(*size, 1, 1)
    return pattern * meet.astype(jnp.float32).reshape((1,) * len(size) + meet.shape)


def normal(key: Key[Array, ""], shape: Shape, std: float) -> Float[Array, "*shape"]:
    """N(0, std^2)."""
    return jax.random.normal(key, shape, jnp.float32) * std


def truncated_normal(key: Key[Array, ""], shape: Shape, std: float) -> Float[Array, "*shape"]:
    """Normal, cut at two standard deviations, then scaled to the standard deviation ``std``."""
    return jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32) * (std / TRUNCATED_STD)


def uniform(key: Key[Array, ""], shape: Shape, bound: float) -> Float[Array, "*shape"]:
    """U(-bound, bound)."""
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def orthogonal(key: Key[Array, ""], shape: Shape, scale: float) -> Float[Array, "*shape"]:
    """A matrix (all axes but the last, the last) with orthogonal rows or columns of length ``scale``, reshaped."""
    matrix = (math.prod(shape[:-1]), shape[-1])
    return jax.nn.initializers.orthogonal(scale)(key, matrix, jnp.float32).reshape(shape)


def dropout(
    key: Key[Array, ""], x: Float[Array, "B ... C"], rate: float, per: Literal["unit", "channel", "example"]
) -> Float[Array, "B ... C"]:
    """Zeros with probability ``rate``, drawn for each value, each channel of an example, or each example."""
    ones = (1,) * (x.ndim - 2)
    shapes = {"unit": x.shape, "channel": (x.shape[0], *ones, x.shape[-1]), "example": (x.shape[0], *ones, 1)}
    kept = jax.random.bernoulli(key, 1 - rate, shapes[per])
    return jnp.where(kept, x / (1 - rate), jnp.zeros((), x.dtype))
