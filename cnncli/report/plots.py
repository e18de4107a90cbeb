"""Pictures, drawn with matplotlib: of any kind, and the curves of a run."""

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

    Neither pyplot's state nor the user's settings of matplotlib change it.
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
    """Import matplotlib without the user's MPLBACKEND and matplotlibrc: the import would fail if they are invalid."""
    spec = find_spec("matplotlib") if "matplotlib" not in sys.modules else None
    if spec is None or not spec.submodule_search_locations:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    # A matplotlibrc in the working folder goes first: the folder is that of matplotlib's own one meanwhile.
    os.chdir(Path(spec.submodule_search_locations[0]) / "mpl-data")
    try:
        import matplotlib  # noqa: F401
    finally:
        os.fchdir(here)
        os.close(here)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def curves(run: Run) -> Path | None:
    """Draw loss, accuracy and learning rate by epoch into plots/curves.png; None before the first epoch ends."""
    lines = run.metric_lines()
    epochs = [line for line in lines if line["kind"] == "epoch"]
    steps = [line for line in lines if line["kind"] == "steps"]
    if not epochs:
        return None
    path, x = run.plots / "curves.png", [line["epoch"] for line in epochs]
    with picture(path, 4.2 * 3, 3.4) as figure:
        loss, accuracy, lr = figure.subplots(1, 3)
        if steps:
            per_epoch = epochs[-1]["step"] / epochs[-1]["epoch"]
            fractions, losses = [line["step"] / per_epoch for line in steps], [line["loss"] for line in steps]
            loss.plot(fractions, losses, color="0.8", lw=1, label=f"training, every {steps[0]['step']} steps")
        for axis, metric in ((loss, "loss"), (accuracy, "accuracy")):
            axis.plot(x, [line["train"][metric] for line in epochs], "o-", ms=3, label="training")
            if validated := [(line["epoch"], line["val"][metric]) for line in epochs if line["val"]]:
                axis.plot(*zip(*validated, strict=True), "o-", ms=3, label="validation")
            axis.set(title=metric, xlabel="epoch")
            axis.legend()
        lr.plot(x, [line["lr"] for line in epochs], "o-", ms=3)
        lr.set(title="learning rate", xlabel="epoch")
    return path
