"""Augmentations that mix two images of a batch and their labels."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat

from cnncli.data.augment_base import Augmentation, Mix
from cnncli.data.augment_colour import box
from cnncli.data.base import Shape

if TYPE_CHECKING:
    from jax import Array


class Mixup(Mix):
    """Each image becomes share * itself + (1 - share) * the one before it in the batch, and so does its label.

    The share is drawn from Beta(strength, strength), one for each image. Source: Zhang et al. 2018.

    Example: `mixup: 0.2`
    """

    shorthand: ClassVar[str | None] = "strength"

    strength: PositiveFloat = Field(0.2, description="alpha of the Beta distribution; small: mostly one of the two")

    def mix(self, key: "Array", x: "Array") -> "tuple[Array, Array, Array]":
        """Blends."""
        share = _share(key, self.strength, x.shape[0])
        wide = share.reshape(-1, *(1,) * (x.ndim - 1))
        partners = _before(x.shape[0])
        return wide * x + (1 - wide) * x[partners], partners, share


class Cutmix(Mix):
    """A rectangle of each image is replaced by that of the one before it in the batch; the label is shared by area.

    The area kept is drawn from Beta(strength, strength). Source: Yun et al. 2019.

    Example: `cutmix: 1`
    """

    shorthand: ClassVar[str | None] = "strength"

    strength: PositiveFloat = Field(1.0, description="alpha of the Beta distribution; 1: every area equally likely")

    def out_shape(self, shape: Shape) -> Shape:
        """Pictures only."""
        return Augmentation.out_shape(self, shape)

    def mix(self, key: "Array", x: "Array") -> "tuple[Array, Array, Array]":
        """Patches."""
        import jax
        import jax.numpy as jnp

        keys = jax.random.split(key, 3)
        kept, partners = _share(keys[0], self.strength, x.shape[0]), _before(x.shape[0])
        spans = []
        for own, size in zip(keys[1:], x.shape[1:3], strict=True):
            middle, half = jax.random.uniform(own, kept.shape) * size, jnp.sqrt(1 - kept) * size / 2
            spans.append((jnp.round(middle - half), jnp.round(middle + half)))
        covered = box(x.shape, *spans)
        share = 1 - covered.mean((1, 2, 3), dtype=x.dtype)  # what is left after the edge cut the rectangle
        return jnp.where(covered, x[partners], x), partners, share


def _share(key: "Array", strength: float, count: int) -> "Array":
    """Draws from Beta(strength, strength): a / (a + b) of two gammas, from their logarithms."""
    import jax
    import jax.numpy as jnp

    a, b = jax.random.loggamma(key, strength, (2, count), jnp.float32)
    return jax.nn.sigmoid(a - b)


def _before(count: int) -> "Array":
    """The row before each, the last before the first. Batches are in random order, so that is any other image."""
    import jax.numpy as jnp

    return jnp.roll(jnp.arange(count, dtype=jnp.int32), 1)
