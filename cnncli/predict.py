"""Classes and probabilities for pictures, from the run folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnncli.data.images import decode
from cnncli.data.preprocess import apply_pixels
from cnncli.errors import CheckpointError, DataError, Place
from cnncli.train.checkpointing import Trained, open_trained
from cnncli.train.events import Events
from cnncli.train.step import make_forward

BATCH = 64


def predict(path: Path, files: Sequence[Path], which: str, events: Events) -> list[dict[str, Any]]:
    """One document per file: file, class, probability, and the probability of every class."""
    trained = open_trained(path, which, events)
    images = [picture(trained, file) for file in files]
    probabilities = forward(trained, np.stack(images), events)
    documents = []
    for file, row in zip(files, probabilities, strict=True):
        top = int(row.argmax())
        named = {name: float(value) for name, value in zip(trained.saved.classes, row, strict=True)}
        documents.append({"file": str(file), "class": trained.saved.classes[top], "probability": float(row[top]),
                          "probabilities": named})  # fmt: skip
    return documents


def picture(trained: Trained, file: Path) -> np.ndarray:
    """A file as the training images were stored: same size and channels, pixel steps done."""
    shape = trained.saved.image_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError.of(f"this network takes {shape}, not pictures", place=Place(str(file)))
    image = decode(file, shape[2], shape[:2])
    return apply_pixels(trained.loaded.config.data.preprocess, image[None])[0]


def forward(trained: Trained, images: np.ndarray, events: Events) -> np.ndarray:
    """Probabilities (N, C) of stored images (N, H, W, C)."""
    config = trained.loaded.config
    run, loss = jax.jit(make_forward(config, trained.model)), config.train.loss
    parts = []
    for start in range(0, len(images), BATCH):
        outputs = run(trained.eval_weights, trained.constants, images[start : start + BATCH])
        parts.append(np.asarray(loss.probabilities(outputs)))
        events.loading("predicting", min(start + BATCH, len(images)), len(images))
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise CheckpointError.of("gives probabilities that are not finite", place=Place(str(trained.folder)))
    return found
