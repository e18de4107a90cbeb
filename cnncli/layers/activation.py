"""Activations, from the identity to maxout. Most work element by element: any shape in, the same shape out."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field, PositiveFloat, PositiveInt
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Weight, Window, times
from cnncli.layers.initializers import ConstantInitializer
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import activation


class Activation(Layer):
    """Base class of what a function of the same name in `ops/activation.py` computes from x and the fields."""

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return getattr(activation, self.kind)(x, **dict(self))

class LinearActivation(Activation):
    """The identity, y = x: an output without an activation, said aloud. A layer of weights is `fc`.

    Any input -> the same shape.

    Example: `linear`  (10,) -> (10,), 0 parameters
    """

    kind: ClassVar[str] = "linear"
    aliases: ClassVar[tuple[str, ...]] = ("none", "identity", "purelin")


class _Threshold(Activation):
    """Base class of the step functions, whose gradient is zero."""

    straight_through: bool = Field(False, description="let the gradient pass where |x| <= 1 (Hinton 2012, Bengio 2013)")

    @override
    def note(self) -> str:
        if self.straight_through:
            return ""
        return f"the gradient of {self.kind} is zero: nothing below it learns (straight_through: true lets it pass)"


class Sign(_Threshold):
    """Bipolar threshold: 1 where x >= 0, else -1. The gradient is zero unless `straight_through`.

    Any input -> the same shape. Source: McCulloch and Pitts 1943; straight-through: Bengio et al. 2013.

    Example: `sign`  (10,) -> (10,), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("hardlims", "sgn")


class Hardlim(_Threshold):
    """Threshold: 1 where x >= 0, else 0: the perceptron's step. The gradient is zero unless `straight_through`.

    Any input -> the same shape. Source: Rosenblatt 1958.

    Example: `hardlim`  (10,) -> (10,), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("step", "heaviside", "threshold")


class Sigmoid(Activation):
    """Logistic sigmoid, 1 / (1 + exp(-x)). Its slope is at most 1/4.

    Any input -> the same shape.

    Example: `sigmoid`  (10,) -> (10,), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("logistic", "logsig")
    saturation: ClassVar[tuple[float, ...]] = (0.0, 1.0)


class HardSigmoid(Activation):
    """Piecewise linear sigmoid, clip(x/6 + 1/2, 0, 1).

    Any input -> the same shape. Source: Howard et al. 2019 (MobileNetV3).

    Example: `hard_sigmoid`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    saturation: ClassVar[tuple[float, ...]] = (0.0, 1.0)


class Tanh(Activation):
    """Hyperbolic tangent.

    Any input -> the same shape.

    Example: `tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("tansig",)
    saturation: ClassVar[tuple[float, ...]] = (-1.0, 1.0)


class HardTanh(Activation):
    """Piecewise linear tanh, clip(x, -1, 1).

    Any input -> the same shape. Source: Collobert 2004.

    Example: `hard_tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("satlins", "hardtanh")
    saturation: ClassVar[tuple[float, ...]] = (-1.0, 1.0)


class ScaledTanh(Activation):
    """LeNet-5's squashing function, 1.7159 tanh(2x/3): f(1) = 1, f(-1) = -1, steepest curvature there.

    Any input -> the same shape. Source: LeCun et al. 1998, appendix A.

    Example: `scaled_tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("lecun_tanh",)
    amplitude: PositiveFloat = Field(1.7159, description="A of A tanh(S x)")
    slope: PositiveFloat = Field(2 / 3, description="S of A tanh(S x)")

    @override
    def saturation_values(self) -> tuple[float, ...]:
        return (-self.amplitude, self.amplitude)


class Softmax(Activation):
    """Probabilities over the channels, exp(x_i) / sum exp(x). As the last layer with cross-entropy it trains on logits.

    Any input (..., C) -> the same shape; each position sums to 1. Source: Bridle 1990.

    Example: `softmax`  (10,) -> (10,), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("softmax_layer",)


class Relu(Activation):
    """Rectified linear unit, max(0, x). Its gradient is 0 to the left and at 0.

    Any input -> the same shape. Source: Nair and Hinton 2010.

    Example: `relu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("rectifier", "rectified_linear", "poslin")
    saturation: ClassVar[tuple[float, ...]] = (0.0,)


class LeakyRelu(Activation):
    """ReLU that leaks: x where x >= 0, else slope * x.

    Any input -> the same shape. Source: Maas, Hannun and Ng 2013.

    Example: `leaky_relu: 0.1`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    shorthand: ClassVar[str | None] = "slope"
    aliases: ClassVar[tuple[str, ...]] = ("lrelu", "leaky", "leakyrelu")
    negative_slope: float = Field(0.01, ge=0, alias="slope", description="slope to the left of 0")


class Prelu(Layer):
    """ReLU with a trained slope per channel to the left of 0.

    Any input (..., C) -> the same shape. Source: He et al. 2015 (delving deep into rectifiers).

    Example: `prelu`  (28, 28, 6) -> (28, 28, 6), 6 parameters
    """

    shorthand: ClassVar[str | None] = "start"
    aliases: ClassVar[tuple[str, ...]] = ("parametric_relu",)
    start: float = Field(0.25, description="the slopes' first value")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        slope = Weight(shape[-1:], ConstantInitializer(value=self.start))
        return Resolved(shape, Window.element(shape), {"slope": slope}, macs=math.prod(shape))

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return activation.prelu(x, call.array("slope"))


class Elu(Activation):
    """Exponential linear unit: x where x > 0, else scale * (exp(x) - 1).

    Any input -> the same shape. Source: Clevert, Unterthiner and Hochreiter 2015.

    Example: `elu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    shorthand: ClassVar[str | None] = "scale"
    scale: PositiveFloat = Field(1.0, description="minus the limit to the left (alpha)")


class Selu(Activation):
    """Self-normalising ELU with fixed constants; start the weights with `lecun_normal`.

    Any input -> the same shape. Source: Klambauer et al. 2017.

    Example: `selu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """


class Softplus(Activation):
    """Smooth ReLU, log(1 + exp(x)).

    Any input -> the same shape. Source: Dugas et al. 2001.

    Example: `softplus`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """


class Gelu(Activation):
    """Gaussian error linear unit, x times the normal distribution function of x.

    Any input -> the same shape. Source: Hendrycks and Gimpel 2016.

    Example: `gelu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    approximate: bool = Field(False, description="the tanh approximation instead of erf")


class Swish(Activation):
    """Swish (SiLU when beta is 1), x * sigmoid(beta x).

    Any input -> the same shape. Source: Ramachandran, Zoph and Le 2017; Elfwing et al. 2017.

    Example: `swish`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    shorthand: ClassVar[str | None] = "beta"
    aliases: ClassVar[tuple[str, ...]] = ("silu",)
    beta: float = Field(1.0, description="0: linear, large: ReLU")


class HardSwish(Activation):
    """Piecewise swish, x * clip(x/6 + 1/2, 0, 1).

    Any input -> the same shape. Source: Howard et al. 2019 (MobileNetV3).

    Example: `hard_swish`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("hard_silu",)


class Maxout(Activation):
    """The largest of ``pieces`` neighbouring channels: a convex function learnt from linear pieces.

    Input (..., C) -> output (..., C / pieces). The layer below needs pieces times the channels, so parameters
    multiply.
    Source: Goodfellow et al. 2013.

    Example: `maxout: 2`  (28, 28, 6) -> (28, 28, 3), 0 parameters
    """

    shorthand: ClassVar[str | None] = "pieces"
    pieces: PositiveInt = Field(2, description="channels that compete for one output")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        if shape[-1] % self.pieces:
            wanted = -(-shape[-1] // self.pieces) * self.pieces
            raise ShapeError(f"pieces {self.pieces} does not divide the {shape[-1]} channels of {times(shape)}",
                             f"Give the layer below {wanted} channels.")  # fmt: skip
        return Resolved((*shape[:-1], shape[-1] // self.pieces), Window.element(shape))
