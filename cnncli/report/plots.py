"""Pictures: curves of a run, batches as the network sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnncli.runs.directory import Run


def curves(run: Run) -> Path | None:
    """plots/curves.png: loss, accuracy and learning rate over the epochs; None before the first epoch ends."""
    lines = run.metric_lines()
    epochs = [line for line in lines if line["kind"] == "epoch"]
    if not epochs:
        return None
    figure, (loss, accuracy, rate) = _figure(3)
    per_epoch = epochs[-1]["step"] / epochs[-1]["epoch"]
    steps = [line for line in lines if line["kind"] == "steps"]
    loss.plot([line["step"] / per_epoch for line in steps], [line["loss"] for line in steps], color="0.8", lw=1)
    for axis, figure_name in ((loss, "loss"), (accuracy, "accuracy")):
        x = [line["epoch"] for line in epochs]
        axis.plot(x, [line["train"][figure_name] for line in epochs], "o-", ms=3, label="training")
        val = [(line["epoch"], line["val"][figure_name]) for line in epochs if line["val"]]
        if val:
            axis.plot(*zip(*val, strict=True), "o-", ms=3, label="validation")
        axis.set(title=figure_name, xlabel="epoch")
        axis.legend()
    rate.plot([line["epoch"] for line in epochs], [line["lr"] for line in epochs], "o-", ms=3)
    rate.set(title="learning rate", xlabel="epoch")
    path = run.plots / "curves.png"
    figure.savefig(path, dpi=120)
    return path


def grid(rows: list[tuple[str, Any, list[str]]], path: Path, title: str) -> Path:
    """A picture of images: each row a name, images (N, H, W, C) uint8 and a caption per image."""
    from matplotlib.figure import Figure

    columns = max(len(captions) for _, _, captions in rows)
    figure = Figure(figsize=(1.3 * columns, 1.6 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images, captions) in zip(axes, rows, strict=True):
        for index, axis in enumerate(line):
            axis.set_xticks([])
            axis.set_yticks([])
            if index >= len(captions):
                axis.set_axis_off()
                continue
            image = images[index]
            grey = image.shape[-1] == 1
            axis.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)
            axis.set_title(captions[index], fontsize=8, parse_math=False)  # a class may be called $x
        line[0].set_ylabel(name, fontsize=8)
    figure.savefig(path, dpi=110)
    return path


def _figure(panels: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * panels, 3.4), layout="constrained")
    return figure, figure.subplots(1, panels)
