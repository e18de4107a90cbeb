"""Augmentations that mix two images of a batch and their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat
from typing_extensions import override

from cnncli.data.transforms.colour import box
from cnncli.data.transforms.transform import AnyImages, Augmentation, Images, Key, Mix, Mixed
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape

with lazy_imports():
    import jax
    import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Mixup(Mix):
    """Each image becomes share * itself + (1 - share) * the one before it in the batch, and so does its label.

    The share is drawn from Beta(strength, strength), one for each image. Source: Zhang et al. 2018.

    Example: `mixup: 0.2`
    """

    shorthand: ClassVar[str | None] = "strength"

    strength: PositiveFloat = Field(0.2, description="alpha of the Beta distribution; small: mostly one of the two")

    @override
    def mix(self, key: Key, x: AnyImages) -> Mixed:
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

    @override
    def out_shape(self, shape: Shape) -> Shape:
        return Augmentation.out_shape(self, shape)

    @override
    def mix(self, key: Key, x: Images) -> Mixed:
        keys = jax.random.split(key, 3)
        kept, partners = _share(keys[0], self.strength, x.shape[0]), _before(x.shape[0])
        spans = []
        for own, size in zip(keys[1:], x.shape[1:3], strict=True):
            middle, half = jax.random.uniform(own, kept.shape) * size, jnp.sqrt(1 - kept) * size / 2
            spans.append((jnp.round(middle - half), jnp.round(middle + half)))
        covered = box(x.shape, *spans)
        share = 1 - covered.mean((1, 2, 3), dtype=x.dtype)  # what is left after the edge cut the rectangle
        return jnp.where(covered, x[partners], x), partners, share


def _share(key: Key, strength: float, count: int) -> Float[Array, " count"]:
    """Draws from Beta(strength, strength): a / (a + b) of two gammas, from their logarithms."""
    a, b = jax.random.loggamma(key, strength, (2, count), jnp.float32)
    return jax.nn.sigmoid(a - b)


def _before(count: int) -> Int[Array, " count"]:
    """The row before each, the last before the first. Batches are in random order, so that is any other image."""
    return jnp.roll(jnp.arange(count, dtype=jnp.int32), 1)
