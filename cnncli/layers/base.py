"""What a layer is: its YAML fields, its shape rule, its arrays, its arithmetic and its cost, in one class.

    resolve(shape) -> Resolved     everything known before any number is computed; once, when the graph is built
    forward(call, x) -> y          the arithmetic, by functions of `cnncli.ops`

Shapes are per example, channels last: (height, width, channels), (length, channels) or (units,). Only ``forward`` and
``apply`` need JAX.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from cnncli.receptive_field import Window
from cnncli.sliding import Shape, Sliding
from cnncli.spec import Spec
from cnncli.text import times as times

if TYPE_CHECKING:
    from jax import Array

    from cnncli.layers.initializers import Initializer
else:
    Array = Any  # static work loads no JAX


@dataclass(frozen=True)
class Weight:
    """One array that a layer declares. ShapeError where ``init`` cannot fill ``shape``.

    ``fans``: (inputs, outputs) of one unit, which scale the initializer. ``decay``: weight decay applies to it.
    ``trainable``: false for a frozen parameter. ``state``: not a parameter, but a running statistic.
    """

    shape: Shape
    init: Initializer
    fans: tuple[int, int] = (1, 1)
    decay: bool = False
    trainable: bool = True
    state: bool = False

    def __post_init__(self) -> None:
        self.init.check_shape(self.shape)

    @property
    def trained(self) -> bool:
        """Whether the optimizer changes it."""
        return self.trainable and not self.state

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


NO_SLIDING = Sliding()


@dataclass(frozen=True)
class Resolved:
    """What follows from a layer's settings and its input's shape. Computed once for each node of a graph.

    ``shape``: of the output. ``macs``: multiply-adds per example. ``sliding``: the geometry that ``forward`` needs.
    """

    shape: Shape
    window: Window
    weights: dict[str, Weight] = field(default_factory=dict)
    macs: int = 0
    sliding: Sliding = NO_SLIDING


@dataclass(frozen=True)
class Call:
    """What a layer computes with, beside its inputs.

    ``params`` are trained; ``state`` holds statistics, constants and frozen weights. ``key``: of this step and layer.
    ``add`` and ``relu``: what a layer that ``absorbs`` the layers behind it computes as well, in training.
    """

    params: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    sliding: Sliding = NO_SLIDING
    train: bool = False
    key: Array | None = None
    add: Array | None = None
    relu: bool = False

    def array(self, name: str) -> Array:
        """The array of this name, trained or not."""
        return self.params[name] if name in self.params else self.state[name]

    def optional(self, name: str) -> Array | None:
        """The same, or None where the layer has no such array."""
        return self.params.get(name, self.state.get(name))


class Layer(Spec):
    """Base class of every layer. Element-wise and without weights unless a subclass says otherwise."""

    family: ClassVar[str] = "layer"
    joins: ClassVar[bool] = False  # takes several inputs
    saturation: ClassVar[tuple[float, ...]] = ()  # see ``saturation_values``
    absorbs: ClassVar[bool] = False  # in training it computes an addition and a ReLU behind it as well

    def resolve(self, shape: Shape) -> Resolved:
        """Everything that follows from the input's shape. ShapeError says what does not fit and what to try."""
        return Resolved(shape, Window.element(shape))

    def apply(self, call: Call, *inputs: Array) -> tuple[Array, dict[str, Array]]:
        """``inputs`` (B, *shape) each -> output (B, *out) and the new state. Most layers have ``forward`` only."""
        return self.forward(call, *inputs), {}

    def forward(self, call: Call, x: Array) -> Array:
        """``x`` (B, *shape) -> output (B, *out)."""
        raise TypeError(f"{self.kind} computes nothing")

    def partner(self) -> str:
        """The name of an earlier layer whose settings this one needs (see ``bind``); empty for most."""
        return ""

    def bind(self, partner: Layer) -> Layer:
        """This layer with its partner's settings, as a join of x and the partner's input."""
        raise TypeError(f"{self.kind} has no partner")

    def saturation_values(self) -> tuple[float, ...]:
        """Output values at which the gradient is zero or nearly zero."""
        return self.saturation

    def note(self) -> str:
        """What a user should know before training with it; empty for most."""
        return ""


def name_hash(name: str) -> int:
    """A name as a stable 31-bit number, from which random keys are derived."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF
