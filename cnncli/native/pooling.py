"""Maximum pooling and its gradient, as a differentiable JAX function."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnncli.native import library
from cnncli.native.devices import over_batch

Pads = tuple[tuple[int, int], ...]
MOST_TAPS = 255  # a tap is noted in a byte


class Geometry(NamedTuple):
    """The windows: along height and width."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pads


def takes(x: Array, size: tuple[int, ...], padding: Pads) -> bool:
    """Whether the kernel is here and takes such a map and windows."""
    fits = all(0 <= before < taps and 0 <= after < taps for taps, (before, after) in zip(size, padding, strict=True))
    return fits and len(size) == 2 and 1 < math.prod(size) <= MOST_TAPS and library.takes(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: Array, geometry: Geometry) -> Array:
    """As ``ops.pooling.max_pool``, of ``x`` (B, H, W, C)."""
    return _forward(x, geometry)[0]


def _forward(x: Array, geometry: Geometry) -> tuple[Array, tuple[Array, tuple[int, ...]]]:
    sides = zip(x.shape[1:3], geometry.size, geometry.stride, geometry.padding, strict=True)
    out = [(n + sum(pad) - k) // s + 1 for n, k, s, pad in sides]

    def call(x: Array) -> Any:
        shape = (x.shape[0], *out, x.shape[3])
        return _call("cnn_max_pool", [jax.ShapeDtypeStruct(shape, x.dtype), jax.ShapeDtypeStruct(shape, jnp.uint8)],
                     geometry)(x)  # fmt: skip

    y, winner = over_batch(call, (True,))(x)
    return y, (winner, x.shape[1:3])


def _backward(geometry: Geometry, kept: tuple[Array, tuple[int, ...]], slope: Array) -> tuple[Array]:
    winner, side = kept

    def call(slope: Array, winner: Array) -> Array:
        shape = jax.ShapeDtypeStruct((slope.shape[0], *side, slope.shape[3]), slope.dtype)
        return _call("cnn_max_pool_gradient", shape, geometry)(slope, winner)

    return (over_batch(call, (True, True))(slope, winner),)


max_pool.defvjp(_forward, _backward)


def _call(name: str, shapes: Any, geometry: Geometry) -> Any:
    numbers = (*geometry.size, *geometry.stride, *(before for before, _ in geometry.padding))
    call = jax.ffi.ffi_call(name, shapes, vmap_method="sequential")
    return functools.partial(call, geometry=np.array(numbers, np.int64))
