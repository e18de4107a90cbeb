"""A config to break, and the command line in this process to break it on."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.commands import FOREIGN, Outcome, runner

BASE = """\
name: broken
data:
  source: digits
  preprocess: [standardize]
model:
  input: [8, 8, 1]
  layers:
    - conv: {filters: 4, kernel: 3}
    - relu
    - fc: 10
    - softmax
train:
  epochs: 3
  optimizer: {sgd: {lr: 0.1}}
"""


@pytest.fixture
def cnn(tmp_path, monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run ``cnn`` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys)


@pytest.fixture
def refused(cnn, tmp_path) -> Callable[..., list[str]]:
    """The problems of a config, x.yaml, that must be refused with exit code 2, leaving nothing behind."""

    def run(content: str | bytes, *overrides: str, command: str = "inspect") -> list[str]:
        path = Path("x.yaml")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        outcome = cnn(command, "x.yaml", *overrides)
        assert outcome.code == 2, outcome
        assert not outcome.out
        assert not FOREIGN.search(outcome.err), outcome.err
        assert all(line.startswith("error: ") for line in outcome.err.splitlines())
        assert [each.name for each in tmp_path.iterdir()] == ["x.yaml"]
        return outcome.errors

    return run


@pytest.fixture
def refused_at(refused) -> Callable[..., str]:
    """The one problem of a config in which ``¦`` marks its place, without the place."""

    def run(content: str, *overrides: str) -> str:
        before, _, after = content.partition("¦")
        (error,) = refused(before + after, *overrides)
        place = f"x.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}  "
        assert error.startswith(place), f"{error}\n... should stand at {place}"
        return error.removeprefix(place)

    return run


@pytest.fixture(scope="session")
def foreign() -> re.Pattern[str]:
    """What no message may say."""
    return FOREIGN


@pytest.fixture(scope="session")
def base() -> str:
    """A config that works."""
    return BASE
