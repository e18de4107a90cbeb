"""A training of a moment, in this process or in one of its own."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from cnncli.config.load import load
from cnncli.train import start
from cnncli.train.events import Events, Outcome
from tests.helpers.failing_disk import saved_files
from tests.helpers.fork_server import ForkServer

TINY = """\
name: tiny
seed: 1
data:
  source:
    inline:
      inputs: {inputs}
      labels: {labels}
  validation: 0.2
  preprocess: [standardize]
model:
  input: [2]
  layers: [{{fc: 4}}, batch_norm, tanh, {{dropout: 0.1}}, {{fc: 2}}, softmax]
train:
  epochs: 3
  batch_size: 4
  optimizer: {{adamw: 0.05}}
  schedule: cosine
  ema: 0.5
  log_every: 2 steps
  keep: 1
"""
POINTS = [[a % 5, a // 5] for a in range(20)]
TEXT = TINY.format(inputs=POINTS, labels=[int(a + b > 3) for a, b in POINTS])  # 16 to train on: 4 steps an epoch


@pytest.fixture(scope="session")
def tiny_yaml(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "tiny.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def tiny_run(tiny_yaml, one_session) -> Callable[..., Outcome]:
    """``tiny_run(root, listener)``: train from the start, in this process."""
    return lambda root, events=Events(): start.train(load(tiny_yaml), root, events)


@pytest.fixture(scope="session")
def session_store() -> dict:
    return {}


@pytest.fixture
def one_session(session_store, monkeypatch):
    """What is compiled is compiled once: only the run's folder differs from training to training."""
    real = start.Session

    def cached(loaded, data, constants, place, run):
        if "session" not in session_store:
            session = session_store["session"] = real(loaded, data, constants, place, run)
            first = jax.device_get(session.first_state())
            session.first_state = lambda: jax.device_put(jax.tree.map(np.array, first), place.whole)
        session = session_store["session"]
        session.run, session.constants = run, constants
        return session

    monkeypatch.setattr(start, "Session", cached)


@pytest.fixture
def whole(tiny_run, tmp_path) -> dict[str, bytes]:
    """The saved files of an uninterrupted training."""
    return saved_files(tiny_run(tmp_path / "whole").run)


@pytest.fixture(scope="session")
def fork_server():
    """Starts commands quickly, each in a process of its own."""
    started = ForkServer()
    yield started
    started.close()
