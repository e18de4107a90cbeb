"""Locally connected layers: kernels as in a convolution, but weights of their own at every position."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from cnncli.layers.base import Call, Resolved, Shape
from cnncli.layers.conv import KernelLayer
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import convolution

if TYPE_CHECKING:
    from jax import Array


class LocallyConnected(KernelLayer):
    """Locally connected: as a convolution, but every position has kernels and biases of its own.

    Input (H, W, C) -> output (H', W', filters), sized as by `conv`; sequences alike. Kernel (H', W', kernel, kernel, C,
    filters), bias (H', W', filters): positions x (kernel*kernel*C*filters + filters) parameters.
    Source: LeCun 1989 (Net-3); Taigman et al. 2014 (DeepFace).

    Example: `locally_connected: {filters: 2, kernel: 3}`  (8, 8, 3) -> (6, 6, 2), 2016 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("local", "locally_connected2d", "locally_connected1d", "unshared_conv")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        sliding = self.slide(shape)
        kernel = (*sliding.out, *sliding.size, shape[-1], self.filters)
        taps = math.prod(sliding.size)
        fans = (taps * shape[-1], taps * self.filters)
        return self.resolved(sliding, kernel, (*sliding.out, self.filters), fans, ())

    @override
    def forward(self, call: Call, x: Array) -> Array:
        sliding, bias = call.sliding, call.optional("bias")
        kernel = call.array("kernel")
        return convolution.local_conv(x, kernel, sliding.stride, sliding.padding, sliding.dilation, bias)
