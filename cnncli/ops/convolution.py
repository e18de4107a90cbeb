"""Convolution over one or two spatial axes, channels last, and its relatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import jax.numpy as jnp
from jax import lax

from cnncli.native import calls
from cnncli.ops.channels import add_bias
from cnncli.ops.windows import pad_with, taps

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from cnncli.sliding import Pads, Sliding

    Map = Float[Array, "B *spatial C"]
    OutMap = Float[Array, "B *out F"]
    Kernel = Float[Array, "*taps C/groups F"]
    Bias = Float[Array, " F"]

_LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}


def conv(x: Map, kernel: Kernel, sliding: Sliding, groups: int = 1, bias: Bias | None = None) -> OutMap:
    """Cross-correlate ``x`` with ``kernel`` and add ``bias``."""
    if calls.takes_convolution(x, sliding):
        return calls.conv(x, kernel, sliding, groups, bias)
    x, sliding = _without_unused_pixels(x, sliding)
    y = lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        sliding.stride,
        sliding.padding,
        rhs_dilation=sliding.dilation,
        dimension_numbers=_LAYOUT[len(sliding.size)],
        feature_group_count=groups,
    )
    return add_bias(y, bias)


def conv_transpose(x: Map, kernel: Kernel, sliding: Sliding, groups: int = 1, bias: Bias | None = None) -> OutMap:
    """Each input adds ``kernel`` times its value to the output, the next one ``stride`` further on; plus ``bias``.

    The padding is cut off the output; where it is negative, zeros are added.
    """
    ends = [span - 1 for span in sliding.spans]
    kept = [tuple(min(max(cut, 0), end) for cut in cuts) for end, cuts in zip(ends, sliding.padding, strict=True)]
    y = lax.conv_general_dilated(
        x,
        flip(kernel).astype(x.dtype),
        (1,) * len(ends),
        [(end - before, end - after) for end, (before, after) in zip(ends, kept, strict=True)],
        lhs_dilation=sliding.stride,
        rhs_dilation=sliding.dilation,
        dimension_numbers=_LAYOUT[len(ends)],
        feature_group_count=groups,
    )
    y = _extend(y, [(k[0] - p[0], k[1] - p[1]) for k, p in zip(kept, sliding.padding, strict=True)])
    return add_bias(y, bias)


def _without_unused_pixels(x: Map, sliding: Sliding) -> tuple[Map, Sliding]:
    """The same convolution, without pixels behind the last window and without windows of padding alone.

    XLA's gradient of any other can read memory outside the map, or end the process (jaxlib 0.10.2, CPU).
    """
    kept, rest = [], []
    axes = zip(x.shape[1:-1], sliding.spans, sliding.stride, sliding.padding, strict=True)
    for n, span, stride, (before, after) in axes:
        after -= (n + before + after - span) % stride
        kept.append((min(before, span - 1), min(max(after, 0), span - 1)))
        rest.append((before - kept[-1][0], after - kept[-1][1]))
    return _extend(x, rest), replace(sliding, padding=tuple(kept))


def _extend(x: Map, by: Sequence[tuple[int, int]]) -> Float[Array, "B *extended C"]:
    """``x`` with zeros around it; cropped where ``by`` is negative."""
    if not any(map(any, by)):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pair, 0) for pair in by), (0, 0, 0)])


def local_conv(
    x: Map, kernel: Float[Array, "*out_and_taps C F"], sliding: Sliding, bias: Float[Array, "*out F"] | None = None
) -> OutMap:
    """As ``conv``, with a kernel and a bias for each position: ``kernel`` is (*out, *taps, C, F)."""
    padded = pad_with(x.astype(jnp.float32), sliding.padding, 0)  # gradients of overlapping windows are summed in it
    windows = list(taps(padded, sliding.size, sliding.stride, sliding.dilation))
    patches = jnp.stack(windows, axis=-2).astype(x.dtype)
    kernel = kernel.astype(x.dtype).reshape(*sliding.out, -1, *kernel.shape[-2:])
    return add_bias(jnp.einsum("b...tc,...tcf->b...f", patches, kernel), bias)  # patches: (B, *out, taps, C)


def connect(
    kernel: Float[Array, "*taps 1 n"], connections: Sequence[Sequence[int]], channels: int
) -> Float[Array, "*taps channels F"]:
    """Kernels of single connections as one kernel of all channels and filters, zero where nothing connects."""
    inputs = [channel for each in connections for channel in each]
    filters = [filter for filter, each in enumerate(connections) for _ in each]
    full = jnp.zeros((*kernel.shape[:-2], channels, len(connections)), kernel.dtype)
    return full.at[..., jnp.array(inputs), jnp.array(filters)].set(kernel[..., 0, :])


def flip(kernel: Kernel) -> Kernel:
    """The kernel rotated by 180 degrees: every spatial axis reversed."""
    return kernel[(slice(None, None, -1),) * (kernel.ndim - 2)]


def pad_spatial(x: Map, padding: Pads, mode: Literal["reflect", "edge"]) -> Float[Array, "B *padded C"]:
    """Extend the spatial axes by reflection or by repeating the edge."""
    wide = x.astype(jnp.float32)  # the gradients of a pixel's copies are summed in float32
    return jnp.pad(wide, ((0, 0), *padding, (0, 0)), mode=mode).astype(x.dtype)
