"""Convolutions: one small kernel for every position; and locally connected layers, with a kernel for each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Weight, Window, times
from cnncli.layers.initializers import HeNormal, Init, Zeros
from cnncli.layers.sizes import Extent, Padding, slide
from cnncli.lazy import lazy_imports
from cnncli.sliding import Sliding
from cnncli.spec import sequence

with lazy_imports():
    from cnncli.ops import convolution

if TYPE_CHECKING:
    Connections = tuple[tuple[int, ...], ...]
else:
    Connections = sequence(sequence(NonNegativeInt))


class KernelLayer(Layer):
    """Base class of the layers with small kernels: ``filters`` of them, each with a bias."""

    shorthand: ClassVar[str | None] = "filters"

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

    def slide(self, shape: Shape) -> Sliding:
        """The kernel over an input of ``shape``."""
        return slide(shape, self.kernel, self.stride, self.padding, self.dilation)

    def resolved(
        self, sliding: Sliding, kernel: Shape, bias: Shape, fans: tuple[int, int], positions: Shape
    ) -> Resolved:
        """The layer, with arrays of these shapes; the kernel's weights are used once at each of ``positions``."""
        weights = {"kernel": Weight(kernel, self.kernel_init, fans, decay=True, trainable=self.trainable)}
        if self.bias:
            weights["bias"] = Weight(bias, self.bias_init, fans, trainable=self.trainable)
        macs = math.prod(positions) * math.prod(kernel)
        return Resolved((*sliding.out, self.filters), Window.sliding(sliding), weights, macs, sliding)


def check_groups(groups: int, channels: int, filters: int) -> None:
    """ShapeError unless ``groups`` divides both."""
    for count, what in ((channels, "input channels"), (filters, "filters")):
        if count % groups:
            divisors = [g for g in range(1, groups) if channels % g == 0 and filters % g == 0]
            raise ShapeError(f"groups {groups} does not divide the {count} {what}", f"Try groups: {divisors[-1]}.")


class Conv(KernelLayer):
    """Convolution over one or two axes (cross-correlation, as in every framework), bias added.

    Input (H, W, C) -> output (H', W', filters), H' = floor((H + padding - dilation*(kernel-1) - 1) / stride) + 1;
    sequences (length, C) alike. Kernel (kernel, kernel, C / groups, filters); with a table of `connections`
    (kernel, kernel, 1, n), one for each of its n pairs of input channel and filter, in the table's order.
    Source: LeCun et al. 1998, connections too; groups: Krizhevsky et al. 2012; dilation: Yu and Koltun 2016.

    Example: `conv: {filters: 6, kernel: 5}`  (32, 32, 1) -> (28, 28, 6), 156 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("conv2d", "conv1d", "convolution", "convolution2d", "conv2", "convolutional")

    padding_mode: Literal["zeros", "reflect", "edge"] = Field("zeros", description="what the padding holds")
    groups: PositiveInt = Field(1, description="input and output channels are split into this many separate parts")
    connections: Connections | None = Field(
        None, description="for each filter, the input channels it sees (counted from 0): [[0, 1, 2], ...]"
    )
    flip: bool = Field(False, description="rotate the kernel by 180 degrees first: convolution as mathematics has it")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        sliding, channels = self.slide(shape), shape[-1]
        check_groups(self.groups, channels, self.filters)
        self._check_connections(channels)
        if self.padding_mode == "reflect":
            self._check_reflection(shape, sliding)
        # Pairs of an input channel and a filter that are connected.
        pairs = sum(map(len, self.connections)) if self.connections else channels // self.groups * self.filters
        per_filter, per_channel = pairs // self.filters, max(pairs // channels, 1)
        kernel = (*sliding.size, *((1, pairs) if self.connections else (per_filter, self.filters)))
        taps = math.prod(sliding.size)
        return self.resolved(sliding, kernel, (self.filters,), (taps * per_filter, taps * per_channel), sliding.out)

    def _check_reflection(self, shape: Shape, sliding: Sliding) -> None:
        if any(max(sides) >= n for n, sides in zip(shape, sliding.padding, strict=False)):
            raise ShapeError(f"cannot reflect {max(map(max, sliding.padding))} pixels of a {times(shape)} input",
                             "Try padding_mode: edge.")  # fmt: skip

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

    @override
    def forward(self, call: Call, x: Array) -> Array:
        sliding, kernel = call.sliding, call.array("kernel")
        if self.connections:
            kernel = convolution.connect(kernel, self.connections, x.shape[-1])
        if self.flip:
            kernel = convolution.flip(kernel)
        if self.padding_mode != "zeros":
            x = convolution.pad_spatial(x, sliding.padding, self.padding_mode)
            sliding = replace(sliding, padding=((0, 0),) * len(sliding.padding))
        return convolution.conv(x, kernel, sliding, self.groups, call.optional("bias"))


class LocallyConnected(KernelLayer):
    """Locally connected: as a convolution, but every position has kernels and biases of its own.

    Input (H, W, C) -> output (H', W', filters), sized as by `conv`; sequences alike. Kernel (H', W', kernel, kernel, C,
    filters), bias (H', W', filters): positions x (kernel*kernel*C*filters + filters) parameters.
    Source: LeCun 1989 (Net-3); Taigman et al. 2014 (DeepFace).

    Example: `locally_connected: {filters: 2, kernel: 3}`  (8, 8, 3) -> (6, 6, 2), 2016 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("local", "locally_connected2d", "locally_connected1d", "unshared_conv")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        sliding = self.slide(shape)
        kernel = (*sliding.out, *sliding.size, shape[-1], self.filters)
        taps = math.prod(sliding.size)
        fans = (taps * shape[-1], taps * self.filters)
        return self.resolved(sliding, kernel, (*sliding.out, self.filters), fans, ())

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return convolution.local_conv(x, call.array("kernel"), call.sliding, call.optional("bias"))
