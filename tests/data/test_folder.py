"""Folders of images: layouts, classes, splits, and everything that can be wrong with the files."""

import os
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnncli import machine
from cnncli.data.sources import folder as folders
from cnncli.data.sources.folder import Folder
from cnncli.data.sources.folder_index import read_index, split_off_test
from cnncli.errors import DataError, MachineError


def quiet(what, done, total):
    pass


def picture(path, size=(6, 5), colour=(1, 2, 3)):
    """A PNG of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    """train/ and test/ of two classes."""
    for split, count in (("train", 3), ("test", 1)):
        for shade, name in enumerate(("cat", "dog")):
            for i in range(count):
                picture(tmp_path / split / name / f"{i}.png", colour=(shade * 100, i, 0))
    return tmp_path


def load(path, **fields):
    return Folder(path=str(path), **fields).load(None, quiet)


def test_split_layout(root):
    data = load(root)
    assert data.classes == ("cat", "dog")
    assert data.train.images.shape == (6, 5, 6, 3)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.images[:, 0, 0, :2].tolist() == [[0, 0], [0, 1], [0, 2], [100, 0], [100, 1], [100, 2]]
    assert data.test.labels.tolist() == [0, 1]
    assert data.val is None


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_validation_folder(root, name):
    picture(root / name / "dog" / "x.png")  # cat may be missing
    assert load(root).val.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Train", "Val", "TEST"), ("training", "Validation", "test"), ("TRAINING", "VALID", "Test")],
)
def test_usual_names_in_any_case(root, train, val, test):
    (root / "train").rename(root / train)
    (root / "test").rename(root / test)
    picture(root / val / "dog" / "x.png")
    data = load(root)
    assert (len(data.train), len(data.val), len(data.test), data.notes) == (6, 1, 2, ())


def test_runs_from_before_know_one_name_in_lower_case(root):
    (root / "test").rename(root / "Test")
    data = load(root, any_case=False)
    assert data.test is None
    assert data.notes == (f"not read, since not called val or test: Test/ beside {root}/train",)


def test_a_class_called_training_is_a_class(tmp_path):
    for name in ("training", "train", "bus"):
        picture(tmp_path / name / "a.png")
    assert load(tmp_path, test=0).classes == ("bus", "train", "training")


def test_classes_without_test_images_are_told(tmp_path):
    """Whose pictures are set aside follows from their names' hashes, so of few pictures some class may lack any."""
    for name in ("cat", "cow", "dog"):
        for i in range(6):
            picture(tmp_path / name / f"{i}.png")
    data = load(tmp_path)
    lacking = [name for label, name in enumerate(data.classes) if label not in data.test.labels]
    assert lacking
    assert f"hold none of {', '.join(lacking)}:" in data.notes[0]


def test_only_what_a_split_is_made_of_is_decoded(root):
    picture(root / "val" / "dog" / "x.png")
    whole = load(root)
    for name in ("train", "val", "test"):
        part = Folder(path=str(root)).load(None, quiet, (name,))
        assert part.fingerprint(name) == whole.fingerprint(name)
        assert {each: len(split) for each, split in part.splits.items() if len(split)} == {
            name: len(whole.splits[name])
        }
        assert part.train.images.shape[1:] == (5, 6, 3)


def test_size_channels_and_progress(root):
    picture(root / "train/cat/other.png", size=(50, 40))
    told = []
    source = Folder(path=str(root), size=(8, 4), channels=1)
    data = source.load(None, lambda *report: told.append(report))
    assert data.train.images.shape == (7, *source.image_shape()) == (7, 8, 4, 1)
    assert told[-1] == ("decoding images", 9, 9)


def test_what_is_ignored(root):
    (root / "train/cat/.DS_Store").write_bytes(b"x")
    (root / "train/cat/._0.png").write_bytes(b"x")
    (root / "train/cat/Thumbs.db").write_bytes(b"x")
    (root / "train/.git").mkdir()
    (root / "__MACOSX").mkdir()
    (root / "README.md").write_text("x")
    assert len(load(root).train) == 6


def test_links_to_files_are_followed(root):
    (root / "train/dog/9.png").symlink_to(root / "train/cat/0.png")
    assert len(load(root).train) == 7


def test_many_large_files_in_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "SMALL", 0)
    monkeypatch.setattr(folders, "available_cores", lambda: 4)
    for i in range(50):
        picture(tmp_path / "train" / "ab"[i % 2] / f"{i:03}.png", colour=(i, 0, 0))
    assert load(tmp_path).train.images[:, 0, 0, 0].tolist() == [*range(0, 50, 2), *range(1, 50, 2)]


def flat_examples(count, classes=2):
    return [(Path(f"/data/c{i % classes}/{i}.png"), i % classes) for i in range(count)]


def test_flat_layout_splits_off_a_test_split(tmp_path):
    for name in ("cat", "dog"):
        for i in range(60):
            picture(tmp_path / name / f"{i}.png")
    data = load(tmp_path)
    assert len(data.train) + len(data.test) == 120
    assert 2 <= len(data.test) <= 30  # about 12
    assert load(tmp_path, test=0).test is None


def test_carving_is_close_to_its_share_in_every_class():
    _, test_split = split_off_test(flat_examples(20_000), 0.1)
    assert all(abs(n - 1000) < 120 for n in Counter(label for _, label in test_split).values())  # 4 sigma


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=40), st.integers(0, 10_000), st.floats(0, 0.5))
def test_carving_is_stable_when_files_are_added(numbers, new, share):
    examples = [(Path(f"/a/cat/{i}.png"), 0) for i in sorted(numbers)]
    rest, test_split = split_off_test(examples, share)
    assert sorted(rest + test_split) == sorted(examples)
    assert rest  # one always trains
    more = (Path(f"/elsewhere/cat/{new}.png"), 0)
    if new not in numbers and len(rest) > 1:  # with one left, it was kept as the class's last
        elsewhere = [(Path(f"/elsewhere/cat/{path.name}"), 0) for path, _ in examples]
        rest_too, test_too = split_off_test([*elsewhere, more], share)
        assert {p.name for p, _ in test_too} - {more[0].name} == {p.name for p, _ in test_split}
        assert {p.name for p, _ in rest} <= {p.name for p, _ in rest_too}


def test_carving_does_not_depend_on_order():
    examples = flat_examples(200)
    shuffled = random.Random(0).sample(examples, 200)
    assert sorted(split_off_test(examples, 0.3)[1]) == sorted(split_off_test(shuffled, 0.3)[1])


def make(root, text):
    """Build what a test asks for: `a/b.png` a picture, `a/b.txt` a file, `a/` a folder."""
    for name in text.split():
        if name.endswith(".png"):
            picture(root / name)
        elif name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("tree", "file", "says"),
    [
        ("", "", "has no class folders. Expected train/<class>/"),
        ("a.png", "", "has no class folders"),
        ("cat/a.png", "", "has 1 class: cat"),
        ("train/cat/a.png", "train", "has 1 class: cat"),
        ("cat/a.png dog/", "dog", "holds no JPEG or PNG files"),
        ("cat/a.png dog/notes.txt", "dog", "holds no JPEG or PNG files"),
        ("cat/a.png dog/a.png dog/b.webp", "dog", "holds 1 images that are no JPEG or PNG: b.webp"),
        ("cat/a.png dog/a.png dog/sub/b.png", "dog/sub", "is a folder inside a class folder"),
        ("train/ cat/a.png", "train", "holds no JPEG or PNG files"),
        ("train/cat/a.png train/dog/a.png test/cow/a.png", "test/cow", "is a class that train/ does not have"),
        ("train/cat/a.png train/dog/a.png test/", "test", "has no class folders"),
        ("train/cat/a.png train/dog/a.png test/cat/", "test/cat", "holds no JPEG or PNG files"),
        ("train/cat/a.png train/dog/a.png val/cat/a.png valid/cat/a.png", "valid", "stands beside val/"),
        ("train/cat/a.png train/dog/a.png test/cat/a.png Test/cat/a.png", "Test", "stands beside test/"),
        ("train/cat/a.png train/dog/a.png Train/cat/a.png", "Train", "stands beside train/"),
    ],
)
def test_wrong_trees(tmp_path, tree, file, says):
    make(tmp_path, tree)
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / file}  ")


def test_a_share_beside_a_test_folder(root):
    with pytest.raises(DataError, match="asks to split one"):
        load(root, test=0.2)


@pytest.mark.parametrize(("name", "says"), [("no", "no such file"), ("file", "not a directory"), ("loop", "symbolic")])
def test_no_folder_at_all(tmp_path, name, says):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=says):
        load(tmp_path / name)


def test_home_is_expanded(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    assert len(load("~").train) == 6
    with pytest.raises(DataError, match=r"\$HOME"):
        load("$HOME")


def test_every_bad_file_is_found_and_named(root):
    for name, data in (
        ("empty.png", b""),
        ("cut.png", (root / "train/cat/0.png").read_bytes()[:40]),
        ("eps.png", b"%!PS"),
    ):
        (root / "train/dog" / name).write_bytes(data)
    os.mkfifo(root / "test/dog/pipe.png")
    (root / "test/cat/loop.jpg").symlink_to("loop.jpg")
    (root / "test/cat/gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(DataError) as caught:
        load(root)
    named = [Path(problem.place.file).name for problem in caught.value.problems]
    assert named == ["cut.png", "empty.png", "eps.png", "gone.jpg", "loop.jpg", "pipe.png"]


@pytest.mark.parametrize("good", [True, False])
def test_at_most_ten_bad_files_are_listed(root, good):
    for i in range(15):
        (root / "train/cat" / f"bad{i:02}.png").write_bytes(b"")
    for path in [] if good else list(root.glob("t*/*/?.png")):
        path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(root, size=(4, 4))
    assert len(caught.value.problems) == 11
    assert str(caught.value).endswith("and 5 more files cannot be read" if good else "and 13 more files cannot be read")


def test_nothing_readable_without_a_size(root):
    for path in root.glob("t*/*/*.png"):
        path.write_bytes(b"hello")
    with pytest.raises(DataError, match="is no JPEG or PNG"):
        load(root)


def test_two_sizes(root):
    odd = picture(root / "test/dog/odd.png", size=(7, 9))
    with pytest.raises(DataError) as caught:
        load(root)
    first = root / "train/cat/0.png"
    assert str(caught.value) == (f"{odd}  is 9x7, {first} is 5x6 (height x width). "
                                 "Resize all as they are read: data.source.folder.size: [5, 6].")  # fmt: skip


def test_a_file_deleted_meanwhile(root, monkeypatch):
    listed = read_index(root, None)
    (root / "train/cat/1.png").unlink()
    monkeypatch.setattr(folders, "read_index", lambda *_: listed)
    with pytest.raises(DataError, match=r"1\.png  cannot be read: no such file"):
        load(root)


def test_memory_is_asked_for_first(root, monkeypatch):
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    with pytest.raises(MachineError, match=r"8 images of 100x100x3 take 0.2 MB of memory, 1,000 bytes are free"):
        load(root, size=(100, 100))


@pytest.mark.parametrize(
    ("name", "ok"), [("[bold]", True), ("Größe 3", True), ("a\x1b[31mred", False), ("a\nb", False)]
)
def test_names_of_classes(tmp_path, name, ok):
    picture(tmp_path / name / "a.png")
    picture(tmp_path / "zebra" / "a.png")
    if ok:
        assert name in load(tmp_path).classes
        return
    with pytest.raises(DataError, match="control character") as caught:
        load(tmp_path)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_that_are_not_utf8(tmp_path):
    picture(tmp_path / "cat" / "a.png")
    os.makedirs(os.fsencode(tmp_path) + b"/\xff")
    with pytest.raises(DataError, match="control character"):
        load(tmp_path)


def test_labels_follow_numpy_order(root):
    data = load(root)
    assert data.train.labels.dtype == np.int32
    assert data.fingerprint() == load(root).fingerprint()
