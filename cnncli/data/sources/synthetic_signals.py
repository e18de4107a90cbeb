"""Generated sequences: a task for 1-D convolutions that needs no file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from cnncli.data.sources.source import Progress, Source
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape

with lazy_imports():
    import numpy as np

WAVES = ("sine", "square", "triangle", "sawtooth")


class Signals(Source):
    """Noisy waves of four shapes, of random frequency, phase and amplitude: which shape is it?

    Sequence (length, 1) float32; classes sine, square, triangle, sawtooth. A fifth of each class is the test split.
    Everything follows from `seed`. Source: generated here, no file is read.

    Example: `signals: {count: 2000, length: 128}`
    """

    aliases: ClassVar[tuple[str, ...]] = ("generated", "synthetic", "waves", "sequences")

    names: ClassVar[tuple[str, ...]] = WAVES

    count: int = Field(2000, ge=40, le=1_000_000, description="number of sequences")
    length: int = Field(128, ge=16, le=65_536, description="values in a sequence")
    noise: float = Field(0.3, ge=0, le=10, description="its standard deviation; waves have amplitude 0.5 to 1.5")
    seed: int = Field(0, ge=0, lt=1 << 31, description="which sequences")

    @override
    def image_shape(self) -> Shape:
        return (self.length, 1)

    @override
    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        random = np.random.default_rng(self.seed)
        labels = np.arange(self.count, dtype=np.int32) % len(WAVES)
        periods = random.uniform(2, 8, (self.count, 1)) * np.linspace(0, 1, self.length, endpoint=False)
        phase = (periods + random.uniform(0, 1, (self.count, 1))) % 1.0  # (N, length)
        waves = np.choose(labels[:, None], shapes(phase)) * random.uniform(0.5, 1.5, (self.count, 1))
        noisy = (waves + self.noise * random.standard_normal(waves.shape)).astype(np.float32)[..., None]
        test = np.arange(self.count) // len(WAVES) % 5 == 4
        everything = ArraySplit(noisy, labels)
        return Dataset(WAVES, everything.take(~test), test=everything.take(test))


def shapes(phase: np.ndarray) -> list[np.ndarray]:
    """Waves of amplitude 1 at ``phase`` in 0 .. 1, in the order of ``WAVES``."""
    sawtooth = 2 * phase - 1
    return [np.sin(2 * np.pi * phase), np.where(phase < 0.5, 1.0, -1.0), 1 - 2 * np.abs(sawtooth), sawtooth]
