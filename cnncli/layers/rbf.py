"""LeNet-5's output: distances to the picture of each digit."""

import math
from functools import cache
from typing import Any, ClassVar

from pydantic import Field

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, Window, times
from cnncli.layers.dense import whole
from cnncli.layers.initializers import Given

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
    """(10, 84) numbers +1 and -1: for each digit its picture, row by row."""
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

    words: ClassVar[tuple[str, ...]] = ("radial_basis", "radial_basis_function", "euclidean_rbf")

    trainable: bool = Field(False, description="true: the pictures are a start and are trained")

    def out_shape(self, shape: Shape) -> Shape:
        """(84,) -> (10,)."""
        if math.prod(shape) != 84:
            raise ShapeError(f"compares 84 values with pictures of 7x12, got {times(shape)}", "Put fc: 84 before it.")
        return (10,)

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """codes (10, 84)."""
        return {"codes": Weight((10, 84), codes(), (84, 10), trainable=self.trainable)}

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, 84) -> (B, 10), summed in float32."""
        import jax.numpy as jnp

        apart = x.reshape(-1, 1, 84).astype(jnp.float32) - variables.array("codes")[None]  # (B, 10, 84)
        return -jnp.square(apart).sum(-1).astype(x.dtype), {}

    def macs(self, shape: Shape) -> int:
        """A square per code's value."""
        return 840

    def window(self, shape: Shape) -> Window:
        """Everything."""
        return whole(shape)
