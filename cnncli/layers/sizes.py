"""Sizes, strides and padding of kernels: the types of their fields, and the geometry that follows from them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnncli.errors import ShapeError
from cnncli.layers.base import Shape, times
from cnncli.sliding import Pads, Sliding, spans
from cnncli.spec import describe


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


def _per_axis(number: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [number, {"type": "array", "items": number, "minItems": 1, "maxItems": 2}]}


_size = {"type": "integer", "minimum": 1}
_side = {"type": "integer", "minimum": 0}
_pairs = {"type": "array", "items": {"type": "array", "items": _side, "minItems": 2, "maxItems": 2}, "maxItems": 2}
_paddings = [{"enum": ["valid", "same", "full"]}, _side, {"type": "array", "items": _side, "maxItems": 2}, _pairs]

Numbers = int | tuple[int, ...]
# A number for every axis, or one number per axis: [height, width], or [length] on a sequence.
Extent = Annotated[
    PositiveInt | tuple[PositiveInt] | tuple[PositiveInt, PositiveInt],
    BeforeValidator(_extent),
    WithJsonSchema(_per_axis(_size)),
]
_Side = tuple[NonNegativeInt, NonNegativeInt]
# The same, where 0 is allowed.
ExtentOrZero = Annotated[
    NonNegativeInt | tuple[NonNegativeInt] | _Side, BeforeValidator(_extent), WithJsonSchema(_per_axis(_side))
]
Padding = Annotated[
    Literal["valid", "same", "full"]
    | NonNegativeInt
    | tuple[NonNegativeInt]
    | _Side
    | tuple[_Side]
    | tuple[_Side, _Side],
    BeforeValidator(_padding),
    WithJsonSchema({"anyOf": _paddings}),
]


def slide(
    shape: Shape, kernel: Numbers, stride: Numbers, padding: Any = 0, dilation: Numbers = 1, ceil: bool = False
) -> Sliding:
    """A kernel over a (height, width, channels) or (length, channels) input. ``ceil``: a partial window counts too."""
    axes = len(shape) - 1
    if axes not in (1, 2):
        raise ShapeError(f"needs height x width x channels or length x channels, got {times(shape)}",
                         "A window cannot slide over a flat vector: put this before flatten or fc.")  # fmt: skip
    size = _numbers(kernel, "kernel", shape)
    steps = _numbers(stride, "stride", shape)
    gaps = _numbers(dilation, "dilation", shape)
    lengths = spans(size, gaps)
    written = pads = _pads(padding, shape, lengths, steps)
    if any(span > n + before + after for n, span, (before, after) in zip(shape, lengths, pads, strict=False)):
        raise _does_not_fit(shape, size, lengths, padding)
    if ceil:
        pads = tuple(_ceil_pad(*each) for each in zip(shape, lengths, steps, pads, strict=False))
    out = tuple((n + sum(p) - span) // s + 1 for n, span, s, p in zip(shape, lengths, steps, pads, strict=False))
    return Sliding(size, steps, gaps, pads, out, written)


def slide_transposed(
    shape: Shape, kernel: Numbers, stride: Numbers, padding: Any, dilation: Numbers, extra: Numbers
) -> Sliding:
    """The kernel of a transposed convolution of a (height, width, channels) or (length, channels) input.

    ``padding`` is that of the convolution it reverses; it is cut off. ``extra`` pixels are added behind.
    """
    steps = slide(shape, 1, stride).stride
    size, gaps = _numbers(kernel, "kernel", shape), _numbers(dilation, "dilation", shape)
    more = _numbers(extra, "output_padding", shape)
    for m, s, d in zip(more, steps, gaps, strict=True):
        if m >= max(s, d):
            raise ShapeError(f"output_padding {m} is not below the stride {s} or the dilation {d}",
                             f"Try output_padding: {max(s, d) - 1}, or none.")  # fmt: skip
    lengths = spans(size, gaps)
    reverse = (*(n * s for n, s in zip(shape, steps, strict=False)), shape[-1])
    cuts = _pads(padding, reverse, lengths, steps)
    if padding == "same":  # out = n * stride, also where the kernels leave gaps
        more = tuple(max(s - span, 0) for s, span in zip(steps, lengths, strict=True))
    pads = tuple((before, after - m) for (before, after), m in zip(cuts, more, strict=True))
    out = tuple((n - 1) * s + span - sum(p) for n, s, span, p in zip(shape, steps, lengths, pads, strict=False))
    if min(out) < 1:
        raise ShapeError(f"padding {padding} leaves {times(out)} of the enlarged map", "Use less padding.")
    return Sliding(size, steps, gaps, pads, out, pads, transposed=True)


def _numbers(value: Numbers, field: str, shape: Shape) -> tuple[int, ...]:
    """One number per axis."""
    axes = len(shape) - 1
    numbers = (value,) * axes if isinstance(value, int) else value
    if len(numbers) != axes:
        raise ShapeError(f"{field} {list(numbers)} has {len(numbers)} numbers, the input {times(shape)} {axes} axes")
    return numbers


def _pads(padding: Any, shape: Shape, lengths: list[int], steps: tuple[int, ...]) -> Pads:
    """(before, after) along each axis, from any written form of the padding."""
    if padding == "valid":
        return ((0, 0),) * len(lengths)
    if padding == "full":
        return tuple((span - 1, span - 1) for span in lengths)
    if padding == "same":  # out = ceil(n / stride), the odd pixel behind
        axes = zip(shape, steps, lengths, strict=False)
        totals = [max((math.ceil(n / s) - 1) * s + span - n, 0) for n, s, span in axes]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, int):
        return ((padding, padding),) * len(lengths)
    if len(padding) != len(lengths):
        raise ShapeError(f"padding {list(padding)} is not for the {len(lengths)} axes of the input {times(shape)}")
    return tuple((side, side) if isinstance(side, int) else side for side in padding)


def _ceil_pad(n: int, span: int, step: int, pad: tuple[int, int]) -> tuple[int, int]:
    """Padding for a last, partial window, unless that would begin in the padding: the rule of Caffe and PyTorch."""
    before, after = pad
    out = math.ceil((n + before + after - span) / step) + 1
    if (out - 1) * step >= n + before:
        out -= 1
    return before, max((out - 1) * step + span - n - before, after)


def _does_not_fit(shape: Shape, size: tuple[int, ...], lengths: list[int], padding: Any) -> ShapeError:
    dilated = f" (dilated to {times(tuple(lengths))})" if lengths != list(size) else ""
    smaller = min(shape[:-1])
    hint = f"Try padding: same, or kernel: {smaller}." if padding in ("valid", 0) else f"Try kernel: {smaller}."
    return ShapeError(f"kernel {times(size)}{dilated} does not fit the {times(shape)} input (padding: {padding})", hint)
