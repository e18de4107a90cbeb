"""LeNet-5's output: distances to the picture of each digit."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Weight, Window, times
from cnncli.layers.initializers import Given
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import channels

# 7 x 12 pixels each, in the style of LeCun et al. 1998, figure 3; # is +1, . is -1.
BITMAPS = """
..###.. ...#... .#####. .#####. .....#. ####### ..####. ####### ..###.. ..###..
.#...#. ..##... #.....# #.....# ....##. #...... .#....# ......# .#...#. .#...#.
#.....# .#.#... ......# ......# ...#.#. #...... #...... ......# #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# ......# .#...#. #.####. #...... .....#. .#...#. #.....#
#.....# ...#... .....#. ..####. #....#. ##....# #.####. ....#.. ..###.. .#...##
#.....# ...#... ....#.. ......# #....#. ......# ##....# ....#.. .#...#. ..###.#
#.....# ...#... ...#... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# .....#. ......# #.....# ..#.... #.....# ......#
.#...#. ...#... #...... #.....# .....#. #.....# .#...#. ..#.... .#...#. .#...#.
..###.. .#####. ####### .#####. .....#. .#####. ..###.. ..#.... ..###.. ..###..
"""


@cache
def codes() -> Given:
    """(10, 84) numbers 1 and -1: the picture of each digit, row by row."""
    rows = [line.split() for line in BITMAPS.strip().splitlines()]
    pictures = ("".join(parts) for parts in zip(*rows, strict=True))
    return Given(values=tuple(tuple(1 if pixel == "#" else -1 for pixel in picture) for picture in pictures))


class Rbf(Layer):
    """LeNet-5's output: for each digit minus the squared distance to its 7x12 picture of +1 and -1, the largest wins.

    Input (84,), as from `fc: 84` and `scaled_tanh` -> output (10,), y_i = -sum over j of (x_j - w_ij)^2: scores, at
    most 0; the 1998 text has the distances themselves, where the smallest wins. The pictures w are not trained.
    Source: LeCun et al. 1998.

    Example: `rbf`  (84,) -> (10,), 840 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("radial_basis", "radial_basis_function", "euclidean_rbf")

    trainable: bool = Field(False, description="true: the pictures are a start and are trained")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        if math.prod(shape) != 84:
            raise ShapeError(f"compares 84 values with pictures of 7x12, got {times(shape)}", "Put fc: 84 before it.")
        weights = {"codes": Weight((10, 84), codes(), (84, 10), trainable=self.trainable)}
        return Resolved((10,), Window.whole(shape), weights, macs=840)

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return -channels.squared_distances(x, call.array("codes"))
