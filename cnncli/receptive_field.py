"""Which pixels of the input an output depends on: one layer's window, and the field through many layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from cnncli.sliding import Shape, Sliding


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
    def sliding(cls, sliding: Sliding) -> Self:
        """The output at a position depends on the inputs under the kernel or, transposed, on those that reach it."""
        before = [first for first, _ in sliding.padding]
        if not sliding.transposed:
            return cls(sliding.size, sliding.stride, sliding.dilation, tuple(before))
        axes = list(zip(sliding.spans, sliding.stride, before, strict=True))
        return cls(
            tuple(math.ceil(span / s) for span, s, _ in axes),
            tuple(Fraction(1, s) for s in sliding.stride),
            (1,) * len(axes),
            tuple(Fraction(span - 1 - first, s) for span, s, first in axes),
        )


@dataclass(frozen=True)
class Field:
    """What an output sees of the input, per axis: output i sees pixels from ``i * jump + low`` to ``i * jump + high``.

    Fractions behind layers that enlarge the map.
    """

    jump: tuple[int | Fraction, ...]
    low: tuple[int | Fraction, ...]
    high: tuple[int | Fraction, ...]

    @classmethod
    def of_input(cls, axes: int) -> Self:
        """Every pixel sees itself."""
        return cls((1,) * axes, (0,) * axes, (0,) * axes)

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels seen along each axis, as if the image had no edge."""
        return tuple(math.ceil(high - low) + 1 for low, high in zip(self.low, self.high, strict=True))

    def through(self, window: Window) -> Field:
        """The field of a layer with ``window`` on top of this one (the recurrence of Araujo et al. 2019)."""
        if not window.size:  # the layer's input is a vector
            return self
        axes = list(zip(self.jump, self.low, self.high, window.size, window.stride, window.dilation, window.before,
                        strict=True))  # fmt: skip
        return Field(
            tuple(jump * stride for jump, _, _, _, stride, _, _ in axes),
            tuple(low - jump * before for jump, low, _, _, _, _, before in axes),
            tuple(high + jump * ((size - 1) * gap - before) for jump, _, high, size, _, gap, before in axes),
        )

    @staticmethod
    def union(fields: Sequence[Field], main: int = 0) -> Field:
        """What a join sees: everything any of its inputs sees, stepping as input ``main`` does."""
        low = tuple(min(axis) for axis in zip(*(each.low for each in fields), strict=True))
        high = tuple(max(axis) for axis in zip(*(each.high for each in fields), strict=True))
        return Field(fields[main].jump, low, high)
