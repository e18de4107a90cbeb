"""What a layer is: its YAML fields, its shape rule, its arrays, its arithmetic and its cost, in one class.

    resolve(shape) -> Resolved     everything known before any number is computed; once, when the graph is built
    forward(call, x) -> y          the arithmetic, by functions of `cnncli.ops`

Shapes are per example, channels last: (height, width, channels), (length, channels) or (units,). Only ``forward`` and
``apply`` need JAX.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Self

from cnncli.spec import Spec

if TYPE_CHECKING:
    from jax import Array

    from cnncli.layers.initializers import Initializer

Shape = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]  # (before, after) along each axis


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
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Window:
    """The inputs that one output depends on, along each axis: ``size`` taps, ``dilation`` apart, every ``stride``.

    ``before``: distance from the input's start back to the first output's window (its zero padding). Layers that
    enlarge the map have fractions: output i depends on ``size`` taps from ``ceil(i * stride - before)`` on.
    """

    size: tuple[int, ...]
    stride: tuple[int | Fraction, ...]
    dilation: tuple[int, ...]
    before: tuple[int | Fraction, ...]

    @classmethod
    def element(cls, shape: Shape) -> Self:
        """One output depends on the input at its own position."""
        axes = len(shape) - 1
        return cls((1,) * axes, (1,) * axes, (1,) * axes, (0,) * axes)

    @classmethod
    def whole(cls, shape: Shape) -> Self:
        """The output has no positions: it depends on the whole map."""
        axes = shape[:-1]
        return cls(axes, axes, (1,) * len(axes), (0,) * len(axes))

    @classmethod
    def everywhere(cls, shape: Shape) -> Self:
        """The output at every position depends on the whole map."""
        ones = (1,) * (len(shape) - 1)
        return cls(tuple(2 * n - 1 for n in shape[:-1]), ones, ones, tuple(n - 1 for n in shape[:-1]))

    @classmethod
    def transposed(cls, spans: Sequence[int], stride: Sequence[int], before: Sequence[int]) -> Self:
        """Each input adds to ``spans`` outputs, the next input ``stride`` outputs further on, from ``-before`` on."""
        axes = list(zip(spans, stride, before, strict=True))
        return cls(
            tuple(math.ceil(span / s) for span, s, _ in axes),
            tuple(Fraction(1, s) for s in stride),
            (1,) * len(axes),
            tuple(Fraction(span - 1 - first, s) for span, s, first in axes),
        )


@dataclass(frozen=True)
class Sliding:
    """A kernel that slides over a map: one number per axis, ``out`` positions.

    ``transposed``: it slides over the output, and ``padding`` is cut off there. ``written``: the padding as the config
    gives it; ``padding`` is larger where a last, partial window counts too.
    """

    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: Pads = ()
    out: tuple[int, ...] = ()
    written: Pads = ()
    transposed: bool = False

    def window(self) -> Window:
        """The inputs that one output depends on."""
        before = tuple(first for first, _ in self.padding)
        if not self.transposed:
            return Window(self.size, self.stride, self.dilation, before)
        return Window.transposed(spans(self.size, self.dilation), self.stride, before)


def spans(size: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Pixels from a dilated kernel's first tap to its last, along each axis."""
    return [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]


@dataclass(frozen=True)
class Resolved:
    """What follows from a layer's settings and its input's shape. Computed once for each node of a graph.

    ``shape``: of the output. ``macs``: multiply-adds per example. ``sliding``: the geometry that ``forward`` needs.
    """

    shape: Shape
    window: Window
    weights: dict[str, Weight] = field(default_factory=dict)
    macs: int = 0
    sliding: Sliding = Sliding()


@dataclass(frozen=True)
class Call:
    """What a layer computes with, beside its inputs.

    ``params`` are trained; ``state`` holds statistics, constants and frozen weights. ``key``: of this step and layer.
    ``add`` and ``relu``: what a layer that ``absorbs`` the layers behind it computes as well, in training.
    """

    params: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    sliding: Sliding = Sliding()
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


def times(shape: Shape) -> str:
    """(28, 28, 6) -> ``28x28x6``."""
    return "x".join(map(str, shape))
