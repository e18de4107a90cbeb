"""A small training that takes a second or two."""

from pathlib import Path

import pytest

from cnncli.config.load import Loaded, load
from tests.helpers.configs import TINY


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
