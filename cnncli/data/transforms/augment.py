"""Random changes to training images, on the device, inside the compiled step: pure functions of a key.

They see float32 images (B, H, W, C) in the values of the pictures, after pixel steps and before value steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from cnncli.data.transforms.colour import ColorJitter, Cutout, PcaNoise, RandomErasing
from cnncli.data.transforms.geometry import (
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomShift,
)
from cnncli.data.transforms.mixing import Cutmix, Mixup
from cnncli.data.transforms.transform import CHUNK, AnyArray, AnyImages, Augmentation, Constants, Key, Mix, Mixed, named
from cnncli.lazy import lazy_imports
from cnncli.spec import one_of, sequence

with lazy_imports():
    import jax
    import numpy as np

AUGMENTATIONS: tuple[type[Augmentation], ...] = (
    RandomShift, RandomCrop, RandomFlip, RandomRotation, RandomScale, RandomShear, RandomResizedCrop,
    ColorJitter, PcaNoise, Cutout, RandomErasing, Mixup, Cutmix,
)  # fmt: skip


def _one_mix(steps: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
    mixes = [step.kind for step in steps if isinstance(step, Mix)]
    if len(mixes) > 1:
        raise PydanticCustomError("mixes", "only one of mixup and cutmix can mix the labels, got {mixes}",
                                  {"mixes": ", ".join(mixes)})  # fmt: skip
    return steps


if TYPE_CHECKING:
    Augmentations = tuple[Augmentation, ...]
else:
    Augmentations = Annotated[sequence(one_of(AUGMENTATIONS)), AfterValidator(_one_mix)]


def fit(steps: Sequence[Augmentation], images: np.ndarray) -> Constants:
    """What augmentations need to know of the training images (pixel steps done)."""
    return {name: constants for name, step in named(steps) if (constants := step.fit(images))}


def augment(
    steps: Sequence[Augmentation], constants: Constants, key: Key, x: AnyImages
) -> Mixed | tuple[AnyImages, None, None]:
    """All augmentations in order, each with its own key: images, and of mixed ones the partners' rows and shares.

    Image i is ``share[i]`` itself and ``1 - share[i]`` image ``partners[i]`` (both None where nothing mixes).
    """
    partners = share = None
    for index, (name, step) in enumerate(named(steps)):
        own = jax.random.fold_in(key, index)
        if isinstance(step, Mix):
            x, partners, share = step.mix(own, x)
        else:
            x = step.apply(own, x, constants.get(name, {}))
    return x, partners, share  # type: ignore[return-value]


def eval_transform(steps: Sequence[Augmentation], x: AnyArray) -> AnyArray:
    """What evaluation does to a batch in the place of augmentations: only what the shape needs."""
    for step in steps:
        x = step.eval_transform(x)
    return x


def eval_transform_all(steps: Sequence[Augmentation], images: np.ndarray) -> np.ndarray:
    """``eval_transform`` of all training images, a chunk at a time: value steps are fitted to that shape."""
    if all(type(step).eval_transform is Augmentation.eval_transform for step in steps):
        return images
    return np.concatenate(
        [eval_transform(steps, images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]
    )
