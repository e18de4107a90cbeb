"""A training of a moment, in this process or in one of its own."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from cnncli.config.load import load
from cnncli.train import trainer
from cnncli.train.events import Events, Outcome
from tests.helpers.configs import POINTS
from tests.helpers.failing_disk import saved_files
from tests.helpers.fork_server import ForkServer


@pytest.fixture(scope="session")
def tiny_yaml(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "tiny.yaml"
    path.write_text(POINTS, encoding="utf-8")
    return path


@pytest.fixture
def tiny_run(tiny_yaml, one_setup) -> Callable[..., Outcome]:
    """``tiny_run(root, listener)``: train from the start, in this process."""
    return lambda root, events=Events(): trainer.train(load(tiny_yaml), root, events)


@pytest.fixture(scope="session")
def setup_store() -> dict:
    return {}


@pytest.fixture
def one_setup(setup_store, monkeypatch):
    """What is compiled is compiled once: only the run's folder differs from training to training."""
    real = trainer.Setup

    def cached(loaded, data, constants):
        if "setup" not in setup_store:
            setup = setup_store["setup"] = real(loaded, data, constants)
            first = jax.device_get(setup.init_state())
            setup.init_state = lambda: jax.device_put(jax.tree.map(np.array, first), setup.place.whole)
        setup = setup_store["setup"]
        setup.loaded, setup.constants = loaded, constants
        return setup

    monkeypatch.setattr(trainer, "Setup", cached)


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
