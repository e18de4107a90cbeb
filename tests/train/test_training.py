"""Training end to end on the embedded digits: it learns, and says what it did."""

import json

import numpy as np
import pytest

from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.errors import ConfigError, DataError, DivergedError
from cnncli.evaluate import evaluate_run
from cnncli.runs.directory import Run
from cnncli.train.events import Events
from cnncli.train.trainer import train


class Heard(Events):
    def __init__(self):
        self.rows, self.notes, self.order = [], [], []

    def device(self, device):
        self.order.append("device")

    def started(self, run, about):
        self.order.append("started")
        self.about = about

    def compiled(self, seconds):
        self.order.append("compiled")

    def epoch(self, row):
        self.order.append("epoch")
        self.rows.append(row)

    def note(self, text):
        self.notes.append(text)


def test_it_learns_and_leaves_a_run_that_evaluates_to_the_same_numbers(tmp_path, monkeypatch):
    heard = Heard()
    outcome = train(load(bundled_configs()["digits"], ["train.epochs=5"]), tmp_path / "runs", heard)
    assert heard.order[:3] == ["device", "started", "compiled"]
    assert heard.rows[-1].train["loss"] < heard.rows[0].train["loss"]
    assert outcome.test["accuracy"] > 0.95
    assert outcome.steps == 5 * 41  # ceil(1299 / 32)
    monkeypatch.chdir("/")
    found = evaluate_run(outcome.run, None, "best", Events())
    assert found.split == "test"
    assert found.document()["loss"] == outcome.test["loss"]
    assert found.document()["accuracy"] == outcome.test["accuracy"]


def test_the_run_folder_holds_what_the_design_says(tiny, tmp_path):
    outcome = train(tiny(), tmp_path / "runs", Events())
    run = Run(outcome.run)
    assert outcome.run.name == "tiny-1"
    assert run.config.read_text() == (tmp_path / "tiny.yaml").read_text()
    lock = json.loads(run.lock.read_text())
    assert lock["seed"] == 0
    assert len(lock["data"]["sha256"]) == 64
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2, 3]
    assert [line["step"] for line in lines if line["kind"] == "steps"] == list(range(4, 34, 4))
    assert all(line["step"] <= 33 for line in lines)
    checkpoints = sorted(path.name for path in run.checkpoints.iterdir())
    assert checkpoints[-1] == "step-00000033"
    files = {path.name for path in (run.checkpoints / checkpoints[-1]).iterdir()}
    assert files == {"params.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tiny, tmp_path):
    runs = [train(tiny("train.epochs=1", f"seed={seed}"), tmp_path / "runs", Events()).run for seed in (3, 3, 4)]
    metrics = [Run(run).metrics.read_bytes() for run in runs]
    weights = [(run / "checkpoints/step-00000011/params.safetensors").read_bytes() for run in runs]
    assert metrics[0] == metrics[1]
    assert weights[0] == weights[1]
    assert metrics[0] != metrics[2]
    assert weights[0] != weights[2]


@pytest.mark.parametrize("override", [
    "train.optimizer={adamw: {lr: 0.01, weight_decay: 0.01}}", "train.clip_norm=1", "train.precision=bfloat16",
    "train.loss=mse", "train.loss={cross_entropy: {label_smoothing: 0.1}}", "train.class_weights=balanced",
    "data.augment=[{mixup: 0.2}]", "train.schedule={one_cycle: 0.3}", "data.validation=0", "train.watch=true",
    "data.preprocess=[{whiten: {epsilon: 10}}]",
])  # fmt: skip
def test_every_switch_trains(tiny, tmp_path, override):
    heard = Heard()
    outcome = train(tiny(override, "train.epochs=4"), tmp_path / "runs", heard)
    assert np.isfinite(outcome.test["loss"])
    assert heard.rows[-1].train["loss"] < heard.rows[0].train["loss"]


def test_early_stop_ends_training_and_says_so(tiny, tmp_path):
    heard = Heard()
    stop = "train.early_stop={patience: 2, metric: accuracy, min_delta: 2}"
    outcome = train(tiny(stop, "train.epochs=30"), tmp_path / "runs", heard)
    assert outcome.epochs == 3
    assert any("stopped early" in note for note in heard.notes)


def test_max_time_ends_training_after_an_epoch(tiny, tmp_path):
    heard = Heard()
    outcome = train(tiny("train.max_time=0.001 s", "train.epochs=30"), tmp_path / "runs", heard)
    assert outcome.epochs == 1
    assert any("max_time" in note for note in heard.notes)


def test_max_time_that_is_over_with_the_last_epoch_stops_nothing(tiny, tmp_path):
    heard = Heard()
    assert train(tiny("train.max_time=0.001 s", "train.epochs=1"), tmp_path / "runs", heard).epochs == 1
    assert not any("max_time" in note for note in heard.notes)


def test_divergence_names_the_step_and_keeps_the_last_good_checkpoint(tiny, tmp_path):
    config = tiny("train.optimizer={sgd: {lr: 1e38}}", "train.epochs=5", "train.ema=null")
    with pytest.raises(DivergedError, match=r"at step \d+"):
        train(config, tmp_path / "runs", Events())


def test_watch_records_health_and_names_saturated_units(tiny, tmp_path):
    text = """\
name: saturated
data: {source: digits}
model: {input: [8, 8, 1], layers: [{fc: {units: 32, init: {normal: 1}}}, sigmoid, {fc: 10}, softmax]}
train: {epochs: 1, watch: true, optimizer: {sgd: 0.01}}
"""
    heard = Heard()
    outcome = train(tiny(text=text), tmp_path / "runs", heard)
    health = next(line for line in Run(outcome.run).metric_lines() if line["kind"] == "health")
    assert health["layers"]["sigmoid1"]["saturated"] > 0.9
    assert set(health["layers"]["fc1"]) == {"activation", "gradient", "update"}
    assert any("saturated" in note for note in heard.notes)


def test_batch_larger_than_the_data_says_how_many_there_are(tiny, tmp_path):
    with pytest.raises(ConfigError, match="1299 training images"):
        train(tiny("train.batch_size=5000"), tmp_path / "runs", Events())
    assert not (tmp_path / "runs").exists()


def test_wrong_number_of_classes_in_the_data_is_a_data_error(tiny, tmp_path):
    images = np.zeros((40, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "some.npz", x_train=images, y_train=np.arange(40) % 3)
    config = tiny(f"data.source={{npz: {{path: {tmp_path / 'some.npz'}}}}}", "train.batch_size=8")
    with pytest.raises(DataError, match="3 classes, the network gives 10"):
        train(config, tmp_path / "runs", Events())
