"""Pictures: the same whatever the user has set for matplotlib, and every line of them named."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from cnncli.report import plots
from cnncli.runs.directory import Run

DRAW = """
import sys
from pathlib import Path
from cnncli.report.plots import picture
with picture(Path(sys.argv[1]), 2, 1) as figure:
    figure.subplots().set(title="words")
assert "matplotlib.pyplot" not in sys.modules
"""


def drawn(folder, **environment):
    """The bytes of a picture drawn in a process of its own, in ``folder``."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "MATPLOTLIB"))}
    command = [sys.executable, "-c", DRAW, "drawn.png"]
    done = subprocess.run(command, cwd=folder, env=variables | environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return (folder / "drawn.png").read_bytes()


def test_what_a_user_has_set_for_matplotlib_changes_no_picture(tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.facecolor: red\n")
    os.mkfifo(tmp_path / "pipe")
    backend = "module://matplotlib_inline.backend_inline"  # what a notebook sets for its shell
    assert drawn(tmp_path, MPLBACKEND=backend, MATPLOTLIBRC=str(tmp_path / "pipe")) == drawn(plain)


def test_a_style_that_the_process_has_set_stays_its_own(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    pictures = []
    for style in ({}, {"figure.facecolor": "red"}):
        with matplotlib.rc_context(style):
            with plots.picture(tmp_path / "drawn.png", 2, 1) as figure:
                figure.subplots()
            assert matplotlib.rcParams["figure.facecolor"] == style.get("figure.facecolor", "white")
        pictures.append((tmp_path / "drawn.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_every_line_of_the_curves_is_named(tmp_path, monkeypatch):
    values = {"loss": 0.5, "accuracy": 0.5}
    lines = [{"kind": "steps", "step": 2 * n, "epoch": 1, "lr": 0.1} | values for n in (1, 2)]
    lines.append({"kind": "epoch", "step": 4, "epoch": 1, "lr": 0.1, "train": values, "val": values})
    run = Run(tmp_path)
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures = []

    @contextmanager
    def kept(*arguments):
        with real(*arguments) as figure:
            figures.append(figure)
            yield figure

    real = plots.picture
    monkeypatch.setattr(plots, "picture", kept)
    run.plots.mkdir()
    assert plots.curves(run) == tmp_path / "plots/curves.png"
    names = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figures[0].axes[:2]]
    assert names == [["training, every 2 steps", "training", "validation"], ["training", "validation"]]
    assert [len(axis.get_lines()) for axis in figures[0].axes] == [3, 2, 1]
