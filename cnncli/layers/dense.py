"""Fully connected layers."""

import math
from typing import Any, ClassVar

from pydantic import Field, PositiveInt

from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, Window, per_channel
from cnncli.layers.initializers import HeNormal, Init, Zeros


class FullyConnected(Layer):
    """Fully connected: every unit to every unit below, bias added. A map is read row by row, channels innermost.

    Input of any shape with n values -> output (units,), y = x W + b. Kernel (n, units).
    Source: Rosenblatt 1958 (one unit: the perceptron); Rumelhart, Hinton and Williams 1986.

    Example: `fc: 84`  (5, 5, 16) -> (84,), 33684 parameters
    """

    kind: ClassVar[str] = "fc"
    main: ClassVar[str | None] = "units"
    words: ClassVar[tuple[str, ...]] = ("dense", "linear_layer", "fully_connected", "inner_product", "affine", "mlp")

    units: PositiveInt = Field(le=1 << 24, description="number of outputs")
    bias: bool = Field(True, description="add a trained number per unit")
    trainable: bool = Field(True, description="false: the kernel and bias stay as they start")
    kernel_init: Init = Field(HeNormal(), alias="init", description="how the kernel starts")
    bias_init: Init = Field(Zeros(), description="how the bias starts")

    def out_shape(self, shape: Shape) -> Shape:
        """Anything -> (units,)."""
        self.weights(shape)  # a fixed filter fits the kernel
        return (self.units,)

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """kernel (n, units), bias (units,)."""
        fans = math.prod(shape), self.units
        weights = {"kernel": Weight(fans, self.kernel_init, fans, decay=True, trainable=self.trainable)}
        if self.bias:
            weights["bias"] = Weight((self.units,), self.bias_init, fans, trainable=self.trainable)
        return weights

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ...) -> (B, units)."""
        y = x.reshape(x.shape[0], -1) @ variables.array("kernel").astype(x.dtype)  # (B, units)
        return (y + per_channel(variables.array("bias"), y) if self.bias else y), {}

    def macs(self, shape: Shape) -> int:
        """Inputs times units."""
        return math.prod(shape) * self.units

    def window(self, shape: Shape) -> Window:
        """Everything."""
        return whole(shape)


def whole(shape: Shape) -> Window:
    """A window over the whole map."""
    axes = shape[:-1]
    return Window(axes, axes, (1,) * len(axes), (0,) * len(axes))
