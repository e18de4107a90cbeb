"""The compiled kernels as differentiable JAX functions. ``takes_...`` says whether one is here and takes an array.

Each stands for the function of `cnncli.ops` that calls it. Kernels and biases of convolutions are float32.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import ShapeDtypeStruct

from cnncli.native import library
from cnncli.native.sharding import one_device, over_batch

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from cnncli.sliding import Sizes, Sliding

    Map = Float[Array, "B H W C"]
    OutMap = Float[Array, "B out_H out_W F"]
    Kernel = Float[Array, "taps_H taps_W C/groups F"]
    Bias = Float[Array, " F"]
    AnyMap = Float[Array, "B *spatial C"]
    PerChannel = Float[Array, " C"]

MAX_TAPS = 255  # max pooling stores the number of the tap that won in a byte
BETA = 0.75  # the only exponent of response normalization that the kernel has


def takes_convolution(x: AnyMap, sliding: Sliding) -> bool:
    """Whether the convolution kernels are here and take ``x`` with this padding."""
    return min(map(min, sliding.padding)) >= 0 and library.takes(x)


def conv(
    x: AnyMap, kernel: Float[Array, "*taps C/groups F"], sliding: Sliding, groups: int, bias: Bias | None
) -> Float[Array, "B *out F"]:
    """As ``ops.convolution.conv``, over one or two axes."""
    bias = jnp.zeros(0, jnp.float32) if bias is None else bias
    if len(sliding.size) == 2:
        return convolution(x, kernel, bias, sliding, groups)
    row = replace(  # a map of one row
        sliding,
        size=(1, *sliding.size),
        stride=(1, *sliding.stride),
        dilation=(1, *sliding.dilation),
        padding=((0, 0), *sliding.padding),
        out=(1, *sliding.out),
    )
    return convolution(x[:, None], kernel[None], bias, row, groups)[:, 0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def convolution(x: Map, kernel: Kernel, bias: Bias, sliding: Sliding, groups: int) -> OutMap:
    """Convolution and its gradients by oneDNN and kernels of our own. ``bias`` may be empty."""
    result = ShapeDtypeStruct((x.shape[0], *sliding.out, kernel.shape[-1]), x.dtype)
    return _call("cnn_convolution", result, x, kernel, bias, whole=2, **_convolution(sliding, groups))


def input_gradient(grad_output: OutMap, kernel: Kernel, side: Sizes, sliding: Sliding, groups: int) -> Map:
    """The gradient of a convolution's input, of height and width ``side``."""
    result = ShapeDtypeStruct((grad_output.shape[0], *side, kernel.shape[2] * groups), grad_output.dtype)
    attributes = _convolution(sliding, groups)
    return _call("cnn_convolution_input_gradient", result, grad_output, kernel, whole=1, **attributes)


def weight_gradient(
    x: Map, grad_output: OutMap, kernel: Sizes, bias: Sizes, sliding: Sliding, groups: int
) -> tuple[Kernel, Bias]:
    """The gradients, in float32, of a kernel and a bias of these shapes."""
    results = ShapeDtypeStruct(kernel, jnp.float32), ShapeDtypeStruct(bias, jnp.float32)
    attributes = _convolution(sliding, groups)
    return tuple(_call("cnn_convolution_weight_gradient", results, x, grad_output, summed=True, **attributes))


def _convolution(sliding: Sliding, groups: int) -> dict[str, Any]:
    """A convolution's attributes."""
    before, after = zip(*sliding.padding, strict=True)
    return {"stride": sliding.stride, "dilation": sliding.dilation, "padding_before": before, "padding_after": after,
            "groups": groups}  # fmt: skip


def _convolution_forward(x: Map, kernel: Kernel, bias: Bias, sliding: Sliding, groups: int) -> tuple[OutMap, tuple]:
    return convolution(x, kernel, bias, sliding, groups), (x, kernel, bias.shape)


def _convolution_backward(
    sliding: Sliding, groups: int, saved: tuple, grad_output: OutMap
) -> tuple[Map, Kernel, Bias]:
    x, kernel, bias = saved
    grad_input = input_gradient(grad_output, kernel, x.shape[1:3], sliding, groups)
    return grad_input, *weight_gradient(x, grad_output, kernel.shape, bias, sliding, groups)


convolution.defvjp(_convolution_forward, _convolution_backward)


def takes_max_pool(x: AnyMap, sliding: Sliding) -> bool:
    """Whether the pooling kernel is here and takes such a map and window."""
    taps = math.prod(sliding.size)
    fits = all(0 <= side < k for k, sides in zip(sliding.size, sliding.padding, strict=True) for side in sides)
    return fits and len(sliding.size) == 2 and 1 < taps <= MAX_TAPS and library.takes(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: Map, sliding: Sliding) -> OutMap:
    """As ``ops.pooling.max_pool``."""
    return _max_pool_forward(x, sliding)[0]


def _max_pool_forward(x: Map, sliding: Sliding) -> tuple[OutMap, tuple]:
    out = (x.shape[0], *sliding.out, x.shape[3])
    results = ShapeDtypeStruct(out, x.dtype), ShapeDtypeStruct(out, jnp.uint8)
    y, winner = _call("cnn_max_pool", results, x, **_pooling(sliding))
    return y, (winner, x.shape)


def _max_pool_backward(sliding: Sliding, saved: tuple, grad_output: OutMap) -> tuple[Map]:
    winner, shape = saved
    result = ShapeDtypeStruct(shape, grad_output.dtype)
    return (_call("cnn_max_pool_gradient", result, grad_output, winner, **_pooling(sliding)),)


def _pooling(sliding: Sliding) -> dict[str, Any]:
    """A pool's attributes. The padding behind follows from the output's size."""
    before = tuple(first for first, _ in sliding.padding)
    return {"size": sliding.size, "stride": sliding.stride, "padding_before": before}


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def takes_batch_norm(x: AnyMap) -> bool:
    """Whether the batch normalization kernel is here and takes ``x``. Its statistics are those of one device."""
    return one_device() and library.takes(x)


def batch_norm(
    x: AnyMap, scale: PerChannel | None, bias: PerChannel | None, epsilon: float, add: AnyMap | None, relu: bool
) -> tuple[AnyMap, PerChannel, PerChannel]:
    """As ``ops.normalization.batch_norm``."""
    none = jnp.zeros(0, jnp.float32)
    scale, bias = none if scale is None else scale, none if bias is None else bias
    add = jnp.zeros(0, x.dtype) if add is None else add
    y, mean, var, _ = _batch_norm(x, scale, bias, add, epsilon, relu)
    return y, mean, var


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _batch_norm(x: Array, scale: Array, bias: Array, add: Array, epsilon: float, relu: bool) -> tuple[Array, ...]:
    """Output, mean, variance, and what rounding took from the mean."""
    channels = ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    results = ShapeDtypeStruct(x.shape, x.dtype), channels, channels, channels
    return tuple(_call("cnn_batch_norm", results, x, scale, bias, add, epsilon=epsilon, relu=relu))


def _batch_norm_forward(
    x: Array, scale: Array, bias: Array, add: Array, epsilon: float, relu: bool
) -> tuple[tuple[Array, ...], tuple]:
    y, *statistics = _batch_norm(x, scale, bias, add, epsilon, relu)
    saved = x, y if relu else jnp.zeros(0, x.dtype), scale, statistics, bias.shape, add.shape
    return (y, *statistics), saved


def _batch_norm_backward(epsilon: float, relu: bool, saved: tuple, grads: tuple[Array, ...]) -> tuple[Array, ...]:
    """The gradients of the statistics are left out: statistics are state, not trained."""
    x, y, scale, statistics, bias, add = saved
    results = [ShapeDtypeStruct(shape, x.dtype) for shape in (x.shape, add)]
    results += [ShapeDtypeStruct(shape, jnp.float32) for shape in (scale.shape, bias)]
    arguments = x, y, grads[0], scale, *statistics
    gradients = _call("cnn_batch_norm_gradient", results, *arguments, epsilon=epsilon, relu=relu)
    grad_input, grad_add, grad_scale, grad_bias = gradients
    return grad_input, grad_scale, grad_bias, grad_add


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def takes_response_norm(x: AnyMap, beta: float) -> bool:
    """Whether the response normalization kernel is here and takes such a map and exponent."""
    return beta == BETA and library.takes(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def response_norm(x: AnyMap, n: int, k: float, alpha: float) -> AnyMap:
    """As ``ops.normalization.response_normalize`` with ``beta`` 0.75."""
    return _call("cnn_response_norm", ShapeDtypeStruct(x.shape, x.dtype), x, n=n, k=k, alpha=alpha)


def _response_norm_forward(x: AnyMap, n: int, k: float, alpha: float) -> tuple[AnyMap, AnyMap]:
    return response_norm(x, n, k, alpha), x


def _response_norm_backward(n: int, k: float, alpha: float, x: AnyMap, grad_output: AnyMap) -> tuple[AnyMap]:
    result = ShapeDtypeStruct(x.shape, x.dtype)
    return (_call("cnn_response_norm_gradient", result, x, grad_output, n=n, k=k, alpha=alpha),)


response_norm.defvjp(_response_norm_forward, _response_norm_backward)


def _call(name: str, results: Any, *arguments: Array, whole: int = 0, summed: bool = False, **attributes: Any) -> Any:
    """Call a kernel, on several devices with each device's part of the batch (see ``over_batch``).

    ``results``: shapes and types for the whole batch, one or several. ``attributes``: what the kernel gets by name.
    """
    typed = {key: _attribute(value) for key, value in attributes.items()}

    def on_each(*parts: Array) -> Any:
        batch, mine = parts[0].shape[0], results
        if not summed and batch < arguments[0].shape[0]:
            mine = jax.tree.map(lambda each: ShapeDtypeStruct((batch, *each.shape[1:]), each.dtype), results)
        return jax.ffi.ffi_call(name, mine, vmap_method="sequential")(*parts, **typed)

    return over_batch(on_each, *arguments, whole=whole, summed=summed)


def _attribute(value: Sizes | int | float | bool) -> Any:
    """As the C++ side declares it: int64, float32 or bool; one number per axis as an array of int64."""
    if isinstance(value, bool):
        return value
    if isinstance(value, tuple):
        return np.array(value, np.int64)
    return np.int64(value) if isinstance(value, int) else np.float32(value)
