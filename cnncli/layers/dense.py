"""Fully connected layers."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field, PositiveInt
from typing_extensions import override

from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Weight, Window
from cnncli.layers.initializers import HeNormal, Init, Zeros
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import channels


class FullyConnected(Layer):
    """Fully connected: every unit to every unit below, bias added. A map is read row by row, channels innermost.

    Input of any shape with n values -> output (units,), y = x W + b. Kernel (n, units).
    Source: Rosenblatt 1958 (one unit: the perceptron); Rumelhart, Hinton and Williams 1986.

    Example: `fc: 84`  (5, 5, 16) -> (84,), 33684 parameters
    """

    kind: ClassVar[str] = "fc"
    shorthand: ClassVar[str | None] = "units"
    aliases: ClassVar[tuple[str, ...]] = ("dense", "linear_layer", "fully_connected", "inner_product", "affine", "mlp")

    units: PositiveInt = Field(le=1 << 24, description="number of outputs")
    bias: bool = Field(True, description="add a trained number per unit")
    trainable: bool = Field(True, description="false: the kernel and bias stay as they start")
    kernel_init: Init = Field(HeNormal(), alias="init", description="how the kernel starts")
    bias_init: Init = Field(Zeros(), description="how the bias starts")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        fans = math.prod(shape), self.units
        weights = {"kernel": Weight(fans, self.kernel_init, fans, decay=True, trainable=self.trainable)}
        if self.bias:
            weights["bias"] = Weight((self.units,), self.bias_init, fans, trainable=self.trainable)
        return Resolved((self.units,), Window.whole(shape), weights, macs=math.prod(fans))

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return channels.fully_connected(x, call.array("kernel"), call.optional("bias"))
