"""Sliding windows: kernel, stride, padding and dilation over one or two axes, and the sizes that follow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import NonNegativeInt, PositiveInt, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnncli.errors import ShapeError
from cnncli.layers.base import Shape, Window, times
from cnncli.spec import check, describe

Pads = tuple[tuple[int, int], ...]


def _extent(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _padding(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("valid", "same", "full"):
            hint = "Write valid, same, full, a number, [height, width] or [[top, bottom], [left, right]]."
            raise PydanticCustomError("padding", "unknown padding '{word}'", {"word": value, "hint": hint})
        return value
    if isinstance(value, (list, tuple)):
        return tuple(tuple(side) if isinstance(side, list) else side for side in value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("padding", "expected padding, got {got}", {"got": describe(value)})
    return value


_number = {"type": "integer", "minimum": 1}
_extents = {"anyOf": [_number, {"type": "array", "items": _number, "minItems": 1, "maxItems": 2}]}
_side = {"type": "integer", "minimum": 0}
_extras = {"anyOf": [_side, {"type": "array", "items": _side, "minItems": 1, "maxItems": 2}]}
_pairs = {"type": "array", "items": {"type": "array", "items": _side, "minItems": 2, "maxItems": 2}, "maxItems": 2}
_paddings = [{"enum": ["valid", "same", "full"]}, _side, {"type": "array", "items": _side, "maxItems": 2}, _pairs]

# A number for every axis, or one number per axis: [height, width], or [length] on a sequence.
Extent = Annotated[
    PositiveInt | tuple[PositiveInt] | tuple[PositiveInt, PositiveInt], check(_extent), WithJsonSchema(_extents)
]
_Side = tuple[NonNegativeInt, NonNegativeInt]
# The same, where 0 is allowed.
Extra = Annotated[NonNegativeInt | tuple[NonNegativeInt] | _Side, check(_extent), WithJsonSchema(_extras)]
Padding = Annotated[
    Literal["valid", "same", "full"]
    | NonNegativeInt
    | tuple[NonNegativeInt]
    | _Side
    | tuple[_Side]
    | tuple[_Side, _Side],
    check(_padding),
    WithJsonSchema({"anyOf": _paddings}),
]


@dataclass(frozen=True)
class Resolved:
    """Windows resolved against an input: everything one number per axis, padding in (before, after) pairs."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pads
    out: tuple[int, ...]


class Sliding(Resolved):
    """Windows of a convolution or pool."""

    def window(self) -> Window:
        """As the receptive field sees it."""
        return Window(self.size, self.stride, self.dilation, tuple(before for before, _ in self.padding))


class Growing(Resolved):
    """Windows of a transposed convolution: those of the convolution that would lead from ``out`` back to the input."""

    def window(self) -> Window:
        """As the receptive field sees it: output i sees the inputs whose stamps reach it."""
        spans = [(k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True)]
        return grown(spans, self.stride, [before for before, _ in self.padding])


def grown(spans: Sequence[int], stride: Sequence[int], before: Sequence[int]) -> Window:
    """The window of a layer in which each input reaches ``spans`` outputs, every ``stride``, from ``-before`` on."""
    steps = list(zip(spans, stride, before, strict=True))
    return Window(
        tuple(math.ceil(span / s) for span, s, _ in steps),
        tuple(Fraction(1, s) for s in stride),
        (1,) * len(steps),
        tuple(Fraction(span - 1 - first, s) for span, s, first in steps),
    )


def spread(value: Any, axes: int, field: str, shape: Shape) -> tuple[int, ...]:
    """One number per axis. ShapeError where a pair meets a sequence."""
    numbers = (value,) * axes if isinstance(value, int) else value
    if len(numbers) != axes:
        raise ShapeError(f"{field} {list(numbers)} has {len(numbers)} numbers, the input {times(shape)} {axes} axes")
    return numbers


def slide(
    shape: Shape, kernel: Any, stride: Any, padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> Sliding:
    """Windows of ``kernel`` over a (height, width, channels) or (length, channels) input."""
    axes = len(shape) - 1
    if axes not in (1, 2):
        raise ShapeError(f"needs height x width x channels or length x channels, got {times(shape)}",
                         "A window cannot slide over a flat vector: put this before flatten or fc.")  # fmt: skip
    size = spread(kernel, axes, "kernel", shape)
    steps = spread(stride, axes, "stride", shape)
    gaps = spread(dilation, axes, "dilation", shape)
    spans = [(k - 1) * d + 1 for k, d in zip(size, gaps, strict=True)]
    pads = _pads(padding, shape, spans, steps)
    for n, span, (before, after) in zip(shape, spans, pads, strict=False):
        if span > n + before + after:
            raise _does_not_fit(shape, size, spans, padding)
    if ceil:
        pads = tuple(
            _ceil_pad(n, span, s, p) for n, span, s, p in zip(shape, spans, steps, pads, strict=False)
        )
    out = tuple(
        (n + sum(p) - span) // s + 1 for n, span, s, p in zip(shape, spans, steps, pads, strict=False)
    )
    return Sliding(size, steps, gaps, pads, out)


def grow(shape: Shape, kernel: Any, stride: Any, padding: Any, dilation: Any, extra: Any) -> Growing:
    """Stamps of ``kernel``, every ``stride``, over a (height, width, channels) or (length, channels) input.

    ``padding`` is the reverse convolution's and cuts the edges off; ``extra`` pixels are added behind.
    """
    unpadded = slide(shape, 1, stride)
    axes, steps = len(shape) - 1, unpadded.stride
    size, gaps = spread(kernel, axes, "kernel", shape), spread(dilation, axes, "dilation", shape)
    more = spread(extra, axes, "output_padding", shape)
    for m, s, d in zip(more, steps, gaps, strict=True):
        if m >= max(s, d):
            raise ShapeError(f"output_padding {m} is not below the stride {s} or the dilation {d}",
                             f"Try output_padding: {max(s, d) - 1}, or none.")  # fmt: skip
    spans = [(k - 1) * d + 1 for k, d in zip(size, gaps, strict=True)]
    reverse = (*(n * s for n, s in zip(shape, steps, strict=False)), shape[-1])
    cuts = _pads(padding, reverse, spans, steps)
    if padding == "same":  # out = n * stride, also where the stamps leave gaps
        more = tuple(max(s - span, 0) for s, span in zip(steps, spans, strict=True))
    pads = tuple((before, after - m) for (before, after), m in zip(cuts, more, strict=True))
    out = tuple((n - 1) * s + span - sum(p) for n, s, span, p in zip(shape, steps, spans, pads, strict=False))
    if min(out) < 1:
        raise ShapeError(f"padding {padding} leaves {times(out)} of the enlarged map", "Use less padding.")
    return Growing(size, steps, gaps, pads, out)


def _pads(padding: Any, shape: Shape, spans: list[int], steps: tuple[int, ...]) -> Pads:
    if padding == "valid":
        return ((0, 0),) * len(spans)
    if padding == "full":
        return tuple((span - 1, span - 1) for span in spans)
    if padding == "same":  # out = ceil(n / stride), the odd one after
        totals = [
            max((math.ceil(n / s) - 1) * s + span - n, 0) for n, s, span in zip(shape, steps, spans, strict=False)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, int):
        return ((padding, padding),) * len(spans)
    if len(padding) != len(spans):
        raise ShapeError(f"padding {list(padding)} is not for the {len(spans)} axes of the input {times(shape)}")
    return tuple((side, side) if isinstance(side, int) else side for side in padding)


def _ceil_pad(n: int, span: int, step: int, pad: tuple[int, int]) -> tuple[int, int]:
    """Padding that lets a last, partial window in, unless it would begin in the padding: Caffe's and PyTorch's rule."""
    before, after = pad
    out = math.ceil((n + before + after - span) / step) + 1
    if (out - 1) * step >= n + before:
        out -= 1
    return before, max((out - 1) * step + span - n - before, after)


def _does_not_fit(shape: Shape, size: tuple[int, ...], spans: list[int], padding: Any) -> ShapeError:
    dilated = f" (dilated to {times(tuple(spans))})" if spans != list(size) else ""
    word = padding if isinstance(padding, str) else str(padding)
    smaller = min(shape[:-1])
    hint = f"Try padding: same, or kernel: {smaller}." if padding in ("valid", 0) else f"Try kernel: {smaller}."
    return ShapeError(f"kernel {times(size)}{dilated} does not fit the {times(shape)} input (padding: {word})", hint)
