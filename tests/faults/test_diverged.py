"""NaN and infinite losses and weights: the step, the layer where it began, the checkpoint that stays, going back."""

import re
import signal

import numpy as np
import pytest

from cnncli.config.load import load
from cnncli.errors import DivergedError
from cnncli.runs import checkpoint
from cnncli.runs.directory import Run
from cnncli.train import loop_state
from cnncli.train.events import Events
from cnncli.train.health import CHECKS, first_not_finite
from cnncli.train.interrupts import Interrupted
from cnncli.train.trainer import resume, train
from tests.helpers.failing_disk import saved_files

NET = """\
name: net
seed: 2
data:
  source:
    inline:
      inputs: {inputs}
      labels: {labels}
  validation: 0
model:
  input: [2]
  layers: {layers}
train: {{epochs: 6, batch_size: 4, log_every: 2 steps, optimizer: {optimizer}}}
"""
POINTS = [[a % 4, a // 4] for a in range(16)]  # 4 steps an epoch
DEEP = "[{fc: 4}, relu, {fc: 4}, relu, {fc: 2}, softmax]"


class Heard(Events):
    def __init__(self, stop_at=1 << 30):
        self.notes, self.stop_at = [], stop_at

    def note(self, text):
        self.notes.append(text)

    def progress(self, progress):
        if progress.epoch * 4 - 4 + progress.step >= self.stop_at:
            self.stop_at = 1 << 30
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def net(tmp_path):
    """``net(layers, optimizer, "train.on_nan=restore", ...)`` -> a checked config."""

    def make(layers, optimizer, *overrides):
        labels = [int(a > b) for a, b in POINTS]
        path = tmp_path / "net.yaml"
        path.write_text(NET.format(inputs=POINTS, labels=labels, layers=layers, optimizer=optimizer))
        return load(path, overrides)

    return make


def test_it_stops_at_once_and_names_step_and_layer(net, tmp_path):
    with pytest.raises(DivergedError) as stopped:
        train(net(DEEP, "{sgd: 1e30}"), tmp_path, Events())
    assert stopped.value.exit_code == 6
    said = str(stopped.value)
    assert said.startswith("the loss is nan at step 2: the output of fc2 is not finite. Try a smaller")
    assert said.endswith("or train.on_nan=restore; step-00000000 is kept.")
    run = Run(tmp_path / "net-1")
    assert [each.step for each in checkpoint.manifests(run.checkpoints)] == [0]
    assert run.metric_lines() == []
    with pytest.raises(DivergedError) as again:
        resume(run.folder, [], Events())
    assert str(again.value) == said


@pytest.mark.parametrize(("examined", "began"), [
    ({}, None),
    ({"output": {"b": False, "c": False}, "loss": {"": False}, "gradient": {"a": False}}, ("output", "b")),
    ({"loss": {"": False}, "gradient": {"a": False, "b": False}}, ("loss", "")),
    ({"gradient": {"a": False, "b": False}, "update": {"a": False}}, ("gradient", "b")),
    ({"update": {"a": False, "c": False}}, ("update", "a")),
    ({"input": {"": False}, "output": {"a": False}}, ("input", "")),
    ({"weights": {"c": False}, "output": {"c": False}}, ("weights", "c")),
    ({"statistics": {"b": False}}, ("statistics", "b")),
])  # fmt: skip
def test_where_it_began(examined, began):
    assert first_not_finite({place: examined.get(place, {}) for place in CHECKS}, ["a", "b", "c"]) == began


STEEP = ("[{fc: 2}]", "{sgd: 2}", "train.loss=mse", "train.epochs=30", "train.save_every=5 epochs",
         "train.on_nan=restore")  # fmt: skip


def test_it_goes_back_three_times_at_half_the_rate_and_then_gives_up(net, tmp_path):
    heard = Heard()
    run = Run(train(net(*STEEP), tmp_path, heard).run)
    lines = run.metric_lines()
    back = [line for line in lines if line["kind"] == "restore"]
    assert [line["restore"] for line in back] == [1, 2, 3]
    assert [line["lr_share"] for line in back] == [0.5, 0.25, 0.125]
    assert all(re.match(r"the loss is inf at step \d+: the output of fc1 is finite, its loss is not", line["reason"])
               for line in back)  # fmt: skip
    assert [line["step"] for line in back] == sorted(line["step"] for line in back)
    assert sum("of the learning rate (" in note for note in heard.notes) == 3
    steps = [line for line in lines if line["kind"] == "steps"]
    assert [line["step"] for line in steps] == list(range(2, 121, 2))  # each once, whatever was gone back over
    assert steps[-1]["lr"] == 0.25
    assert all(np.isfinite(line["loss"]) for line in steps)
    with pytest.raises(DivergedError, match=r"after going back 3 times\. Try .*clip_norm; step-00000020 is kept"):
        train(net(STEEP[0], "{sgd: 4}", *STEEP[2:]), tmp_path / "more", Events())


@pytest.mark.parametrize("step", [24, *(pytest.param(step, marks=pytest.mark.slow) for step in (15, 30))])
def test_it_goes_back_the_same_way_after_an_interruption(net, tmp_path, monkeypatch, step):
    whole = saved_files(train(net(*STEEP), tmp_path / "whole", Events()).run)
    monkeypatch.setattr(loop_state, "LOOK_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        train(net(*STEEP), tmp_path / "parts", Heard(stop_at=step))
    run = tmp_path / "parts" / "net-1"
    heard = Heard(stop_at=step + 2)
    with pytest.raises(Interrupted):
        resume(run, [], heard)
    assert saved_files(resume(run, [], Events()).run) == whole


def test_weights_that_are_not_finite_are_not_saved(net, tmp_path):
    with pytest.raises(DivergedError, match="the update of fc1 is not finite at step 1") as stopped:
        train(net("[{fc: 2}]", "{sgd: 3e38}", "train.loss=mse", "train.save_every=1 steps"), tmp_path, Events())
    assert "fc1.bias is not finite after step 1" in str(stopped.value)
    assert [each.step for each in checkpoint.manifests(tmp_path / "net-1" / "checkpoints")] == [0]


# The variance of what fc1 gives overflows: the normalisation gives 0, and loss, gradients and weights stay finite.
LARGE = ("[{fc: {units: 4, init: {normal: 1e20}}}, batch_norm, relu, {fc: 2}, softmax]", "{sgd: 0.1}")


def test_running_statistics_that_are_not_finite_are_not_saved_but_named(net, tmp_path):
    with pytest.raises(DivergedError, match=r"batch_norm1\.var is not finite after step 4: the running statistics of "
                                            r"batch_norm1 are not finite") as stopped:  # fmt: skip
        train(net(*LARGE), tmp_path, Events())
    assert stopped.value.exit_code == 6
    assert [each.step for each in checkpoint.manifests(tmp_path / "net-1" / "checkpoints")] == [0]


def test_on_nan_may_be_chosen_when_resuming(net, tmp_path):
    with pytest.raises(DivergedError, match=r"or train\.on_nan=restore"):
        train(net(*STEEP[:-1]), tmp_path, Events())
    heard = Heard()
    resume(tmp_path / "net-1", ["train.on_nan=restore"], heard)
    assert sum("of the learning rate (" in note for note in heard.notes) == 3
