"""A training of a moment, in this process or in one of its own."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from cnncli.config.load import load
from cnncli.train import start
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
