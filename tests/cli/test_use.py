"""``cnn eval`` and ``cnn predict`` in this process: files that are bad, folders, numbers, and what comes next."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli import predict as prediction
from cnncli.config.load import load
from cnncli.train.events import Events
from cnncli.train.trainer import train
from tests.helpers.commands import runner

PICTURES = """\
name: pets
data: {source: {folder: pets}}
model: {input: [4, 4, 3], layers: [{fc: 3}, softmax]}
train: {epochs: 1, optimizer: {sgd: 0.01}, batch_size: 4}
"""
POINTS = """\
name: gate
data: {source: {inline: {inputs: [[0, 0], [0, 1], [1, 0], [1, 1]], labels: [0, 0, 0, 1], classes: [no, yes, maybe]}}}
model: {input: [2], layers: [{fc: 3}, softmax]}
train: {epochs: 1, optimizer: {sgd: 0.01}, batch_size: 4}
"""
WAVES = """\
name: waves
data: {source: {signals: {count: 40, length: 16}}}
model: {input: [16, 1], layers: [{fc: 4}, softmax]}
train: {epochs: 1, optimizer: {sgd: 0.01}, batch_size: 4}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a run of pictures, one of points and one of waves."""
    folder = tmp_path_factory.mktemp("a project")
    random = np.random.default_rng(0)
    for name in ("cat", "dog", "cow"):
        for number in range(6):
            path = folder / "pets" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (4, 4, 3), np.uint8)).save(path)
    for text in (PICTURES, POINTS, WAVES):
        (folder / "x.yaml").write_text(text)
        train(load(folder / "x.yaml"), folder / "runs", Events())
    return folder


@pytest.fixture
def cnn(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    return runner(monkeypatch, capsys)


def test_bad_files_do_not_lose_the_others(cnn, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    files = ["pets/cat/0.png", f"{tmp_path}/bad.png", "gone.png", "https://a.b/c.png", "pets/dog/0.png"]
    left = cnn("predict", "runs/pets-1", *files, "--json")
    documents = json.loads(left.out)
    assert left.code == 3
    assert [document["file"] for document in documents] == files
    assert ["error" in document for document in documents] == [False, True, True, True, False]
    errors = [line for line in left.err.splitlines() if line.startswith("error: ")]
    assert [document["error"] for document in documents if "error" in document] == [line[7:] for line in errors]
    assert errors[2] == "error: https://a.b/c.png  is an address: only files are read. Download it first."
    shown = cnn("predict", "runs/pets-1", *files)
    assert shown.code == 3
    assert "pets/dog/0.png" in shown.out
    assert "bad.png" not in shown.out
    assert shown.err.count("error: ") == 3


def test_a_folder_is_read_with_all_below_and_gives_what_its_files_give(cnn, monkeypatch):
    monkeypatch.setattr(prediction, "BATCH", 4)  # 18 pictures: the last batch is filled up
    whole = json.loads(cnn("predict", "runs/pets-1", "pets", "--json").out)
    assert [document["file"] for document in whole] == [
        f"pets/{name}/{number}.png" for name in ("cat", "cow", "dog") for number in range(6)
    ]
    for document in (whole[0], whole[-1]):
        (alone,) = json.loads(cnn("predict", "runs/pets-1", document["file"], "--json").out)
        assert alone["class"] == document["class"]
        assert alone["probabilities"] == pytest.approx(document["probabilities"], rel=1e-5)


def test_a_folder_without_pictures(cnn, tmp_path):
    left = cnn("predict", "runs/pets-1", tmp_path)
    assert left.code == 3
    assert left.errors[0] == f"{tmp_path}  holds no JPEG or PNG files"


def test_pictures_are_held_a_batch_at_a_time(cnn, project, monkeypatch):
    """What is read stays few pictures ahead of what is answered."""
    monkeypatch.setattr(prediction, "BATCH", 4)
    read = []
    real = prediction.decode
    monkeypatch.setattr(prediction, "decode", lambda *arguments: read.append(1) or real(*arguments))
    answers = prediction.predict(Path("runs/pets-1"), ["pets"], [], "best", Events())
    for answered, _ in enumerate(answers, 1):
        assert len(read) - answered < 4
    assert len(read) == 18


def test_top_and_csv(cnn):
    left = cnn("predict", "runs/pets-1", "pets/cat/0.png", "gone.png", "--csv", "--top", 2)
    rows = list(csv.DictReader(left.out.splitlines()))
    assert [row["file"] for row in rows] == ["pets/cat/0.png", "pets/cat/0.png", "gone.png"]
    assert [row["rank"] for row in rows] == ["1", "2", ""]
    assert rows[2]["error"] == "gone.png  cannot be read: no such file or directory"
    (document, _) = json.loads(cnn("predict", "runs/pets-1", "pets/cat/0.png", "gone.png", "--json", "--top", 2).out)
    assert list(document["probabilities"].items()) == [(row["class"], float(row["probability"])) for row in rows[:2]]
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"])
    assert cnn("predict", "runs/pets-1", "pets", "--csv", "--json").code == 2
    assert cnn("predict", "runs/pets-1").code == 2


def test_numbers_on_the_command_line_and_in_a_file(cnn, tmp_path):
    typed = json.loads(cnn("predict", "gate-1", "--values", "0,1", "--values", "1 1", "--json").out)
    assert [document["values"] for document in typed] == ["0,1", "1 1"]
    path = tmp_path / "n.csv"
    path.write_text("0,1\n\n1; 1e0\n0\nnan,0\nx,y\n")
    left = cnn("predict", "gate-1", path, "--json")
    assert left.code == 3
    read = json.loads(left.out)
    assert [document["file"] for document in read] == [f"{path}:{line}" for line in (1, 3, 4, 5, 6)]
    for one, other in zip(typed, read[:2], strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], rel=1e-6)
    assert [document["error"].partition("  ")[2] for document in read[2:]] == [
        "got 1 numbers. This network takes 2 numbers.",
        "'nan' is not a finite 32-bit number",
        "'x' is not a finite 32-bit number",
    ]


@pytest.mark.parametrize("content", [b"0" * 10_000, b"\x89PNG\r\n\x1a\n" + bytes(5000), None])
def test_files_that_hold_no_numbers(cnn, tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content) if content else path.mkdir()
    left = cnn("predict", "waves-1", path)
    assert left.code == 3
    assert all(error.startswith(str(path)) for error in left.errors)


@pytest.mark.parametrize(
    ("run", "arguments"), [("pets-1", "PICTURE.png"), ("gate-1", "--values 0,0"), ("waves-1", "NUMBERS.csv")]
)
def test_the_next_command_fits_the_network(cnn, run, arguments):
    assert cnn("eval", run).out.splitlines()[-1] == f"next    cnn predict {run} {arguments}"


def test_the_next_command_can_be_pasted(cnn, project):
    line = cnn("eval", project / "runs/gate-1").out.splitlines()[-1]
    assert shlex.split(line.removeprefix("next")) == ["cnn", "predict", f"{project}/runs/gate-1", "--values", "0,0"]
    assert cnn(*shlex.split(line)[2:]).code == 0


def test_a_run_by_its_name_alone(cnn, project, monkeypatch):
    assert cnn("eval", "gate-1").out == cnn("eval", "runs/gate-1").out.replace("runs/gate-1 --", "gate-1 --")
    monkeypatch.chdir(project / "runs")
    assert "checkpoint  gate-1/" in cnn("eval", "gate-1").out  # the folder itself goes first
    assert cnn("eval", "gate-9").code == 5


def test_a_class_without_images_has_dashes(cnn):
    rows = [line.split() for line in cnn("eval", "gate-1").out.splitlines()]
    assert ["maybe", "-", "-", "-", "0"] in rows
    assert [row[-1] for row in rows if row[:1] in (["no"], ["yes"])][:2] == ["3", "1"]
