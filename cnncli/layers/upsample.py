"""Layers that enlarge a map."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Window, times
from cnncli.layers.conv import KernelLayer, check_groups
from cnncli.layers.joins import Join
from cnncli.layers.pool import MaxPool
from cnncli.layers.sizes import Extent, ExtentOrZero, Padding, slide, slide_transposed
from cnncli.lazy import lazy_imports
from cnncli.sliding import Sliding

with lazy_imports():
    from cnncli.ops import convolution, pooling, upsampling


class ConvTranspose(KernelLayer):
    """Transposed convolution: each input stamps the kernel, weighted by its value, every ``stride`` pixels; bias added.

    Input (H, W, C) -> output (H', W', filters), H' = (H - 1)*stride - padding + dilation*(kernel-1) + 1 +
    output_padding; with padding: same, H' = H * stride. Sequences alike. It is the gradient of the convolution with
    these settings. Kernel (kernel, kernel, C / groups, filters).
    Source: Zeiler et al. 2010 (deconvolutional networks); Long, Shelhamer and Darrell 2015.

    Example: `conv_transpose: {filters: 3, kernel: 2, stride: 2}`  (5, 5, 6) -> (10, 10, 3), 75 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = (
        "deconv", "deconvolution", "conv2d_transpose", "conv_transpose2d", "convtranspose2d", "upconv",
    )  # fmt: skip

    stride: Extent = Field(1, description="pixels between neighbouring stamps")
    padding: Padding = Field("valid", description="the reverse convolution's, cut off the edges: valid: nothing; same: "
                             "out = in * stride; a number; [h, w]; [[top, bottom], [left, right]]")  # fmt: skip
    output_padding: ExtentOrZero = Field(
        0, description="pixels added behind, to tell sizes apart that stride makes equal"
    )
    groups: PositiveInt = Field(1, description="input and output channels are split into this many separate parts")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        check_groups(self.groups, shape[-1], self.filters)
        more = self.output_padding
        sliding = slide_transposed(shape, self.kernel, self.stride, self.padding, self.dilation, more)
        channels, taps = shape[-1] // self.groups, math.prod(sliding.size)
        seen = max(taps // math.prod(sliding.stride), 1)  # inputs of one channel that meet in an output
        fans = seen * channels, taps * self.filters // self.groups
        kernel = (*sliding.size, channels, self.filters)
        # Products at the edges that the padding cuts off count too.
        return self.resolved(sliding, kernel, (self.filters,), fans, shape[:-1])

    @override
    def forward(self, call: Call, x: Array) -> Array:
        kernel, bias = call.array("kernel"), call.optional("bias")
        return convolution.conv_transpose(x, kernel, call.sliding, self.groups, bias)


class Upsample(Layer):
    """Enlarges a map ``scale`` times, by repeating its pixels or by bilinear interpolation between their centres.

    Input (H, W, C) -> output (scale*H, scale*W, C); sequences alike.

    Example: `upsample: 2`  (7, 7, 6) -> (14, 14, 6), 0 parameters
    """

    shorthand: ClassVar[str | None] = "scale"
    aliases: ClassVar[tuple[str, ...]] = ("upsampling2d", "upsampling", "interpolate", "resize", "upsample_nearest")

    scale: Extent = Field(2, description="outputs per input along each axis")
    method: Literal["repeat", "bilinear"] = Field("repeat", description="repeat: blocks; bilinear: smooth")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        scales = slide(shape, 1, self.scale).stride
        ones, none = (1,) * len(scales), ((0, 0),) * len(scales)
        out = tuple(n * s for n, s in zip(shape, scales, strict=False))
        sliding = Sliding(scales, scales, ones, none, out, transposed=True)
        if self.method == "repeat":
            return Resolved((*out, shape[-1]), Window.sliding(sliding), sliding=sliding)
        # Each output is between two neighbouring inputs along each axis.
        size, stride = tuple(min(2, s) for s in scales), tuple(Fraction(1, s) for s in scales)
        before = tuple(Fraction(3 * s - 2, 2 * s) if s > 1 else Fraction(0) for s in scales)
        macs = 2 * len(scales) * math.prod(out) * shape[-1]
        return Resolved((*out, shape[-1]), Window(size, stride, ones, before), macs=macs, sliding=sliding)

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return (upsampling.repeat if self.method == "repeat" else upsampling.bilinear)(x, call.sliding.stride)


class MaxUnpool(Layer):
    """Max unpooling: each value goes back to where the named `max_pool` found its maximum; zeros elsewhere.

    Input (H', W', C), as that pool's output -> output (H, W, C), as its input. Where overlapping windows share a
    maximum, the mean of their values. Source: Zeiler and Fergus 2014; Noh, Hong and Han 2015.

    Example: `max_unpool: max_pool1`  (14, 14, 6), (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    shorthand: ClassVar[str | None] = "pool"
    aliases: ClassVar[tuple[str, ...]] = ("unpool", "maxunpool2d", "max_unpool2d", "unpooling")

    pool: str = Field(description="the name of an earlier max_pool", min_length=1)

    @override
    def partner(self) -> str:
        return self.pool

    @override
    def bind(self, partner: Layer) -> BoundMaxUnpool:
        if not isinstance(partner, MaxPool):
            raise ShapeError(f"max_unpool undoes a max_pool, '{self.pool}' is of kind {partner.kind}",
                             "Give an earlier max_pool a name: and write it here.")  # fmt: skip
        return BoundMaxUnpool(pool=partner)


class BoundMaxUnpool(Join):
    """A `max_unpool` that knows its pool: a join of its input and the pool's own input."""

    kind: ClassVar[str] = "max_unpool"

    pool: MaxPool = Field(description="the pool to undo")

    @override
    def resolve(self, *shapes: Shape) -> Resolved:
        shape, pooled = shapes
        pool = self.pool.resolve(pooled)
        if shape != pool.shape:
            raise ShapeError(
                f"the pool made {times(pool.shape)} of {times(pooled)}, {times(shape)} cannot go back its way",
                "Give max_unpool the shape that its max_pool put out.",
            )
        sliding = replace(pool.sliding, out=pooled[:-1], transposed=True)
        return Resolved(pooled, Window.sliding(sliding), sliding=sliding)

    @override
    def forward(self, call: Call, *inputs: Array) -> Array:
        x, pooled = inputs
        return pooling.max_unpool(x, pooled, call.sliding)
