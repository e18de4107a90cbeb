"""``cnn data``: how many images of what, and what the network sees of them."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from cnncli.config.schema import Config
from cnncli.data.transforms import augment
from cnncli.data.transforms.preprocess import apply_values, invert_values
from cnncli.data.transforms.transform import Constants
from cnncli.errors import ConfigError, Place, printable
from cnncli.report.tables import table
from cnncli.runs.files import replace_file
from cnncli.train.prepare import Data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, MOST_POINTS = 10, 2_000
FORMATS = (".png", ".svg", ".pdf", ".jpg", ".webp")


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
    made = table("class", *splits)
    for row in document["classes"]:
        made.add_row(Text(printable(row["class"])), *(f"{row[split]:,}" for split in splits))
    made.add_section()
    made.add_row("all", *(f"{document['splits'][split]:,}" for split in splits))
    return made


def picture_path(out: str | None, name: str) -> Path:
    """Where the picture goes. ConfigError (exit 2) where that is no name of a picture."""
    default = f"{name}-data.png"
    path = Path(out) if out else Path("runs", default)
    path = path / default if path.is_dir() else path.with_name(f"{path.name}.png") if not path.suffix else path
    if path.suffix.lower() not in FORMATS:
        raise ConfigError.of(f"{path.suffix} is no format that pictures are drawn in",
                             f"Choose one of {', '.join(FORMATS)}.", Place(str(path)))  # fmt: skip
    return path


def draw(config: Config, data: Data, constants: Constants, path: Path) -> None:
    """A picture: training examples as stored, augmented, and as the network gets them.

    Images of a batch are shown as images, examples of one or two numbers as points, others as lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    dataset = data.dataset
    train, classes = dataset.train, dataset.classes
    images, points = len(dataset.image_shape) == 3, len(dataset.image_shape) == 1 and dataset.image_shape[0] <= 2
    rows = np.random.default_rng((config.seed, 0)).permutation(len(train))[: MOST_POINTS if points else SHOWN]
    stored, labels = train.read(rows), train.labels[rows]
    seen, back = _seen(config, constants, stored)
    names = [printable(name)[:14] for name in classes]
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    if points:
        _points(figure, {"stored": stored, "augmented": back, "network's input": seen}, labels, names)
    else:
        captions = [names[label] for label in labels]
        ranges = [f"{each.min():.2g} .. {each.max():.2g}" for each in seen]
        shown = (_picture(stored), _picture(back), _stretched(seen)) if images else (stored, back, seen)
        _grid(figure, list(zip(("stored", "augmented", "network's input"), shown, (captions, (), ranges), strict=True)))
    title = f"{config.name}: training {'images' if images else 'examples'} before and after"
    figure.suptitle(textwrap.fill(title, round(8 * figure.get_figwidth())), parse_math=False)
    file = io.BytesIO()
    with warnings.catch_warnings():  # a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=110)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, file.getvalue())


def _seen(config: Config, constants: Constants, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network gets of stored examples once augmented, and that in values of pictures again."""
    import jax
    import jax.numpy as jnp

    key, images = jax.random.key(config.seed), jnp.asarray(stored, jnp.float32)
    x = augment.augment(config.data.augment, constants, key, images)[0]
    seen = np.asarray(apply_values(config.data.preprocess, constants, x))
    return seen, np.asarray(invert_values(config.data.preprocess, constants, seen))


def _points(figure: Figure, stages: dict[str, np.ndarray], labels: np.ndarray, names: Sequence[str]) -> None:
    """Each stage's points (N, 1 or 2), coloured by class; a single number lies on its class's height."""
    figure.set_size_inches(3.4 * len(stages), 3.4)
    for axis, (stage, x) in zip(figure.subplots(1, len(stages)), stages.items(), strict=True):
        for label in np.unique(labels)[:SHOWN]:
            of = x[labels == label]
            axis.scatter(of[:, 0], of[:, 1] if x.shape[1] == 2 else np.full(len(of), label), s=24, label=names[label])
        axis.set_title(stage, fontsize=9)
    axis.legend(fontsize=8)


def _grid(figure: Figure, stages: Sequence[tuple[str, np.ndarray, Sequence[str]]]) -> None:
    """A row for each stage: its examples (N, H, W, C) as images, others as lines, and their captions."""
    columns = len(stages[0][1])
    figure.set_size_inches(max(1.3 * columns, 4), 1.6 * len(stages) + 0.6)
    axes = figure.subplots(len(stages), columns, squeeze=False)
    for line, (stage, examples, captions) in zip(axes, stages, strict=True):
        for index, (axis, example) in enumerate(zip(line, examples, strict=True)):
            axis.set(xticks=[], yticks=[])
            if example.ndim == 3:
                axis.imshow(example[..., 0] if example.shape[2] == 1 else example, cmap="gray", vmin=0, vmax=255)
            else:
                axis.plot(example, linewidth=0.8)
            if captions:
                axis.set_title(captions[index], fontsize=8, parse_math=False)  # a class may be called $x
        line[0].set_ylabel(stage, fontsize=8)


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
