"""Convolutions."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, Window, times
from cnncli.layers.geometry import Extent, Padding, Sliding, slide
from cnncli.layers.initializers import HeNormal, Init, Zeros


class Conv(Layer):
    """Convolution over one or two axes (cross-correlation, as in every framework), bias added.

    Input (H, W, C) -> output (H', W', filters), H' = floor((H + padding - dilation*(kernel-1) - 1) / stride) + 1;
    sequences (length, C) alike. Kernel (kernel, kernel, C / groups, filters).
    Source: LeCun et al. 1998; groups: Krizhevsky et al. 2012; dilation: Yu and Koltun 2016.

    Example: `conv: {filters: 6, kernel: 5}`  (32, 32, 1) -> (28, 28, 6), 156 parameters
    """

    main: ClassVar[str | None] = "filters"
    words: ClassVar[tuple[str, ...]] = ("conv2d", "conv1d", "convolution", "convolution2d", "conv2", "convolutional")

    filters: PositiveInt = Field(le=1 << 20, description="number of kernels, which is the number of output channels")
    kernel: Extent = Field(3, description="taps along each axis")
    stride: Extent = Field(1, description="pixels between neighbouring outputs")
    padding: Padding = Field("valid", description="valid: none; same: out = ceil(in / stride); full: out = in + kernel "
                             "- 1; a number; [h, w]; [[top, bottom], [left, right]]")  # fmt: skip
    padding_mode: Literal["zeros", "reflect", "edge"] = Field("zeros", description="what the padding holds")
    dilation: Extent = Field(1, description="pixels between neighbouring taps")
    groups: PositiveInt = Field(1, description="input and output channels are split into this many separate halves")
    bias: bool = Field(True, description="add a trained number per filter")
    flip: bool = Field(False, description="rotate the kernel by 180 degrees first: convolution as mathematics has it")
    trainable: bool = Field(True, description="false: the kernel and bias stay as they start")
    kernel_init: Init = Field(HeNormal(), alias="init", description="how the kernel starts")
    bias_init: Init = Field(Zeros(), description="how the bias starts")

    def sliding(self, shape: Shape) -> Sliding:
        """The windows over an input."""
        return slide(shape, self.kernel, self.stride, self.padding, self.dilation)

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', filters)."""
        sliding = self.sliding(shape)
        for count, what in ((shape[-1], "input channels"), (self.filters, "filters")):
            if count % self.groups:
                divisors = [g for g in range(1, self.groups) if shape[-1] % g == 0 and self.filters % g == 0]
                raise ShapeError(f"groups {self.groups} does not divide the {count} {what}",
                                 f"Try groups: {divisors[-1] if divisors else 1}.")  # fmt: skip
        if self.padding_mode == "reflect" and any(
            side >= n for n, sides in zip(shape, sliding.padding, strict=False) for side in sides
        ):
            raise ShapeError(f"cannot reflect {max(map(max, sliding.padding))} pixels of a {times(shape)} input",
                             "Try padding_mode: edge.")  # fmt: skip
        return (*sliding.out, self.filters)

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """kernel (*taps, C / groups, filters), bias (filters,)."""
        taps = self.sliding(shape).size
        kernel = (*taps, shape[-1] // self.groups, self.filters)
        fans = math.prod(kernel[:-1]), math.prod(taps) * self.filters // self.groups
        weights = {"kernel": Weight(kernel, self.kernel_init, fans, decay=True, trainable=self.trainable)}
        if self.bias:
            weights["bias"] = Weight((self.filters,), self.bias_init, fans, trainable=self.trainable)
        return weights

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', filters)."""
        from cnncli.ops.convolution import conv, pad_spatial

        sliding, kernel = self.sliding(x.shape[1:]), variables.array("kernel")
        padding = sliding.padding
        if self.padding_mode != "zeros":
            x, padding = pad_spatial(x, padding, self.padding_mode), ((0, 0),) * len(padding)
        if self.flip:
            kernel = kernel[tuple(slice(None, None, -1) for _ in sliding.size)]
        y = conv(x, kernel, sliding.stride, padding, sliding.dilation, self.groups)
        return (y + variables.array("bias").astype(y.dtype) if self.bias else y), {}

    def macs(self, shape: Shape) -> int:
        """Outputs times taps times input channels of a group."""
        sliding = self.sliding(shape)
        taps = math.prod(sliding.size) * (shape[-1] // self.groups)
        return math.prod(sliding.out) * self.filters * taps

    def window(self, shape: Shape) -> Window:
        """The kernel."""
        return self.sliding(shape).window()
