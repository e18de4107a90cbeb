"""A small training that takes a second or two."""

from pathlib import Path

import pytest

from cnncli.config.load import Loaded, load

TINY = """\
name: tiny
data:
  source: digits
  preprocess: [standardize]
  augment: [{random_shift: 1}]
model:
  input: [8, 8, 1]
  layers:
    - conv: {filters: 4, kernel: 3}
    - batch_norm
    - relu
    - max_pool: 2
    - dropout: 0.2
    - fc: 10
    - softmax
train:
  epochs: 3
  batch_size: 128
  optimizer: {sgd: {lr: 0.05, momentum: 0.9, weight_decay: 0.0005}}
  schedule: cosine
  ema: 0.9
  log_every: 4 steps
"""


@pytest.fixture
def tiny(tmp_path):
    """``tiny("train.epochs=2", ...)`` -> a checked config."""

    def make(*overrides: str, text: str = TINY) -> Loaded:
        path = tmp_path / "tiny.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, overrides)

    return make


@pytest.fixture
def tree_bytes():
    """``tree_bytes(folder)`` -> every file below it and what is in it."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }

    return read
