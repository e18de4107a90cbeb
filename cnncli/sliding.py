"""The geometry of a kernel that slides over a map. One form from the graph to the compiled kernels; no JAX here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]  # per example, channels last
Sizes = tuple[int, ...]  # one number along each spatial axis
Pads = tuple[tuple[int, int], ...]  # (before, after) along each spatial axis


@dataclass(frozen=True)
class Sliding:
    """A kernel of ``size`` that slides over one or two axes, to ``out`` positions.

    ``transposed``: it slides over the output, and ``padding`` is cut off there. ``written``: the padding as the config
    gives it; ``padding`` is larger where a last, partial window counts too.
    """

    size: Sizes = ()
    stride: Sizes = ()
    dilation: Sizes = ()
    padding: Pads = ()
    out: Sizes = ()
    written: Pads = ()
    transposed: bool = False

    @property
    def spans(self) -> list[int]:
        """Pixels from the dilated kernel's first tap to its last."""
        return spans(self.size, self.dilation)


def spans(size: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Pixels from a dilated kernel's first tap to its last, along each axis."""
    return [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
