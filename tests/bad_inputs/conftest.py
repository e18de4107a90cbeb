"""The command line in this process, in an empty folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.commands import Outcome, runner

CONFIG = """\
data: {source: digits, preprocess: [standardize]}
model: {input: [8, 8, 1], layers: [{fc: 10}, softmax]}
train: {epochs: 2, batch_size: 512, optimizer: {sgd: {lr: 0.1, momentum: 0.9}}}
"""


@pytest.fixture
def cnn(tmp_path, monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run ``cnn`` in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-cache"))
    monkeypatch.delenv("CNN_DATA_DIR", raising=False)
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a run of two epochs, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "x.yaml").write_text(CONFIG)
    from cnncli.config.load import load as read
    from cnncli.train.events import Events
    from cnncli.train.trainer import train

    train(read(folder / "x.yaml"), folder / "runs", Events())
    return folder


@pytest.fixture
def newest(trained, tmp_path, monkeypatch):
    """The newest checkpoint of a copy of the run, as the command line calls it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return max(Path("runs/x-1/checkpoints").iterdir())
