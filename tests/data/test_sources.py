"""Every source against its own docstring; digits and inline; what is known without reading."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from cnncli.data.sources import SOURCES, AnySource
from cnncli.data.sources.digits import Digits
from cnncli.data.sources.inline import Inline
from cnncli.data.sources.mnist import Mnist
from cnncli.errors import DataError
from cnncli.paths import is_path, located

SHARED = Path(os.environ.get("CNN_DATA_DIR", Path(__file__).resolve().parents[3] / "shared/data"))
any_source = TypeAdapter(AnySource)


def quiet(what, done, total):
    pass


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.kind)
def test_every_source_keeps_its_docstring(source):
    (example,) = re.findall(r"Example: `(.*)`", source.__doc__)
    assert "Source:" in source.__doc__ or source is Inline
    parsed = any_source.validate_python(yaml.safe_load(example))
    assert type(parsed) is source
    assert any_source.validate_python(parsed.to_yaml()) == parsed
    assert all(info.description for info in source.model_fields.values())


TEXTS = {("npz", "classes"), ("idx", "classes"), ("inline", "classes"), ("inline", "labels")}  # no paths


def holds_text(kind):
    return kind is str or any(holds_text(each) for each in get_args(kind))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.kind)
def test_every_text_of_a_source_is_a_path_or_known_to_be_none(source):
    """A path that is not a PathText would mean another file from another folder."""
    for name, info in source.model_fields.items():
        if holds_text(info.annotation) and (source.kind, name) not in TEXTS and name != "mirrors":
            assert is_path(info), f"{source.kind}.{name}: give it the type PathText, or add it to TEXTS"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.kind)
def test_relative_paths_are_put_below_a_folder(source):
    (example,) = re.findall(r"Example: `(.*)`", source.__doc__)
    before = any_source.validate_python(yaml.safe_load(example))
    after = located(before, lambda location: Path("/data"))
    for name, info in source.model_fields.items():
        value = getattr(before, name)
        moved = is_path(info) and value is not None
        assert getattr(after, name) == (f"/data/{value}" if moved else value)
    assert located(after, lambda location: Path("/elsewhere")) == after
    assert sum(is_path(info) for info in source.model_fields.values()) == {"folder": 1, "npz": 1, "idx": 4}.get(
        source.kind, 0
    )


def test_home_in_a_path_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert located(any_source.validate_python({"npz": "~/a.npz"}), lambda location: Path("x")).path == "/home/me/a.npz"


def test_static_facts_need_no_numpy():
    heavy = ["numpy", "PIL", "requests", "jax", "simplejpeg"]
    code = (
        "import sys; from cnncli.data.sources import SOURCES; from pydantic import TypeAdapter;"
        "from cnncli.data.sources import AnySource; s = TypeAdapter(AnySource).validate_python('mnist');"
        f"s.image_shape(), s.class_count(); loaded = [m for m in {heavy} if m in sys.modules];"
        "print([m for m in loaded if type(sys.modules[m]).__name__ != '_LazyModule'])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("yaml_text", "path"),
    [
        ("{folder: {path: x, channels: 2}}", ("folder", "channels")),
        ("{folder: {path: x, channels: true}}", ("folder", "channels")),
        ("{folder: {path: x, size: 0}}", ("folder", "size", 0)),
        ("{folder: {path: x, size: 99999999}}", ("folder", "size", 0)),
        ("{folder: {path: x, test: 1.0}}", ("folder", "test")),
        ("{folder: {path: ''}}", ("folder", "path")),
        ('{folder: {path: "a\\0b"}}', ("folder", "path")),
        ("{folder: {path: x, sizes: 3}}", ("folder", "sizes")),
        ("{mnist: {mirrors: ['file:///etc']}}", ("mnist", "mirrors", 0)),
        ("{idx: {train_images: a}}", ("idx", "train_labels")),
        ("{idx: {train_images: a, train_labels: b, test_images: c}}", ("idx",)),
        ("kaggle", ()),
    ],
)
def test_wrong_settings_are_refused_where_they_stand(yaml_text, path):
    with pytest.raises(ValidationError) as caught:
        any_source.validate_python(yaml.safe_load(yaml_text))
    assert caught.value.errors()[0]["loc"] == path


def test_digits():
    data = Digits().load(None, quiet)
    assert data.classes == tuple("0123456789")
    assert data.train.images.shape == (1442, 8, 8, 1)
    assert data.test.images.shape == (355, 8, 8, 1)
    assert data.train.images.dtype == np.uint8
    assert data.train.images.max() == 255
    assert data.train.labels.dtype == np.int32
    assert data.train.images[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of the file
    shares = np.bincount(data.test.labels) / (np.bincount(data.train.labels) + np.bincount(data.test.labels))
    assert np.all(np.abs(shares - 0.2) < 0.01)
    assert data.fingerprint() == Digits().load(None, quiet).fingerprint()


def test_mnist_as_it_is():
    if not (SHARED / "mnist").is_dir():
        pytest.skip(f"no MNIST under {SHARED}: set CNN_DATA_DIR")
    data = Mnist(mirrors=()).load(SHARED, quiet)
    assert data.train.images.shape == (60000, 28, 28, 1)
    assert data.test.images.shape == (10000, 28, 28, 1)
    assert data.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert data.train.images.mean() == pytest.approx(33.318, abs=1e-3)  # 0.1307 * 255, as everybody normalises it
    assert np.bincount(data.train.labels)[1] == 6742


def test_inline_numbers():
    gate = Inline(inputs=[[0, 0], [0, 1], [1, 0], [1, 1]], labels=[0, 0, 0, 1])
    assert gate.image_shape() == (2,)
    assert gate.class_count() == 2
    data = gate.load(None, quiet)
    assert data.classes == ("0", "1")
    assert data.train.images.dtype == np.float32
    assert data.train.images.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert data.train.labels.tolist() == [0, 0, 0, 1]
    assert data.val is data.test is None


def test_inline_names_and_maps():
    source = Inline(inputs=[[[[1.5]]], [[[2]]]], labels=["yes", "no"])
    assert source.image_shape() == (1, 1, 1)
    assert source.load(None, quiet).classes == ("no", "yes")
    assert source.load(None, quiet).train.labels.tolist() == [1, 0]
    ordered = Inline(inputs=[[1], [2]], labels=["yes", "no"], classes=["yes", "no", "maybe"])
    assert ordered.class_count() == 3
    assert ordered.load(None, quiet).train.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("inputs", "labels", "says"),
    [
        ([[0], [1, 2]], [0, 1], "inputs[1] has shape 2, inputs[0] has 1"),
        ([[0, [1]], [1, 2]], [0, 1], "inputs[0][1] has shape 1"),
        ([0, 1], [0, 1], "each input is a list of numbers"),
        ([], [], "inputs is an empty list"),
        ([[], []], [0, 1], "inputs[0] is an empty list"),
        ([["a"], ["b"]], [0, 1], "text 'a'"),
        ([[True], [False]], [0, 1], "true, not a number"),
        ([[float("nan")], [1]], [0, 1], "not a finite"),
        ([[10**5000], [1]], [0, 1], "not a finite"),
        ([[[[[1]]]], [[[[1]]]]], [0, 1], "nested more than 4"),
        ([[0], [1]], [0], "1 labels for 2 inputs"),
        ([[0], [1]], [0, -1], "negative"),
        ([[0], [1]], [0, 10**9], "too large"),
        ([[0], [1]], [0, True], "got true"),
        ([[0], [1]], [0, "a"], "numbers and texts"),
        ([[0], [1]], [0, 0], "only one class"),
        ([[0], [1]], ["a", "\x1b[31m"], "control character"),
    ],
)
def test_inline_refuses(inputs, labels, says):
    with pytest.raises(ValidationError, match=re.escape(says)):
        Inline(inputs=inputs, labels=labels)


def test_inline_deeply_nested():
    value = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(ValidationError, match="nested more than 4"):
        Inline(inputs=value, labels=[0])


def test_missing_data_dir(tmp_path):
    with pytest.raises(DataError, match=r"is not a folder, and data\.dir names it"):
        Mnist().load(tmp_path / "nowhere", quiet)
