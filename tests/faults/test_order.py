"""Every step sees the same images, whether the training was interrupted or not."""

import signal
from pathlib import Path

import numpy as np
import pytest

from cnncli.data.loader import Order
from cnncli.train import loop_state, setup, trainer
from cnncli.train.events import Events
from cnncli.train.interrupts import Interrupted


@pytest.fixture
def seen(monkeypatch) -> dict[int, list[list[int]]]:
    """The rows of images that each step's program was given, by the step that the state on the device says."""
    found: dict[int, list[list[int]]] = {}
    real = setup.Setup.compile_steps

    def compiled(self, state):
        program = real(self, state)

        def run(state, data, rows):
            for index, batch in enumerate(np.asarray(rows).tolist()):
                if batch[0] >= 0:  # else no step at all: one program serves any number of steps
                    found.setdefault(int(state.step) + index, []).append(batch)
            return program(state, data, rows)

        return run

    monkeypatch.setattr(setup.Setup, "compile_steps", compiled)
    monkeypatch.setattr(loop_state, "LOOK_SECONDS", 0.0)
    return found


class StopEvery(Events):
    """Asks to stop after every so many steps, again and again."""

    def __init__(self, steps):
        self.left = self.steps = steps

    def progress(self, progress):
        self.left -= 1
        if not self.left:
            self.left = self.steps
            signal.raise_signal(signal.SIGINT)


def train_to_the_end(tiny_run, root: Path, events: Events) -> None:
    """Train, and resume as often as it takes."""
    act = lambda: tiny_run(root, events)  # noqa: E731
    while act:
        try:
            act()
            return
        except Interrupted as stopped:
            act = None if stopped.trained else lambda: trainer.resume(root / "tiny-1", [], events)


@pytest.mark.parametrize("steps", [1, 3, 4, 5])
def test_interrupted_training_sees_what_the_uninterrupted_sees(tiny_run, tmp_path, seen, steps):
    train_to_the_end(tiny_run, tmp_path / "whole", Events())
    whole = dict(seen)
    seen.clear()
    train_to_the_end(tiny_run, tmp_path / "parts", StopEvery(steps))
    assert sorted(whole) == list(range(12))
    assert seen == whole
    assert all(len(times) == 1 for times in seen.values())
    order = Order(16, 4, 1)
    assert [seen[step][0] for step in range(12)] == np.concatenate([order.epoch(each) for each in range(3)]).tolist()
