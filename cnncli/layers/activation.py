"""Activations: element by element, any shape in, the same shape out. Here those with bounds; others in `rectifier`."""

from typing import Any, ClassVar

from pydantic import Field, PositiveFloat

from cnncli.layers.base import Context, Layer, Variables


class Activation(Layer):
    """Base of the element-wise functions: one method, ``call``."""

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ...) -> the same."""
        return self.call(x), {}

    def call(self, x: Any) -> Any:
        """The function."""
        raise TypeError(f"{self.kind} computes nothing")


class Linear(Activation):
    """The identity, y = x: an output without an activation, said aloud. A layer of weights is `fc`.

    Any input -> the same shape.

    Example: `linear`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("none", "identity", "purelin")

    def call(self, x: Any) -> Any:
        """X."""
        return x


class _Threshold(Activation):
    """Base of the step functions, whose gradient is zero wherever it exists."""

    straight_through: bool = Field(False, description="let the gradient pass where |x| <= 1 (Hinton 2012, Bengio 2013)")

    def note(self) -> str:
        """The gradient's warning."""
        if self.straight_through:
            return ""
        return f"the gradient of {self.kind} is zero: nothing below it learns (straight_through: true lets it pass)"

    def call(self, x: Any) -> Any:
        """The step; its gradient is zero or, straight through, that of clip(x, -1, 1)."""
        import jax
        import jax.numpy as jnp

        y = jax.lax.stop_gradient(self.step(x))
        if not self.straight_through:
            return y
        slope = jnp.clip(x, -1, 1)
        return y + slope - jax.lax.stop_gradient(slope)

    def step(self, x: Any) -> Any:
        """The function without its gradient."""
        raise TypeError(f"{self.kind} computes nothing")


class Sign(_Threshold):
    """Bipolar threshold: 1 where x >= 0, else -1. The gradient is zero unless `straight_through`.

    Any input -> the same shape. Source: McCulloch and Pitts 1943; straight-through: Bengio et al. 2013.

    Example: `sign`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("hardlims", "sgn")

    def step(self, x: Any) -> Any:
        """-1 or 1."""
        import jax.numpy as jnp

        return jnp.where(x >= 0, jnp.ones_like(x), -jnp.ones_like(x))


class Hardlim(_Threshold):
    """Threshold: 1 where x >= 0, else 0: the perceptron's step. The gradient is zero unless `straight_through`.

    Any input -> the same shape. Source: Rosenblatt 1958.

    Example: `hardlim`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("step", "heaviside", "threshold")

    def step(self, x: Any) -> Any:
        """0 or 1."""
        import jax.numpy as jnp

        return jnp.where(x >= 0, jnp.ones_like(x), jnp.zeros_like(x))


class Sigmoid(Activation):
    """Logistic sigmoid, 1 / (1 + exp(-x)). Its slope is at most 1/4.

    Any input -> the same shape.

    Example: `sigmoid`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("logistic", "logsig")

    def flat_ends(self) -> tuple[float, ...]:
        """Where its slope is zero or nearly so."""
        return (0.0, 1.0)

    def call(self, x: Any) -> Any:
        """1 / (1 + exp(-x))."""
        import jax

        return jax.nn.sigmoid(x)


class HardSigmoid(Activation):
    """Piecewise linear sigmoid, clip(x/6 + 1/2, 0, 1).

    Any input -> the same shape. Source: Howard et al. 2019 (MobileNetV3).

    Example: `hard_sigmoid`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    def flat_ends(self) -> tuple[float, ...]:
        """Where its slope is zero or nearly so."""
        return (0.0, 1.0)

    def call(self, x: Any) -> Any:
        """clip(x/6 + 1/2, 0, 1)."""
        import jax

        return jax.nn.hard_sigmoid(x)


class Tanh(Activation):
    """Hyperbolic tangent.

    Any input -> the same shape.

    Example: `tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("tansig",)

    def flat_ends(self) -> tuple[float, ...]:
        """Where its slope is zero or nearly so."""
        return (-1.0, 1.0)

    def call(self, x: Any) -> Any:
        """tanh(x)."""
        import jax.numpy as jnp

        return jnp.tanh(x)


class HardTanh(Activation):
    """Piecewise linear tanh, clip(x, -1, 1).

    Any input -> the same shape. Source: Collobert 2004.

    Example: `hard_tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("satlins", "hardtanh")

    def flat_ends(self) -> tuple[float, ...]:
        """Where its slope is zero or nearly so."""
        return (-1.0, 1.0)

    def call(self, x: Any) -> Any:
        """clip(x, -1, 1)."""
        import jax

        return jax.nn.hard_tanh(x)


class ScaledTanh(Activation):
    """LeNet-5's squashing function, 1.7159 tanh(2x/3): f(1) = 1, f(-1) = -1, steepest curvature there.

    Any input -> the same shape. Source: LeCun et al. 1998, appendix A.

    Example: `scaled_tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("lecun_tanh",)

    amplitude: PositiveFloat = Field(1.7159, description="A of A tanh(S x)")
    slope: PositiveFloat = Field(2 / 3, description="S of A tanh(S x)")

    def flat_ends(self) -> tuple[float, ...]:
        """Where its slope is zero or nearly so."""
        return (-self.amplitude, self.amplitude)

    def call(self, x: Any) -> Any:
        """A tanh(S x)."""
        import jax.numpy as jnp

        return self.amplitude * jnp.tanh(self.slope * x)


class Softmax(Activation):
    """Probabilities over the channels, exp(x_i) / sum exp(x). As the last layer with cross-entropy it trains on logits.

    Any input (..., C) -> the same shape; each position sums to 1. Source: Bridle 1990.

    Example: `softmax`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("softmax_layer",)

    def call(self, x: Any) -> Any:
        """exp(x - max) / sum, in float32."""
        import jax
        import jax.numpy as jnp

        return jax.nn.softmax(x.astype(jnp.float32), axis=-1).astype(x.dtype)
