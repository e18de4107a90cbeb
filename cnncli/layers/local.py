"""Locally connected layers: a convolution's reach without its shared weights."""

import math
from typing import Any, ClassVar

from cnncli.layers.base import Context, Shape, Variables, Weight
from cnncli.layers.conv import SlidingKernels


class LocallyConnected(SlidingKernels):
    """Locally connected: as a convolution, but every position has kernels and biases of its own.

    Input (H, W, C) -> output (H', W', filters), sized as by `conv`; sequences alike. Kernel (H', W', kernel, kernel, C,
    filters), bias (H', W', filters): positions x (kernel*kernel*C*filters + filters) parameters.
    Source: LeCun 1989 (Net-3); Taigman et al. 2014 (DeepFace).

    Example: `locally_connected: {filters: 2, kernel: 3}`  (8, 8, 3) -> (6, 6, 2), 2016 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("local", "locally_connected2d", "locally_connected1d", "unshared_conv")

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', filters)."""
        self.weights(shape)  # a fixed filter fits the kernel
        return (*self.sliding(shape).out, self.filters)

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """kernel (*positions, *taps, C, filters), bias (*positions, filters)."""
        sliding = self.sliding(shape)
        kernel = (*sliding.out, *sliding.size, shape[-1], self.filters)
        taps = math.prod(sliding.size)
        return self.declare(kernel, (*sliding.out, self.filters), (taps * shape[-1], taps * self.filters))

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', filters)."""
        from cnncli.ops.convolution import local_conv

        sliding = self.sliding(x.shape[1:])
        y = local_conv(x, variables.array("kernel"), sliding.stride, sliding.padding, sliding.dilation)
        return self.biased(variables, y), {}

    def macs(self, shape: Shape) -> int:
        """One per weight of the kernels."""
        return self.weights(shape)["kernel"].size
