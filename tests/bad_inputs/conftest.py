"""The command line in this process, in an empty folder."""

from collections.abc import Callable

import pytest
from commands import Outcome, runner


@pytest.fixture
def cnn(tmp_path, monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run ``cnn`` in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-cache"))
    monkeypatch.delenv("CNN_DATA_DIR", raising=False)
    return runner(monkeypatch, capsys)
