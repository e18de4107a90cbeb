"""Convolutions: one small kernel for every position."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, Window, per_channel, times
from cnncli.layers.geometry import Extent, Padding, Sliding, slide
from cnncli.layers.initializers import HeNormal, Init, Zeros
from cnncli.spec import sequence

if TYPE_CHECKING:
    Connections = tuple[tuple[int, ...], ...]
else:
    Connections = sequence(sequence(NonNegativeInt))


class Kernels(Layer):
    """Base of the layers with small kernels: ``filters`` of them, each with a bias."""

    main: ClassVar[str | None] = "filters"

    filters: PositiveInt = Field(le=1 << 20, description="number of kernels, which is the number of output channels")
    kernel: Extent = Field(3, description="taps along each axis")
    stride: Extent = Field(1, description="pixels between neighbouring outputs")
    padding: Padding = Field("valid", description="valid: none; same: out = ceil(in / stride); full: out = in + kernel "
                             "- 1; a number; [h, w]; [[top, bottom], [left, right]]")  # fmt: skip
    dilation: Extent = Field(1, description="pixels between neighbouring taps")
    bias: bool = Field(True, description="add a trained number per filter")
    trainable: bool = Field(True, description="false: the kernel and bias stay as they start")
    kernel_init: Init = Field(HeNormal(), alias="init", description="how the kernel starts")
    bias_init: Init = Field(Zeros(), description="how the bias starts")

    def declare(self, kernel: Shape, bias: Shape, fans: tuple[int, int]) -> dict[str, Weight]:
        """The kernel and, where wanted, the bias."""
        weights = {"kernel": Weight(kernel, self.kernel_init, fans, decay=True, trainable=self.trainable)}
        if self.bias:
            weights["bias"] = Weight(bias, self.bias_init, fans, trainable=self.trainable)
        return weights

    def biased(self, variables: Variables, y: Any) -> Any:
        """``y`` (B, ..., filters) and, where wanted, its bias (filters,)."""
        return y + per_channel(variables.array("bias"), y) if self.bias else y


class SlidingKernels(Kernels):
    """Base of those whose kernels slide over the input."""

    def sliding(self, shape: Shape) -> Sliding:
        """The windows over an input."""
        return slide(shape, self.kernel, self.stride, self.padding, self.dilation)

    def window(self, shape: Shape) -> Window:
        """The kernel."""
        return self.sliding(shape).window()


def check_groups(groups: int, channels: int, filters: int) -> None:
    """ShapeError unless ``groups`` divides both."""
    for count, what in ((channels, "input channels"), (filters, "filters")):
        if count % groups:
            divisors = [g for g in range(1, groups) if channels % g == 0 and filters % g == 0]
            raise ShapeError(f"groups {groups} does not divide the {count} {what}", f"Try groups: {divisors[-1]}.")


class Conv(SlidingKernels):
    """Convolution over one or two axes (cross-correlation, as in every framework), bias added.

    Input (H, W, C) -> output (H', W', filters), H' = floor((H + padding - dilation*(kernel-1) - 1) / stride) + 1;
    sequences (length, C) alike. Kernel (kernel, kernel, C / groups, filters); with a table of `connections`
    (kernel, kernel, 1, n), one for each of its n pairs of input channel and filter, in the table's order.
    Source: LeCun et al. 1998, connections too; groups: Krizhevsky et al. 2012; dilation: Yu and Koltun 2016.

    Example: `conv: {filters: 6, kernel: 5}`  (32, 32, 1) -> (28, 28, 6), 156 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("conv2d", "conv1d", "convolution", "convolution2d", "conv2", "convolutional")

    padding_mode: Literal["zeros", "reflect", "edge"] = Field("zeros", description="what the padding holds")
    groups: PositiveInt = Field(1, description="input and output channels are split into this many separate parts")
    connections: Connections | None = Field(
        None, description="for each filter, the input channels it sees (counted from 0): [[0, 1, 2], ...]"
    )
    flip: bool = Field(False, description="rotate the kernel by 180 degrees first: convolution as mathematics has it")

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', filters)."""
        sliding = self.sliding(shape)
        check_groups(self.groups, shape[-1], self.filters)
        self._check_connections(shape[-1])
        if self.padding_mode == "reflect" and any(
            side >= n for n, sides in zip(shape, sliding.padding, strict=False) for side in sides
        ):
            raise ShapeError(f"cannot reflect {max(map(max, sliding.padding))} pixels of a {times(shape)} input",
                             "Try padding_mode: edge.")  # fmt: skip
        self.weights(shape)  # a fixed filter fits the kernel
        return (*sliding.out, self.filters)

    def _check_connections(self, channels: int) -> None:
        if self.connections is None:
            return
        if len(self.connections) != self.filters:
            raise ShapeError(f"connections has {len(self.connections)} lists for {self.filters} filters",
                             "Give one list of input channels for each filter.")  # fmt: skip
        if self.groups > 1:
            raise ShapeError(f"connections and groups {self.groups} exclude each other", "Keep one of them.")
        for number, seen in enumerate(self.connections):
            if not seen or len(set(seen)) < len(seen) or max(seen) >= channels:
                raise ShapeError(f"connections[{number}] is {list(seen)}, the input's channels are 0 to {channels - 1}",
                                 "List each channel that the filter sees once.")  # fmt: skip

    def _pairs(self, channels: int) -> int:
        """How many pairs of input channel and filter are connected."""
        return sum(map(len, self.connections)) if self.connections else channels // self.groups * self.filters

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """kernel (*taps, C / groups, filters) or (*taps, 1, connections), bias (filters,)."""
        taps, pairs = self.sliding(shape).size, self._pairs(shape[-1])
        per_filter, per_channel = pairs // self.filters, max(pairs // shape[-1], 1)
        kernel = (*taps, 1, pairs) if self.connections else (*taps, per_filter, self.filters)
        return self.declare(kernel, (self.filters,), (math.prod(taps) * per_filter, math.prod(taps) * per_channel))

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', filters)."""
        from cnncli.ops.convolution import connect, conv, pad_spatial

        sliding, kernel = self.sliding(x.shape[1:]), variables.array("kernel")
        padding = sliding.padding
        if self.connections:
            kernel = connect(kernel, self.connections, x.shape[-1])
        if self.flip:
            kernel = kernel[tuple(slice(None, None, -1) for _ in sliding.size)]
        if self.padding_mode != "zeros":
            x, padding = pad_spatial(x, padding, self.padding_mode), ((0, 0),) * len(padding)
        bias = variables.array("bias") if self.bias else None
        return conv(x, kernel, sliding.stride, padding, sliding.dilation, self.groups, bias), {}

    def macs(self, shape: Shape) -> int:
        """Positions times taps times connected pairs of channel and filter."""
        sliding = self.sliding(shape)
        return math.prod(sliding.out) * math.prod(sliding.size) * self._pairs(shape[-1])
