"""``precision: auto``: which hardware, what a trial decides, and that the run remembers the choice."""

from types import SimpleNamespace

import numpy as np
import pytest

from cnncli.config.load import load
from cnncli.native.library import Backend
from cnncli.train import resolve
from cnncli.train.events import Events
from cnncli.train.trainer import train


class Listen(Events):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def hardware(monkeypatch, bfloat16):
    monkeypatch.setattr("cnncli.train.resolve.kernels", lambda: Backend("onednn", "", bfloat16=bfloat16))


def test_without_matrix_units_it_is_float32_and_no_trial_is_made(tiny, tmp_path, monkeypatch):
    hardware(monkeypatch, 1)
    monkeypatch.setattr("cnncli.train.resolve._trial", None)
    heard = Listen()
    run = train(tiny("train.precision=auto", "train.epochs=1"), tmp_path / "runs", heard).run
    assert heard.notes[0] == "precision: auto is float32: this processor has no matrix units for bfloat16 (AMX)"
    assert load(run / "resolved.yaml").config.train.precision == "float32"


def test_with_matrix_units_a_trial_decides_and_the_run_remembers(tiny, tmp_path, monkeypatch):
    hardware(monkeypatch, 2)
    heard = Listen()
    run = train(tiny("train.precision=auto", "train.epochs=1"), tmp_path / "runs", heard).run
    assert heard.notes[0].startswith("precision: auto is bfloat16: in 11 steps of trial the loss is ")
    assert load(run / "resolved.yaml").config.train.precision == "bfloat16"
    plain = train(tiny("train.precision=bfloat16", "train.epochs=1"), tmp_path / "runs", Events()).run
    assert (run / "metrics.jsonl").read_bytes() == (plain / "metrics.jsonl").read_bytes()  # the trial left no trace


@pytest.mark.parametrize(
    ("late", "good"), [(0.5, True), (0.52, True), (0.53, False), (0.1, True), (np.nan, False), (np.inf, False)]
)
def test_worse_by_more_than_a_twentieth_is_not_as_good(late, good):
    full, half = np.array([2.0, 1.0, 0.5, 0.5]), np.array([9.0, 9.0, late, late])
    assert resolve.agree(full, half)[0] is good


@pytest.mark.parametrize(
    ("device", "why"),
    [
        (SimpleNamespace(platform="gpu", compute_capability="9.0"), ""),
        (SimpleNamespace(platform="gpu", compute_capability="7.5"), "this GPU has no tensor cores for bfloat16"),
        (SimpleNamespace(platform="tpu"), ""),
    ],
)
def test_hardware(device, why):
    found = resolve._no_hardware(device)
    assert found.startswith(why)
    assert bool(found) == bool(why)
