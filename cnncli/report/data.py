"""``cnn data``: how many examples of each class, and a picture of what the network gets of them."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import RenderableType
from rich.text import Text

from cnncli.config.schema import Config
from cnncli.data.splits import SPLITS
from cnncli.data.transforms import augment
from cnncli.data.transforms.preprocess import apply_values, invert_values
from cnncli.data.transforms.transform import Constants
from cnncli.errors import ConfigError, Place, printable
from cnncli.report import plots
from cnncli.report.tables import make_table
from cnncli.train.prepare import Data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES, MAX_POINTS = 10, 2_000
STAGES = ("stored", "augmented", "network's input")
FORMATS = (".png", ".svg", ".pdf", ".jpg", ".webp")


def counts(data: Data) -> dict[str, Any]:
    """Number of examples of every class in every split: train, val, test."""
    classes, splits = data.dataset.classes, data.dataset.splits
    totals = {
        name: np.bincount(splits[name].labels, minlength=len(classes)) for name in reversed(SPLITS) if name in splits
    }
    return {
        "image_shape": list(data.image_shape),
        "splits": {name: int(total.sum()) for name, total in totals.items()},
        "classes": [{"class": name} | {split: int(total[i]) for split, total in totals.items()}
                    for i, name in enumerate(classes)],
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


def picture_path(out: str | None, name: str) -> Path:
    """Where the picture is written. ConfigError if it is not the name of a picture."""
    default = f"{name}-data.png"
    path = Path(out) if out else Path("runs", default)
    path = path / default if path.is_dir() else path.with_name(f"{path.name}.png") if not path.suffix else path
    if path.suffix.lower() not in FORMATS:
        raise ConfigError.of(f"{path.suffix} is no format that pictures are drawn in",
                             f"Choose one of {', '.join(FORMATS)}.", Place(str(path)))  # fmt: skip
    return path


def draw(config: Config, data: Data, constants: Constants, path: Path) -> None:
    """Draw training examples as stored, augmented, and as the network gets them.

    Images are drawn as images, examples of one or two numbers as points, others as lines.
    """
    train = data.dataset.train
    shape = data.dataset.image_shape
    images, points = len(shape) == 3, len(shape) == 1 and shape[0] <= 2
    rows = np.random.default_rng((config.seed, 0)).permutation(len(train))[: MAX_POINTS if points else EXAMPLES]
    stored, labels = train.read(rows), train.labels[rows]
    seen, augmented = _network_input(config, constants, stored)
    names = [printable(name)[:14] for name in data.dataset.classes]
    width, height = (3.4 * len(STAGES), 3.4) if points else (max(1.3 * len(rows), 4), 1.6 * len(STAGES) + 0.6)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), plots.picture(path, width, height, dpi=110) as figure:
        # Characters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        if points:
            _points(figure, (stored, augmented, seen), labels, names)
        else:
            captions = [names[label] for label in labels], (), [f"{x.min():.2g} .. {x.max():.2g}" for x in seen]
            shown = (_picture(stored), _picture(augmented), _stretched(seen)) if images else (stored, augmented, seen)
            _grid(figure, shown, captions)
        title = f"{config.name}: training {'images' if images else 'examples'} before and after"
        figure.suptitle(textwrap.fill(title, round(8 * width)), parse_math=False)


def _network_input(config: Config, constants: Constants, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network gets of augmented examples, and the same without its value steps: as stored ones."""
    key, images = jax.random.key(config.seed), jnp.asarray(stored, jnp.float32)
    x = augment.augment(config.data.augment, constants, key, images)[0]
    seen = np.asarray(apply_values(config.data.preprocess, constants, x))
    return seen, np.asarray(invert_values(config.data.preprocess, constants, seen))


def _points(figure: Figure, stages: Sequence[np.ndarray], labels: np.ndarray, names: Sequence[str]) -> None:
    """Each stage's points (N, 1 or 2), coloured by class; a single number is drawn at the height of its class."""
    for axis, title, x in zip(figure.subplots(1, len(STAGES)), STAGES, stages, strict=True):
        for label in np.unique(labels)[:EXAMPLES]:
            of = x[labels == label]
            axis.scatter(of[:, 0], of[:, 1] if x.shape[1] == 2 else np.full(len(of), label), s=24, label=names[label])
        axis.set_title(title, fontsize=9)
    axis.legend(fontsize=8)


def _grid(figure: Figure, stages: Sequence[np.ndarray], captions: Sequence[Sequence[str]]) -> None:
    """A row for each stage: its examples (N, H, W, C) as images, others as lines, and their captions."""
    axes = figure.subplots(len(STAGES), len(stages[0]), squeeze=False)
    for row, title, examples, texts in zip(axes, STAGES, stages, captions, strict=True):
        row[0].set_ylabel(title, fontsize=8)
        for index, (axis, example) in enumerate(zip(row, examples, strict=True)):
            axis.set(xticks=[], yticks=[])
            if example.ndim == 3:
                axis.imshow(example[..., 0] if example.shape[2] == 1 else example, cmap="gray", vmin=0, vmax=255)
            else:
                axis.plot(example, linewidth=0.8)
            if texts:
                # Without mathematics: a class may be called $x.
                axis.set_title(texts[index], fontsize=8, parse_math=False)


def _picture(images: np.ndarray) -> np.ndarray:
    return np.clip(_shown(images), 0, 255).astype(np.uint8) if images.max(initial=0) > 1 else _stretched(images)


def _stretched(images: np.ndarray) -> np.ndarray:
    """Each image's range as 0 .. 255."""
    maps = _shown(images)
    axes = (1, 2, 3)
    low, high = maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)
    return (255 * (maps - low) / np.maximum(high - low, 1e-9)).astype(np.uint8)


def _shown(images: np.ndarray) -> np.ndarray:
    """Images that are neither grey nor RGB by their first channel."""
    return images if images.shape[-1] in (1, 3) else images[..., :1]
