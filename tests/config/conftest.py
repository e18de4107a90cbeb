"""A config to break, and the command line in this process to break it on."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

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
# Words of Python and its libraries that mean nothing to who writes YAML.
FOREIGN = re.compile(r"Traceback|pydantic|Input should|Value error|\btuple\b|\bdict\b|NoneType|\bstr\b|\{\{|has a bug")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The problems, without the word before them."""
        return [line.removeprefix("error: ") for line in self.err.splitlines()]


@pytest.fixture
def cnn(tmp_path, monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run ``cnn`` in this process, in an empty folder."""
    from cnncli.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["cnn", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        streams = capsys.readouterr()
        return Outcome(left.value.code or 0, streams.out, streams.err)

    return run


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
