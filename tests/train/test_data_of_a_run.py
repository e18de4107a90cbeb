"""A run's data: found from any folder, compared with the training's, split by the rules of its time, read in part."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.config.load import load
from cnncli.data import images
from cnncli.evaluate import evaluate_run
from cnncli.runs.directory import Run
from cnncli.train.events import Events
from cnncli.train.prepare import load_data
from cnncli.train.trainer import resume, train

CONFIG = """\
data: {{source: {source}, validation: 0.2}}
model: {{input: {input}, layers: [{{fc: 2}}, softmax]}}
train: {{epochs: 1, optimizer: {{sgd: 0.01}}, batch_size: 4}}
"""


class Notes(Events):
    """What is told."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def pictures(root: Path, seed: int = 0, splits: tuple[str, ...] = ("train", "test"), each: int = 5) -> None:
    """Noise in two classes, `each` 4x4 pictures of a class in a split."""
    random = np.random.default_rng(seed)
    for split in splits:
        for name in ("cat", "dog"):
            for number in range(each):
                path = root / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 255, (4, 4, 3), np.uint8)).save(path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project with configs, the current folder."""
    pictures(tmp_path / "project/pets")
    random = np.random.default_rng(0)
    arrays = {f"x_{split}": random.random((10, 3), np.float32) for split in ("train", "test")}
    np.savez(tmp_path / "project/a.npz", **arrays, **dict.fromkeys(("y_train", "y_test"), np.arange(10) % 2))
    monkeypatch.chdir(tmp_path / "project")
    Path("pets.yaml").write_text(CONFIG.format(source="{folder: pets}", input=[4, 4, 3]))
    Path("npz.yaml").write_text(CONFIG.format(source="{npz: {path: a.npz}}", input=[3]))
    return tmp_path


@pytest.mark.parametrize("name", ["pets", "npz"])
def test_a_run_finds_its_data_from_any_folder(home, monkeypatch, name):
    run = train(load(Path(f"{name}.yaml")), Path("runs"), Events()).run.absolute()
    here = evaluate_run(run, None, "best", Events()).document()
    (home / "other").mkdir()
    monkeypatch.chdir(home / "other")
    pictures(Path("pets"), seed=9)  # of the same names, and not meant
    there = evaluate_run(run, None, "best", Events()).document()
    assert there == here
    assert there["same_data"] is True
    assert resume(run, ["train.epochs=2"], Events()).epochs == 2


def test_paths_are_relative_to_the_config_and_those_of_overrides_to_the_current_folder(home, monkeypatch):
    (home / "other").mkdir()
    monkeypatch.chdir(home / "other")
    path = Path("../project/pets.yaml")
    assert load(path).config.data.source.path == "../project/pets"
    assert load(path, ["data.source.folder=cats"]).config.data.source.path == "cats"
    assert load(path, ["data.source.folder.path=cats", "data.dir=x"]).config.data.source.path == "cats"
    monkeypatch.chdir(home / "project")
    assert load(Path("pets.yaml"), ["data.source={folder: /a/b}"]).config.data.source.path == "/a/b"


def as_before(run: Path) -> None:
    """A run as it was written before paths were absolute and splits were recorded."""
    text = (run / "resolved.yaml").read_text()
    text = re.sub(r"\n  validation_rounding: .*|, any_case: \w+", "", text).replace(f"{Path.cwd()}/pets", "pets")
    assert "path: pets" in text
    assert "any_case" not in text
    (run / "resolved.yaml").write_text(text)
    lock = json.loads((run / "lock.json").read_text())
    del lock["data"]["splits"]
    (run / "lock.json").write_text(json.dumps(lock))


def test_an_old_run_with_relative_paths_evaluates_and_resumes_where_it_did(home):
    run = train(load(Path("pets.yaml")), Path("runs"), Events()).run
    before = evaluate_run(run, None, "best", Events()).document()
    as_before(run)
    assert evaluate_run(run, None, "best", Events()).document() == before
    resume(run, ["train.epochs=2"], Events())
    assert f"path: {Path.cwd()}/pets" in Run(run).resolved.read_text()


def test_an_old_run_is_split_as_it_was(home):
    """Test/ was not read, and of five pictures at 0.1 none was set aside."""
    os.rename("pets/test", "pets/Test")
    Path("pets/train/cat/5.png").write_bytes(Path("pets/train/cat/0.png").read_bytes())
    old = ["data.validation_rounding=half_to_even", "data.source.folder.any_case=false", "data.validation=0.1"]
    run = train(load(Path("pets.yaml"), old), Path("runs"), Events()).run
    as_before(run)
    loaded = load(Run(run).resolved)
    data = load_data(loaded.config, loaded.graph, lambda *_: None).dataset
    assert (len(data.train), len(data.val), data.test) == (10, 1, None)
    resume(run, ["train.epochs=2"], Events())  # the fingerprint is that of the lock file
    now = load(Path("pets.yaml"), ["data.validation=0.1"])
    data = load_data(now.config, now.graph, lambda *_: None).dataset
    assert (len(data.train), len(data.val), len(data.test)) == (9, 2, 10)


@pytest.mark.parametrize("old", [False, True])
def test_evaluation_on_other_data_is_told(home, old):
    run = train(load(Path("pets.yaml")), Path("runs"), Events()).run
    if old:
        as_before(run)
    pictures(Path("pets"), seed=1, splits=("test",))
    heard = Notes()
    assert evaluate_run(run, None, "best", heard).document()["same_data"] is False
    assert "not the data of the training" in heard.texts[0]
    whole_only = old  # an old run knows the SHA-256 of all its data, not of a split
    assert evaluate_run(run, "train", "best", heard).document()["same_data"] is not whole_only


@pytest.mark.parametrize(
    "lock", [None, "", "[]", '{"data": 3}', '{"data": {"sha256": 5, "splits": ["test"]}}', "[" * 9999]
)
def test_a_lock_file_that_says_nothing_is_no_hindrance(home, lock):
    run = train(load(Path("pets.yaml")), Path("runs"), Events()).run
    Run(run).lock.unlink()
    if lock is not None:
        Run(run).lock.write_text(lock)
    document = evaluate_run(run, None, "best", Events()).document()
    assert (document["same_data"], document["split"], document["examples"]) == (None, "test", 10)


@pytest.mark.parametrize("split", [None, "test", "val", "train"])
def test_evaluation_decodes_its_own_split(home, monkeypatch, split):
    loaded = load(Path("pets.yaml"), ["data.preprocess=[{resize: 6}]", "model.input=[6, 6, 3]"])
    run = train(loaded, Path("runs"), Events()).run
    seen = []
    real = images.decode
    monkeypatch.setattr(images, "decode", lambda path, *rest: seen.append(path) or real(path, *rest))
    found = evaluate_run(run, split, "best", Events())
    in_part = found.document()
    assert in_part["same_data"] is True
    names = {path.parts[-3] for path in seen}  # validation pictures are chosen among the training's
    assert names == {"test" if found.split == "test" else "train"}
    lock = json.loads(Run(run).lock.read_text())
    del lock["data"]["splits"]
    Run(run).lock.write_text(json.dumps(lock))
    seen.clear()
    assert evaluate_run(run, split, "best", Events()).document() == in_part
    assert {path.parts[-3] for path in seen} == {"train", "test"}


def test_a_validation_folder_is_read_alone(home, monkeypatch):
    pictures(Path("pets"), splits=("VALIDATION",), each=2)
    run = train(load(Path("pets.yaml")), Path("runs"), Events()).run
    seen = []
    real = images.decode
    monkeypatch.setattr(images, "decode", lambda path, *rest: seen.append(path) or real(path, *rest))
    assert evaluate_run(run, "val", "best", Events()).result.examples == 4
    assert {path.parts[-3] for path in seen} == {"VALIDATION"}


def test_odd_splits_are_told(home):
    heard = Notes()
    pictures(Path("pets"), splits=("extra",), each=1)
    Path("pets/train/dog/4.png").unlink()
    train(load(Path("pets.yaml"), ["data.validation=0.1"]), Path("runs"), heard)
    assert any("not read, since not called val or test: extra/ beside pets/train" in text for text in heard.texts)
    assert any("no validation images of dog" in text for text in heard.texts)
    assert any("only 1 validation images" in text for text in heard.texts)


def test_early_stop_without_validation_images_is_told(home):
    heard = Notes()
    train(load(Path("pets.yaml"), ["data.validation=0", "train.early_stop={}"]), Path("runs"), heard)
    assert any("early_stop does nothing" in text for text in heard.texts)
