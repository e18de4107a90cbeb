"""A resumed run equals the uninterrupted one to the bit, wherever it stopped."""

import json
import signal

import pytest

from cnncli.errors import CheckpointError, ConfigError
from cnncli.runs.directory import Run
from cnncli.train import loop
from cnncli.train.events import Events
from cnncli.train.signals import Interrupted
from cnncli.train.start import resume, train
from cnncli.train.trained import open_trained


class StopAt(Events):
    """Raises the signal once ``step`` steps are done."""

    def __init__(self, step, per_epoch=11):
        self.at, self.per_epoch = step, per_epoch

    def progress(self, progress):
        if (progress.epoch - 1) * self.per_epoch + progress.step >= self.at:
            self.at = 1 << 60
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def short_stretches(monkeypatch):
    """One step at a time, so that a run can stop after any of them."""
    monkeypatch.setattr(loop, "PACE", 0.0)


EVERYTHING = (
    "train.optimizer={adamw: {lr: 0.01}}",
    "data.augment=[{random_shift: 1}, {mixup: 0.2}]",
    "train.watch=true",
)


@pytest.mark.parametrize("overrides", [(), EVERYTHING])
@pytest.mark.parametrize("step", [1, 9, 11, 15])
def test_interrupted_and_resumed_equals_uninterrupted(tiny, tmp_path, short_stretches, tree_bytes, overrides, step):
    whole = train(tiny(*overrides), tmp_path / "a", Events()).run
    with pytest.raises(Interrupted) as stopped:
        train(tiny(*overrides), tmp_path / "b", StopAt(step))
    assert stopped.value.exit_code == 143
    part = Run(tmp_path / "b" / "tiny-1")
    resume(part.folder, [], Events())
    last = "checkpoints/step-00000033"
    assert tree_bytes(whole / last) == tree_bytes(part.folder / last)
    assert Run(whole).metrics.read_bytes() == part.metrics.read_bytes()


def test_more_epochs_after_the_end_continue_the_run_and_say_what_the_schedule_does(tiny, tmp_path):
    notes = []

    class Listen(Events):
        def note(self, text):
            notes.append(text)

    run = train(tiny("train.epochs=2"), tmp_path / "runs", Events()).run
    outcome = resume(run, ["train.epochs=4"], Listen())
    assert outcome.epochs == 4
    assert any("cosine schedule now spans" in note for note in notes)
    epochs = [line["epoch"] for line in Run(run).metric_lines() if line["kind"] == "epoch"]
    assert epochs == [1, 2, 3, 4]


def test_a_finished_run_says_how_to_go_on(tiny, tmp_path):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    with pytest.raises(ConfigError, match=r"finished.*Try train\.epochs=2"):
        resume(run, [], Events())


def test_another_config_is_refused_with_what_differs(tiny, tmp_path):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    with pytest.raises(CheckpointError, match=r"another seed, train\.batch_size"):
        resume(run, ["train.batch_size=64", "seed=9", "train.epochs=2"], Events())


def test_other_data_is_refused(tiny, tmp_path):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    lock = json.loads((run / "lock.json").read_text())
    lock["data"]["sha256"] = "0" * 64
    (run / "lock.json").write_text(json.dumps(lock))
    with pytest.raises(CheckpointError, match="not the data of this run"):
        resume(run, ["train.epochs=2"], Events())


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_in_words(tiny, tmp_path, tree_bytes):
    notes = []

    class Listen(Events):
        def note(self, text):
            notes.append(text)

    run = train(tiny("train.epochs=3"), tmp_path / "runs", Events()).run
    whole = tree_bytes(run / "checkpoints/step-00000033")
    params = run / "checkpoints/step-00000033/params.safetensors"
    damaged = bytearray(params.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    params.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="SHA-256"):
        open_trained(run / "checkpoints/step-00000033")
    resume(run, [], Listen())
    assert any("using the checkpoint before it" in note for note in notes)
    assert tree_bytes(run / "checkpoints/step-00000033") == whole


def test_all_checkpoints_damaged_is_an_error_not_a_fresh_start(tiny, tmp_path):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    for params in run.glob("checkpoints/*/params.safetensors"):
        params.write_bytes(params.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="the manifest says"):
        resume(run, ["train.epochs=2"], Events())
