"""Layers that join several inputs, given by ``from: [a, b]``."""

from __future__ import annotations

import math
from typing import ClassVar

from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Window, times
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import channels


class Join(Layer):
    """Base class of layers with several inputs, one argument each."""

    joins: ClassVar[bool] = True


class Add(Join):
    """Element-wise sum of its inputs: the end of a residual.

    Inputs of one shape -> that shape. Source: He et al. 2015.

    Example: `{add: , from: [a, b]}`  (8, 8, 16), (8, 8, 16) -> (8, 8, 16), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("sum", "plus", "shortcut")

    @override
    def resolve(self, *shapes: Shape) -> Resolved:
        shape = _one_shape(self.kind, shapes)
        return Resolved(shape, Window.element(shape), macs=math.prod(shape) * (len(shapes) - 1))

    @override
    def forward(self, call: Call, *inputs: Array) -> Array:
        return sum(inputs[1:], start=inputs[0])


class Multiply(Join):
    """Element-wise product of its inputs: gates and attention masks. A (C,) vector scales each channel of a map.

    Inputs of one shape, or maps and (C,) vectors -> the map's shape. Source: Hu et al. 2018 (squeeze-and-excitation).

    Example: `{multiply: , from: [a, b]}`  (8, 8, 16), (16,) -> (8, 8, 16), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("mul", "scale", "gate")

    @override
    def resolve(self, *shapes: Shape) -> Resolved:
        largest = max(shapes, key=len)
        shape = _one_shape(self.kind, tuple(largest if s == largest[-1:] else s for s in shapes))
        return Resolved(shape, Window.element(shapes[0]), macs=math.prod(shape) * (len(shapes) - 1))

    @override
    def forward(self, call: Call, *inputs: Array) -> Array:
        return channels.multiply(*inputs)


class Concat(Join):
    """Inputs side by side along the channels: the end of an inception module.

    Inputs (H, W, C1), (H, W, C2), ... -> (H, W, C1 + C2 + ...). Source: Szegedy et al. 2014.

    Example: `{concat: , from: [a, b]}`  (8, 8, 16), (8, 8, 32) -> (8, 8, 48), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("concatenate", "cat", "merge", "route")

    @override
    def resolve(self, *shapes: Shape) -> Resolved:
        if len({shape[:-1] for shape in shapes}) > 1:
            sizes = ", ".join(map(times, shapes))
            raise ShapeError(f"cannot join {sizes}: their heights and widths differ", "Check strides and padding.")
        return Resolved((*shapes[0][:-1], sum(shape[-1] for shape in shapes)), Window.element(shapes[0]))

    @override
    def forward(self, call: Call, *inputs: Array) -> Array:
        return channels.concat(*inputs)


def _one_shape(kind: str, shapes: tuple[Shape, ...]) -> Shape:
    """The shape that all have; ShapeError otherwise."""
    if len(set(shapes)) > 1:
        sizes = " and ".join(map(times, dict.fromkeys(shapes)))
        raise ShapeError(f"cannot {kind} {sizes}", "All inputs need one shape: check strides, padding and filters.")
    return shapes[0]
