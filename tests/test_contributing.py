"""The classes that CONTRIBUTING.md shows do what it says."""

from __future__ import annotations  # for the page's code too

import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from cnncli import losses
from cnncli.data.sources import digits
from cnncli.layers import activation
from tests.helpers.layers import run_layer

TEXT = (Path(__file__).parents[1] / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
CLASSES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def class_in(module: ModuleType, name: str) -> Any:
    """The class ``name`` of the page, as if its code stood at the end of ``module``."""
    (code,) = (each for each in CLASSES if f"class {name}(" in each)
    names = dict(vars(module))
    exec(code, names)  # noqa: S102
    assert "Example: `" in inspect.getdoc(names[name])
    return names[name]


def test_the_layer():
    y, _ = run_layer(class_in(activation, "Square")(scale=0.5), jnp.array([[1.0, -2.0]]))
    assert y.tolist() == [[0.5, 2.0]]


def test_the_loss():
    loss = class_in(losses, "MeanAbsoluteError")()
    found = loss.per_example(jnp.array([[0.5, 0.25], [0.0, 1.0]]), jnp.array([0, 1]), 2)
    assert found.tolist() == [0.375, 0.0]


def test_the_data_source():
    source = class_in(digits, "Stripes")(count=10)
    dataset = source.load(None, lambda *_: None)
    assert len(dataset.classes) == source.class_count()
    assert dataset.train.images.shape == (5, *source.image_shape())
    assert dataset.train.images.dtype == np.uint8
    for image, label in zip(dataset.train.images, dataset.train.labels, strict=True):
        assert np.ptp(image, axis=label).max() > 0 == np.ptp(image, axis=1 - label).max()
