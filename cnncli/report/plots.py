"""Pictures: the curves of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.runs.directory import Run
from cnncli.runs.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def picture(path: Path, width: float, height: float, dpi: int = 120) -> Iterator[Figure]:
    """A figure of ``width`` x ``height`` inches, saved to ``path`` at the end of the block.

    Drawn by Agg in matplotlib's own style: neither pyplot's state nor the user's settings have a say.
    """
    _import_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as file:
            figure.savefig(file, dpi=dpi, format=path.suffix[1:] or "png")


def _import_matplotlib() -> None:
    """Import matplotlib without MPLBACKEND and any matplotlibrc: one that it refuses would end the import."""
    found = find_spec("matplotlib") if "matplotlib" not in sys.modules else None
    if found is None or not found.submodule_search_locations:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    # The first matplotlibrc looked for is the one in the working folder: let it be the package's own.
    os.chdir(Path(found.submodule_search_locations[0]) / "mpl-data")
    try:
        import matplotlib  # noqa: F401
    finally:
        os.fchdir(here)
        os.close(here)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def curves(run: Run) -> Path | None:
    """plots/curves.png: loss, accuracy and learning rate over the epochs; None before the first epoch ends."""
    lines = run.metric_lines()
    epochs = [line for line in lines if line["kind"] == "epoch"]
    if not epochs:
        return None
    path = run.plots / "curves.png"
    per_epoch = epochs[-1]["step"] / epochs[-1]["epoch"]
    steps = [line for line in lines if line["kind"] == "steps"]
    with picture(path, 4.2 * 3, 3.4) as figure:
        loss, accuracy, rate = figure.subplots(1, 3)
        if steps:
            x = [line["step"] / per_epoch for line in steps]
            label = f"training, every {steps[0]['step']} steps"
            loss.plot(x, [line["loss"] for line in steps], color="0.8", lw=1, label=label)
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
    return path
