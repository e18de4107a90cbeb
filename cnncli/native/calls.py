"""The compiled kernels as differentiable JAX functions. ``takes_...`` says whether one is here and takes an array.

Each stands for the function of `cnncli.ops` that calls it. Maps are (B, H, W, C); kernels and biases are float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnncli.native import library
from cnncli.native.sharding import one_device, over_batch

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

    Map = Float[Array, "B H W C"]
    OutMap = Float[Array, "B out_H out_W F"]
    Kernel = Float[Array, "taps_H taps_W C/groups F"]

Pair = tuple[int, ...]  # one number for the height, one for the width
Pads = tuple[tuple[int, int], ...]  # (before, after) along each axis
Shapes = jax.ShapeDtypeStruct | tuple[jax.ShapeDtypeStruct, ...]
MAX_TAPS = 255  # max pooling stores the number of the tap that won in a byte
BETA = 0.75  # the only exponent of response normalization that the kernel has


class Convolution(NamedTuple):
    """How a convolution's kernel slides over a map."""

    stride: Pair
    dilation: Pair
    padding: Pads
    groups: int

    def attributes(self) -> dict[str, Any]:
        """As the kernels get it."""
        before, after = zip(*self.padding, strict=True)
        fields = self._asdict() | {"padding_before": before, "padding_after": after}
        del fields["padding"]
        return fields

    def out(self, side: Pair, taps: Pair) -> Pair:
        """Height and width of the output."""
        axes = zip(side, taps, self.stride, self.dilation, self.padding, strict=True)
        return tuple((n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, k, s, d, pad in axes)


class Pooling(NamedTuple):
    """How a pool's window slides over a map."""

    size: Pair
    stride: Pair
    padding: Pads

    def attributes(self) -> dict[str, Any]:
        """As the kernels get it; what is behind follows from the output's shape."""
        return {"size": self.size, "stride": self.stride, "padding_before": tuple(before for before, _ in self.padding)}

    def out(self, side: Pair) -> Pair:
        """Height and width of the output."""
        axes = zip(side, self.size, self.stride, self.padding, strict=True)
        return tuple((n + sum(pad) - k) // s + 1 for n, k, s, pad in axes)


def takes_convolution(x: Float[Array, "B *spatial C"], padding: Pads) -> bool:
    """Whether the convolution kernels are here and take ``x`` with this padding."""
    return min(map(min, padding)) >= 0 and library.takes(x)


def conv(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*taps C/groups F"],
    stride: Pair,
    padding: Pads,
    dilation: Pair,
    groups: int,
    bias: Float[Array, " F"] | None,
) -> Float[Array, "B *out F"]:
    """As ``ops.convolution.conv``, over one or two axes."""
    bias = jnp.zeros(0, jnp.float32) if bias is None else bias
    if len(stride) == 1:  # a map of one row
        geometry = Convolution((1, *stride), (1, *dilation), ((0, 0), padding[0]), groups)
        return convolution(x[:, None], kernel[None], bias, geometry)[:, 0]
    return convolution(x, kernel, bias, Convolution(stride, dilation, padding, groups))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def convolution(x: Map, kernel: Kernel, bias: Float[Array, " F or 0"], geometry: Convolution) -> OutMap:
    """Convolution and its gradients by oneDNN and kernels of our own. ``bias`` may be empty."""
    out, filters = geometry.out(x.shape[1:3], kernel.shape[:2]), kernel.shape[-1]
    return _call(
        "cnn_convolution",
        lambda batch: jax.ShapeDtypeStruct((batch, *out, filters), x.dtype),
        x, kernel, bias, whole=2, **geometry.attributes(),
    )  # fmt: skip


def input_gradient(grad_output: OutMap, kernel: Kernel, side: Pair, geometry: Convolution) -> Map:
    """The gradient of a convolution's input, of height and width ``side``."""
    channels = kernel.shape[2] * geometry.groups
    return _call(
        "cnn_convolution_input_gradient",
        lambda batch: jax.ShapeDtypeStruct((batch, *side, channels), grad_output.dtype),
        grad_output, kernel, whole=1, **geometry.attributes(),
    )  # fmt: skip


def weight_gradient(
    x: Map, grad_output: OutMap, kernel: tuple[int, ...], biases: int, geometry: Convolution
) -> tuple[Kernel, Float[Array, " biases"]]:
    """The gradients, in float32, of a kernel of shape ``kernel`` and of ``biases`` biases."""
    shapes = jax.ShapeDtypeStruct(kernel, jnp.float32), jax.ShapeDtypeStruct((biases,), jnp.float32)
    return _call(
        "cnn_convolution_weight_gradient",
        lambda batch: shapes, x, grad_output, summed=True, **geometry.attributes(),
    )  # fmt: skip


def _convolution_forward(x: Map, kernel: Kernel, bias: Array, geometry: Convolution) -> tuple[OutMap, tuple]:
    return convolution(x, kernel, bias, geometry), (x, kernel, bias.shape[0])


def _convolution_backward(geometry: Convolution, saved: tuple, grad_output: OutMap) -> tuple[Map, Kernel, Array]:
    x, kernel, biases = saved
    grad_input = input_gradient(grad_output, kernel, x.shape[1:3], geometry)
    return grad_input, *weight_gradient(x, grad_output, kernel.shape, biases, geometry)


convolution.defvjp(_convolution_forward, _convolution_backward)


def takes_max_pool(x: Float[Array, "B *spatial C"], size: Pair, padding: Pads) -> bool:
    """Whether the pooling kernel is here and takes such a map and window."""
    fits = all(0 <= before < taps and 0 <= after < taps for taps, (before, after) in zip(size, padding, strict=True))
    return fits and len(size) == 2 and 1 < math.prod(size) <= MAX_TAPS and library.takes(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: Map, geometry: Pooling) -> Float[Array, "B out_H out_W C"]:
    """As ``ops.pooling.max_pool``."""
    return _max_pool_forward(x, geometry)[0]


def _max_pool_forward(x: Map, geometry: Pooling) -> tuple[OutMap, tuple[UInt8[Array, "B out_H out_W C"], Pair]]:
    out, channels = geometry.out(x.shape[1:3]), x.shape[3]

    def shapes(batch: int) -> Shapes:
        shape = (batch, *out, channels)
        return jax.ShapeDtypeStruct(shape, x.dtype), jax.ShapeDtypeStruct(shape, jnp.uint8)

    y, winner = _call("cnn_max_pool", shapes, x, **geometry.attributes())
    return y, (winner, x.shape[1:3])


def _max_pool_backward(geometry: Pooling, saved: tuple, grad_output: OutMap) -> tuple[Map]:
    winner, side = saved
    channels = grad_output.shape[3]
    grad_input = _call(
        "cnn_max_pool_gradient",
        lambda batch: jax.ShapeDtypeStruct((batch, *side, channels), grad_output.dtype),
        grad_output, winner, **geometry.attributes(),
    )  # fmt: skip
    return (grad_input,)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def takes_batch_norm(x: Float[Array, "B ... C"]) -> bool:
    """Whether the batch normalization kernel is here and takes ``x``. Its statistics are those of one device."""
    return one_device() and library.takes(x)


def batch_norm(
    x: Float[Array, "B ... C"],
    scale: Float[Array, " C"] | None,
    bias: Float[Array, " C"] | None,
    epsilon: float,
    add: Float[Array, "B ... C"] | None,
    relu: bool,
) -> tuple[Float[Array, "B ... C"], Float[Array, " C"], Float[Array, " C"]]:
    """As ``ops.normalization.batch_norm``."""
    none = jnp.zeros(0, jnp.float32)
    scale, bias = none if scale is None else scale, none if bias is None else bias
    add = jnp.zeros(0, x.dtype) if add is None else add
    y, mean, var, _ = _batch_norm(x, scale, bias, add, epsilon, relu)
    return y, mean, var


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _batch_norm(x: Array, scale: Array, bias: Array, add: Array, epsilon: float, relu: bool) -> tuple[Array, ...]:
    """Output, mean, variance, and what rounding took from the mean."""
    channels = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    shapes = jax.ShapeDtypeStruct(x.shape, x.dtype), channels, channels, channels
    return tuple(_call("cnn_batch_norm", lambda batch: shapes, x, scale, bias, add, epsilon=epsilon, relu=relu))


def _batch_norm_forward(
    x: Array, scale: Array, bias: Array, add: Array, epsilon: float, relu: bool
) -> tuple[tuple[Array, ...], tuple]:
    y, *statistics = _batch_norm(x, scale, bias, add, epsilon, relu)
    saved = x, y if relu else jnp.zeros(0, x.dtype), scale, statistics, bias.shape, add.shape
    return (y, *statistics), saved


def _batch_norm_backward(epsilon: float, relu: bool, saved: tuple, grads: tuple[Array, ...]) -> tuple[Array, ...]:
    """The gradients of the statistics are left out: statistics are state, not trained."""
    x, y, scale, statistics, bias, add = saved
    shapes = (
        jax.ShapeDtypeStruct(x.shape, x.dtype),
        jax.ShapeDtypeStruct(add, x.dtype),
        jax.ShapeDtypeStruct(scale.shape, jnp.float32),
        jax.ShapeDtypeStruct(bias, jnp.float32),
    )
    arguments = x, y, grads[0], scale, *statistics
    grad_input, grad_add, grad_scale, grad_bias = _call(
        "cnn_batch_norm_gradient", lambda batch: shapes, *arguments, epsilon=epsilon, relu=relu
    )
    return grad_input, grad_scale, grad_bias, grad_add


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def takes_response_norm(x: Float[Array, "B ... C"], beta: float) -> bool:
    """Whether the response normalization kernel is here and takes such a map and exponent."""
    return beta == BETA and library.takes(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def response_norm(x: Float[Array, "B ... C"], n: int, k: float, alpha: float) -> Float[Array, "B ... C"]:
    """As ``ops.normalization.response_normalize`` with ``beta`` 0.75."""
    return _call("cnn_response_norm", _like(x), x, n=n, k=k, alpha=alpha)


def _response_norm_forward(x: Array, n: int, k: float, alpha: float) -> tuple[Array, Array]:
    return response_norm(x, n, k, alpha), x


def _response_norm_backward(n: int, k: float, alpha: float, x: Array, grad_output: Array) -> tuple[Array]:
    return (_call("cnn_response_norm_gradient", _like(x), x, grad_output, n=n, k=k, alpha=alpha),)


response_norm.defvjp(_response_norm_forward, _response_norm_backward)


def _like(x: Array) -> Callable[[int], Shapes]:
    return lambda batch: jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)


def _call(
    name: str,
    shapes: Callable[[int], Shapes],
    *arguments: Array,
    whole: int = 0,
    summed: bool = False,
    **attributes: Pair | int | float | bool,
) -> Any:
    """Call a kernel, on several devices on each one's part of the batch (see ``over_batch``).

    ``shapes``: of the results for a batch of that many examples. ``attributes``: what the kernel gets by name.
    """
    typed = {key: _attribute(value) for key, value in attributes.items()}

    def call(*parts: Array) -> Any:
        return jax.ffi.ffi_call(name, shapes(parts[0].shape[0]), vmap_method="sequential")(*parts, **typed)

    return over_batch(call, *arguments, whole=whole, summed=summed)


def _attribute(value: Pair | int | float | bool) -> Any:
    """As the C++ side declares it: int64, float32 or bool; a pair as an array of int64."""
    if isinstance(value, bool):
        return value
    if isinstance(value, tuple):
        return np.array(value, np.int64)
    return np.int64(value) if isinstance(value, int) else np.float32(value)
