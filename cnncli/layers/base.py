"""What a layer is: a spec with a shape rule, an initialiser, arithmetic and a cost model.

    shape -> out_shape(shape)            per example, no batch axis
    shape -> weights(shape)              what it declares: names, shapes, initialisers
    key, shape -> init(key, shape)       Variables: params (trained) and state (running statistics, constants)
    variables, x -> apply(...)           y and the new state
    shape -> macs(shape), window(shape)  multiply-adds per example; what one output sees

Shapes are (height, width, channels), (length, channels) or (units,). Static methods never import JAX.
"""

import math
import zlib
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from cnncli.errors import ShapeError
from cnncli.layers.initializers import Initializer
from cnncli.spec import Spec

if TYPE_CHECKING:
    from jax import Array

    from cnncli.layers.wiring import Wiring

Shape = tuple[int, ...]


class Variables(NamedTuple):
    """A layer's arrays: ``params`` are trained, ``state`` is carried along (statistics, constants, frozen weights)."""

    params: dict[str, Any]
    state: dict[str, Any]

    def array(self, name: str) -> Any:
        """The array of this name, trained or not."""
        return self.params[name] if name in self.params else self.state[name]


@dataclass(frozen=True)
class Weight:
    """One declared array: its shape, how it starts, whether weight decay and training touch it.

    ``fans``: (inputs, outputs) of one unit, which scale the initialiser. ``trainable``: false for a frozen parameter.
    ``state``: no parameter at all, but a running statistic or constant. ShapeError where a fixed filter does not fit.
    """

    shape: Shape
    init: Initializer
    fans: tuple[int, int] = (1, 1)
    decay: bool = False
    trainable: bool = True
    state: bool = False

    def __post_init__(self) -> None:
        self.init.fits(self.shape)

    @property
    def trained(self) -> bool:
        """Whether the optimizer changes it."""
        return self.trainable and not self.state

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Window:
    """What one output sees of its input along each spatial axis: ``size`` taps, ``dilation`` apart, every ``stride``.

    ``before``: how far the first output's window begins before the input (its zero padding). Layers that enlarge the
    map have fractions for ``stride`` and ``before``: output i sees ``size`` taps from ``ceil(i * stride - before)`` on.
    """

    size: tuple[int, ...]
    stride: tuple[int | Fraction, ...] = ()
    dilation: tuple[int, ...] = ()
    before: tuple[int | Fraction, ...] = ()

    @classmethod
    def one(cls, axes: int) -> "Window":
        """An element-wise layer's window."""
        return cls((1,) * axes, (1,) * axes, (1,) * axes, (0,) * axes)

    @classmethod
    def everywhere(cls, shape: "Shape") -> "Window":
        """The window of a layer whose every output position sees the whole map."""
        axes = shape[:-1]
        ones = (1,) * len(axes)
        return cls(tuple(2 * n - 1 for n in axes), ones, ones, tuple(n - 1 for n in axes))


@dataclass(frozen=True)
class Context:
    """What a call knows: training or not, and the key of this step and layer (None outside training).

    ``add`` and ``relu``: what a layer that ``absorbs`` the ones behind it does as well in training.
    """

    train: bool = False
    key: Any = None
    add: Any = None
    relu: bool = False


class Layer(Spec):
    """Base of every layer. Element-wise and without weights unless a subclass says otherwise."""

    family: ClassVar[str] = "layer"
    joins: ClassVar[bool] = False  # takes several inputs: shapes and arrays come as tuples
    absorbs: ClassVar[bool] = False  # computes an addition and a ReLU behind it along with itself, in training

    def out_shape(self, shape: Any) -> Shape:
        """Output shape for an input shape, both per example. ShapeError names the numbers and a fix."""
        return shape

    def weights(self, shape: Any) -> dict[str, Weight]:
        """The arrays this layer declares for an input of ``shape``, by name."""
        return {}

    def init(self, key: "Array", shape: Any) -> Variables:
        """Draw every declared array. Each name has its own key, so adding one moves no other."""
        import jax

        params: dict[str, Any] = {}
        state: dict[str, Any] = {}
        for name, weight in self.weights(shape).items():
            drawn = weight.init.draw(jax.random.fold_in(key, name_hash(name)), weight.shape, weight.fans)
            (params if weight.trained else state)[name] = drawn
        return Variables(params, state)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """``x`` (B, *shape) -> ``y`` (B, *out_shape) and the new state."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")

    def macs(self, shape: Any) -> int:
        """Multiply-adds per example."""
        return 0

    def partner(self) -> str:
        """The name of an earlier layer this one needs to know (see ``bind``); empty for most."""
        return ""

    def bind(self, partner: "Layer") -> "Layer":
        """This layer with its partner's settings, as a join of x and the partner's own input."""
        raise TypeError(f"{self.kind} has no partner")

    def flat_ends(self) -> tuple[float, ...]:
        """Output values at which the slope is zero or nearly so: where units are dead or saturated."""
        return ()

    def note(self) -> str:
        """What a user should know before training with it; empty for most."""
        return ""

    def window(self, shape: Any) -> "Window":
        """What one output sees of the input: the receptive-field recurrence's step."""
        axes = len(shape) - 1
        return Window.one(axes)


class Composite(Layer):
    """A layer made of layers: it has no arithmetic, it only wires."""

    def wire(self, wiring: "Wiring", x: str) -> str:
        """Add this layer's nodes behind node ``x``; the name of the node that ends it."""
        raise TypeError(f"{self.kind} wires nothing")


def name_hash(name: str) -> int:
    """A name as a stable 31-bit number, to derive random keys from."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF


def per_channel(vector: Any, x: Any) -> Any:
    """A float32 array of ``x``'s last axes, mostly (C,), for all of ``x`` (B, ..., C), in its type.

    Made as large before its type changes, so that its grad is summed in float32.
    """
    import jax.numpy as jnp

    return jnp.broadcast_to(vector, x.shape).astype(x.dtype)


def need_map(kind: str, shape: Shape) -> None:
    """Refuse anything but (height, width, channels)."""
    if len(shape) != 3:
        raise ShapeError(
            f"{kind} needs a map of height x width x channels, got {times(shape)}",
            "Put it before the first flatten or fc." if len(shape) == 1 else "",
        )


def times(shape: Shape) -> str:
    """(28, 28, 6) -> ``28x28x6``."""
    return "x".join(map(str, shape))
