"""The picture of ``cnn data``: drawn as what the data is, written where it is said to be."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.helpers.commands import runner

NETWORK = """\
data: {{source: {source}, validation: 0}}
model: {{input: {input}, layers: [{{fc: 2}}, softmax]}}
train: {{epochs: 1, optimizer: {{sgd: 0.01}}, batch_size: 1}}
"""


@pytest.fixture
def cnn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys)


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is saved."""
    saved = []
    real = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *at, **named: saved.append(self) or real(self, *at, **named))
    return saved


def two(source, shape):
    Path("two.yaml").write_text(NETWORK.format(source=source, input=shape))


def test_points_are_points(cnn, figures):
    cnn("data", "xor")
    axes = figures[0].axes
    assert len(axes) == 3
    drawn = np.concatenate([collection.get_offsets() for collection in axes[0].collections])
    assert sorted(map(tuple, np.asarray(drawn).tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert not any(axis.images for axis in axes)


def test_signals_are_lines(cnn, figures):
    cnn("data", "conv1d", "data.source={signals: {count: 40, length: 128}}", "train.batch_size=8")
    axes = figures[0].axes
    assert len(axes) == 30
    assert all(len(axis.lines) == 1 and not axis.images for axis in axes)
    assert np.ptp(axes[0].lines[0].get_ydata()) > 1


@pytest.mark.parametrize(("numbers", "lines"), [("[[1], [2]]", False), ("[[1, 2, 3], [3, 2, 1]]", True)])
def test_one_number_is_a_point_and_three_are_a_line(cnn, figures, numbers, lines):
    two(f"{{inline: {{inputs: {numbers}, labels: [0, 1]}}}}", [3 if lines else 1])
    assert cnn("data", "two.yaml").code == 0
    assert bool(figures[0].axes[0].lines) == lines


def test_titles_of_two_pictures_are_inside(cnn, figures):
    for name in ("a" * 14, "b" * 14):
        os.makedirs(f"pets/{name}")
        Image.new("RGB", (4, 4)).save(f"pets/{name}/0.png")
    two("{folder: {path: pets, test: 0}}", [4, 4, 3])
    assert cnn("data", "two.yaml", f"name={'n' * 60}").code == 0
    figure = figures[0]
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    for axis in figure.axes:
        assert axis.title.get_window_extent().width < figure.bbox.width / 2


def test_a_script_that_the_font_lacks_prints_nothing(cnn):
    """The tests turn warnings into errors."""
    for name in ("猫", "犬"):
        os.makedirs(f"pets/{name}")
        Image.new("RGB", (4, 4)).save(f"pets/{name}/0.png")
    two("{folder: {path: pets, test: 0}}", [4, 4, 3])
    left = cnn("data", "two.yaml")
    assert left.code == 0, left
    assert "font" not in left.err


@pytest.mark.parametrize(
    ("out", "written"), [("new/x", "new/x.png"), (".", "xor-data.png"), ("x.svg", "x.svg"), ("a.b/x.PNG", "a.b/x.PNG")]
)
def test_the_picture_is_where_it_is_said_to_be(cnn, out, written):
    left = cnn("data", "xor", "--out", out, "--json")
    assert json.loads(left.out)["picture"] == written
    assert Path(written).stat().st_size > 1000
    assert [path for path in Path().rglob("*") if path.is_file()] == [Path(written)]


@pytest.mark.parametrize("out", ["x.txt", "x.", "x.png.exe"])
def test_other_formats_are_refused_before_data_is_read(cnn, out):
    left = cnn("data", "xor", "--out", out)
    assert left.code == (2 if out != "x." else 0)
    if left.code:
        assert left.errors == [f"{out}  {Path(out).suffix} is no format that pictures are drawn in. "
                               "Choose one of .png, .svg, .pdf, .jpg, .webp."]  # fmt: skip
        assert not os.listdir()


def test_a_link_is_replaced_and_not_followed(cnn):
    Path("mine.txt").write_text("mine")
    Path("x.png").symlink_to("mine.txt")
    assert cnn("data", "xor", "--out", "x.png").code == 0
    assert Path("mine.txt").read_text() == "mine"
    assert not Path("x.png").is_symlink()
