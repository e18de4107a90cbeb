"""``cnn data``: how many images of what, and what the network sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from cnncli.config.schema import Config
from cnncli.data import augment
from cnncli.data.preprocess import Constants, apply_values, invert_values
from cnncli.errors import printable
from cnncli.report.plots import grid
from cnncli.report.tables import make_table
from cnncli.train.prepare import Data

SHOWN = 10


def counts(data: Data) -> dict[str, Any]:
    """Images of every class in every split."""
    dataset = data.dataset
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    tallies = {
        name: np.bincount(split.labels, minlength=len(dataset.classes)) for name, split in splits.items() if split
    }
    return {
        "image_shape": list(data.image_shape),
        "splits": {name: int(tally.sum()) for name, tally in tallies.items()},
        "classes": [{"class": name} | {split: int(tally[i]) for split, tally in tallies.items()}
                    for i, name in enumerate(dataset.classes)],
        "sha256": data.fingerprint,
    }  # fmt: skip


def counts_table(document: dict[str, Any]) -> RenderableType:
    """A row per class."""
    splits = list(document["splits"])
    table = make_table("class", *splits)
    for row in document["classes"]:
        table.add_row(Text(printable(row["class"])), *(f"{row[split]:,}" for split in splits))
    table.add_section()
    table.add_row("all", *(f"{document['splits'][split]:,}" for split in splits))
    return table


def draw(config: Config, data: Data, constants: Constants, path: Path) -> Path:
    """A picture: the first images of a training batch as stored, augmented, and as the network gets them."""
    import jax
    import jax.numpy as jnp

    train, classes = data.dataset.train, data.dataset.classes
    rows = np.random.default_rng((config.seed, 0)).permutation(len(train))[:SHOWN]
    stored = train.images[rows]
    key, images = jax.random.key(config.seed), jnp.asarray(stored, jnp.float32)
    x = augment.augment(config.data.augment, constants, key, images)[0]
    seen = np.asarray(apply_values(config.data.preprocess, constants, x))
    back = np.asarray(invert_values(config.data.preprocess, constants, seen))  # what the network sees, as a picture
    names = [printable(classes[label])[:14] for label in train.labels[rows]]
    ranges = [f"{each.min():.2g} .. {each.max():.2g}" for each in seen]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [("stored", _picture(stored), names), ("augmented", _picture(back), [""] * len(rows)),
             ("network's input", _stretched(seen), ranges)]  # fmt: skip
    return grid(lines, path, f"{config.name}: training images before and after")


def _picture(images: np.ndarray) -> np.ndarray:
    return np.clip(_as_maps(images), 0, 255).astype(np.uint8) if images.max(initial=0) > 1 else _stretched(images)


def _stretched(images: np.ndarray) -> np.ndarray:
    """Each image's range as 0 .. 255."""
    maps = _as_maps(images)
    axes = (1, 2, 3)
    low, high = maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)
    return (255 * (maps - low) / np.maximum(high - low, 1e-9)).astype(np.uint8)


def _as_maps(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 1 or 3) whatever the shape: vectors and sequences as a strip."""
    maps = images.reshape(len(images), *(1,) * (4 - images.ndim), *images.shape[1:]) if images.ndim < 4 else images
    return maps if maps.shape[-1] in (1, 3) else maps[..., :1]
