"""Layers that enlarge a map."""

import math
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, Window, times
from cnncli.layers.conv import Kernels, check_groups
from cnncli.layers.geometry import Extent, Extra, Growing, Padding, grow, grown, slide
from cnncli.layers.pool import MaxPool
from cnncli.layers.shape import Join


class ConvTranspose(Kernels):
    """Transposed convolution: each input stamps the kernel, weighted by its value, every ``stride`` pixels; bias added.

    Input (H, W, C) -> output (H', W', filters), H' = (H - 1)*stride - padding + dilation*(kernel-1) + 1 +
    output_padding; with padding: same, H' = H * stride. Sequences alike. It is the gradient of the convolution with
    these settings. Kernel (kernel, kernel, C / groups, filters).
    Source: Zeiler et al. 2010 (deconvolutional networks); Long, Shelhamer and Darrell 2015.

    Example: `conv_transpose: {filters: 3, kernel: 2, stride: 2}`  (5, 5, 6) -> (10, 10, 3), 75 parameters
    """

    words: ClassVar[tuple[str, ...]] = (
        "deconv", "deconvolution", "conv2d_transpose", "conv_transpose2d", "convtranspose2d", "upconv",
    )  # fmt: skip

    stride: Extent = Field(1, description="pixels between neighbouring stamps")
    padding: Padding = Field("valid", description="the reverse convolution's, cut off the edges: valid: nothing; same: "
                             "out = in * stride; a number; [h, w]; [[top, bottom], [left, right]]")  # fmt: skip
    output_padding: Extra = Field(0, description="pixels added behind, to tell sizes apart that stride makes equal")
    groups: PositiveInt = Field(1, description="input and output channels are split into this many separate parts")

    def growing(self, shape: Shape) -> Growing:
        """The stamps over an input."""
        return grow(shape, self.kernel, self.stride, self.padding, self.dilation, self.output_padding)

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', filters)."""
        check_groups(self.groups, shape[-1], self.filters)
        self.weights(shape)  # a fixed filter fits the kernel
        return (*self.growing(shape).out, self.filters)

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """kernel (*taps, C / groups, filters), bias (filters,)."""
        growing, channels = self.growing(shape), shape[-1] // self.groups
        taps = math.prod(growing.size)
        seen = max(taps // math.prod(growing.stride), 1)  # inputs of one channel that meet in an output
        fans = seen * channels, taps * self.filters // self.groups
        return self.declare((*growing.size, channels, self.filters), (self.filters,), fans)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', filters)."""
        from cnncli.ops.convolution import conv_transpose

        growing, kernel = self.growing(x.shape[1:]), variables.array("kernel")
        y = conv_transpose(x, kernel, growing.stride, growing.padding, growing.dilation, self.groups)
        return self.biased(variables, y), {}

    def macs(self, shape: Shape) -> int:
        """Inputs of a channel times the kernel's weights, cut edges included."""
        return math.prod(shape[:-1]) * self.weights(shape)["kernel"].size

    def window(self, shape: Shape) -> Window:
        """The stamps that reach an output."""
        return self.growing(shape).window()


class Upsample(Layer):
    """Enlarges a map ``scale`` times, by repeating its pixels or by bilinear interpolation between their centres.

    Input (H, W, C) -> output (scale*H, scale*W, C); sequences alike.

    Example: `upsample: 2`  (7, 7, 6) -> (14, 14, 6), 0 parameters
    """

    main: ClassVar[str | None] = "scale"
    words: ClassVar[tuple[str, ...]] = ("upsampling2d", "upsampling", "interpolate", "resize", "upsample_nearest")

    scale: Extent = Field(2, description="outputs per input along each axis")
    method: Literal["repeat", "bilinear"] = Field("repeat", description="repeat: blocks; bilinear: smooth")

    def _scales(self, shape: Shape) -> tuple[int, ...]:
        return slide(shape, 1, self.scale).stride

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (scale*H, scale*W, C)."""
        return (*(n * s for n, s in zip(shape, self._scales(shape), strict=False)), shape[-1])

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, scale*H, scale*W, C)."""
        from cnncli.ops.upsampling import bilinear, repeat

        return (repeat if self.method == "repeat" else bilinear)(x, self._scales(x.shape[1:])), {}

    def macs(self, shape: Shape) -> int:
        """Bilinear: two per output and axis."""
        return 0 if self.method == "repeat" else 2 * (len(shape) - 1) * math.prod(self.out_shape(shape))

    def window(self, shape: Shape) -> Window:
        """One pixel, or the two neighbours along each axis."""
        scales = self._scales(shape)
        if self.method == "repeat":
            return grown(scales, scales, (0,) * len(scales))
        one = (1,) * len(scales)
        size = tuple(min(2, s) for s in scales)
        before = tuple(Fraction(3 * s - 2, 2 * s) if s > 1 else Fraction(0) for s in scales)
        return Window(size, tuple(Fraction(1, s) for s in scales), one, before)


class MaxUnpool(Layer):
    """Max unpooling: each value goes back to where the named `max_pool` found its maximum; zeros elsewhere.

    Input (H', W', C), as that pool's output -> output (H, W, C), as its input. Where overlapping windows share a
    maximum, the mean of their values. Source: Zeiler and Fergus 2014; Noh, Hong and Han 2015.

    Example: `max_unpool: max_pool1`  (14, 14, 6), (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    main: ClassVar[str | None] = "pool"
    words: ClassVar[tuple[str, ...]] = ("unpool", "maxunpool2d", "max_unpool2d", "unpooling")

    pool: str = Field(description="the name of an earlier max_pool", min_length=1)

    def partner(self) -> str:
        """The pool."""
        return self.pool

    def bind(self, partner: Layer) -> "BoundMaxUnpool":
        """With the pool's window."""
        if not isinstance(partner, MaxPool):
            raise ShapeError(f"max_unpool undoes a max_pool, '{self.pool}' is of kind {partner.kind}",
                             "Give an earlier max_pool a name: and write it here.")  # fmt: skip
        return BoundMaxUnpool(pool=partner)


class BoundMaxUnpool(Join):
    """A `max_unpool` that knows its pool: a join of its input and the pool's own input."""

    kind: ClassVar[str] = "max_unpool"

    pool: MaxPool = Field(description="the pool to undo")

    def out_shape(self, shape: tuple[Shape, ...]) -> Shape:
        """(H', W', C), (H, W, C) -> (H, W, C)."""
        x, pooled = shape
        expected = self.pool.out_shape(pooled)
        if x != expected:
            raise ShapeError(f"the pool made {times(expected)} of {times(pooled)}, {times(x)} cannot go back its way",
                             "Give max_unpool the shape that its max_pool put out.")  # fmt: skip
        return pooled

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H', W', C), (B, H, W, C) -> (B, H, W, C)."""
        from cnncli.ops.pooling import max_unpool

        values, pooled = x
        sliding = self.pool.sliding(pooled.shape[1:])
        return max_unpool(values, pooled, sliding.size, sliding.stride, sliding.padding), {}

    def window(self, shape: tuple[Shape, ...]) -> Window:
        """The pooled values that may land on a pixel."""
        sliding = self.pool.sliding(shape[1])
        return grown(sliding.size, sliding.stride, [before for before, _ in sliding.padding])
