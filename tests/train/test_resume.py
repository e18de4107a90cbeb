"""A resumed run equals the uninterrupted one to the bit, wherever it stopped."""

import dataclasses
import json
import os
import re
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from cnncli.config.load import load
from cnncli.errors import CheckpointError, ConfigError, MachineError
from cnncli.runs import checkpoint
from cnncli.runs.directory import Run
from cnncli.train import loop_state
from cnncli.train.checkpointing import augmentations_fit, open_trained
from cnncli.train.events import Events
from cnncli.train.interrupts import Interrupted
from cnncli.train.prepare import fit_constants, load_data
from cnncli.train.setup import Setup
from cnncli.train.trainer import resume, train


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
    monkeypatch.setattr(loop_state, "LOOK_SECONDS", 0.0)


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


def test_a_finished_run_is_completed_and_says_how_to_go_on(tiny, tmp_path, tree_bytes):
    first = train(tiny("train.epochs=1"), tmp_path / "runs", Events())
    before, heard = tree_bytes(first.run), Listen()
    (first.run / "checkpoints" / ".tmp-step-00000000").mkdir()  # left by a kill inside the last pruning
    again = resume(first.run, [], heard)
    assert heard.notes[-1] == "the run is finished: 1 epochs are done. Try train.epochs=2 to go on"
    assert (again.epochs, again.steps, again.val, again.test) == (1, 11, first.val, first.test)
    assert tree_bytes(first.run) == before
    assert not list((first.run / "checkpoints").glob(".tmp-*"))


def test_a_run_cannot_be_made_shorter_than_it_is(tiny, tmp_path, tree_bytes):
    run = train(tiny("train.epochs=2"), tmp_path / "runs", Events()).run
    before = tree_bytes(run)
    with pytest.raises(ConfigError, match=r"train\.epochs: 2 epochs are done, got 1\. Try train\.epochs=2"):
        resume(run, ["train.epochs=1"], Events())
    assert tree_bytes(run) == before


def test_only_the_newest_checkpoint_can_be_resumed_from(tiny, tmp_path, tree_bytes):
    run = train(tiny("train.epochs=2"), tmp_path / "runs", Events()).run
    before, folder = tree_bytes(run), run / "checkpoints"
    with pytest.raises(ConfigError, match=r"step-00000011  is not the newest .* or remove step-00000022 first"):
        resume(folder / "step-00000011", ["train.epochs=3"], Events())
    assert tree_bytes(run) == before
    params = folder / "step-00000022" / "params.safetensors"
    whole = params.read_bytes()
    flip(params)
    with pytest.raises(CheckpointError, match="SHA-256"):
        resume(folder / "step-00000022", ["train.epochs=3"], Events())
    params.write_bytes(whole)
    assert tree_bytes(run) == before
    assert resume(folder / "step-00000022", ["train.epochs=3"], Events()).epochs == 3
    shutil.rmtree(folder / "step-00000033")
    heard = Listen()
    resume(folder / "step-00000022", [], heard)
    assert any("from step-00000022" in note for note in heard.notes)


def test_another_learning_rate_and_schedule_are_taken_told_and_recorded(tiny, tmp_path):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    heard, changes = Listen(), ["train.optimizer.sgd.lr=0.01", "train.schedule=constant", "train.epochs=2"]
    resume(run, changes, heard)
    assert any("the optimizer's lr 0.05 became 0.01; the schedule cosine became constant; the learning rate goes on at "
               "0.01 (it was" in note for note in heard.notes)  # fmt: skip
    assert Run(run).metric_lines()[-1]["lr"] == pytest.approx(0.01)
    assert load(Run(run).resolved).config.train.optimizer.lr == 0.01
    with pytest.raises(CheckpointError, match=r"another train\.optimizer\. A resumed run may change the opt"):
        resume(run, ["train.optimizer.sgd.momentum=0.5", "train.epochs=3"], Events())


def test_a_checkpoint_does_not_grow_with_the_epochs(tiny, tmp_path):
    run = train(tiny("train.epochs=6", "train.keep=6"), tmp_path / "runs", Events()).run
    sizes = [(each / "state.json").stat().st_size for each in checkpoint.folders(run / "checkpoints")[1:]]
    assert max(sizes) - min(sizes) < 40  # a sum has more or fewer digits


def test_early_stop_counts_over_an_interruption_and_needs_every_epoch(tiny, tmp_path, short_stretches):
    stop = "train.early_stop={patience: 3, metric: accuracy, min_delta: 2}"
    whole = train(tiny(stop, "train.epochs=30"), tmp_path / "a", Events())
    assert whole.epochs == 4
    with pytest.raises(Interrupted):
        train(tiny(stop, "train.epochs=30"), tmp_path / "b", StopAt(25))
    run = Run(tmp_path / "b" / "tiny-1")
    lines = run.metrics.read_text()
    run.metrics.write_text("".join(line for line in lines.splitlines(True) if '"epoch": 2, "lr"' not in line))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl  has 1 of the 2 epochs that train\.early_stop counts"):
        resume(run.folder, [], Events())
    run.metrics.write_text(lines)
    assert resume(run.folder, [], Events()).steps == whole.steps
    assert run.metrics.read_bytes() == Run(whole.run).metrics.read_bytes()


def test_checkpoints_that_may_not_be_read_are_told(tiny, tmp_path, monkeypatch):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    real = os.listdir

    def refuse(path):
        if str(path) == str(run / "checkpoints"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: .*checkpoints"):
        open_trained(run)


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


class Listen(Events):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def flip(path, at=-20):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_damaged_manifest_falls_back_in_words_too(tiny, tmp_path, tree_bytes):
    run = train(tiny("train.epochs=3"), tmp_path / "runs", Events()).run
    whole = tree_bytes(run / "checkpoints/step-00000033")
    flip(run / "checkpoints/step-00000033/manifest.json")
    heard = Listen()
    resume(run, [], heard)
    assert "manifest.json  does not match its own SHA-256" in heard.notes[0]
    assert "Set aside as damaged-step-00000033; using the checkpoint before it." in heard.notes[0]
    assert tree_bytes(run / "checkpoints/step-00000033") == whole


def test_evaluation_and_prediction_fall_back_in_words_and_touch_nothing(tiny, tmp_path, tree_bytes):
    run = train(tiny("train.epochs=2"), tmp_path / "runs", Events()).run
    best = open_trained(run).folder
    flip(best / "params.safetensors")
    before = tree_bytes(run)
    for which in ("best", "latest"):
        heard = Listen()
        trained = open_trained(run, which, heard)
        if which == "best" or best.name == "step-00000022":
            assert trained.folder != best
            assert f"Using {trained.folder.name}." in heard.notes[0]
    assert tree_bytes(run) == before
    for folder in (run / "checkpoints").glob("step-*"):
        flip(folder / "params.safetensors", 9)
    with pytest.raises(CheckpointError, match=r"params\.safetensors"):
        open_trained(run)


def test_a_disk_too_small_is_told_before_anything_is_made(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(MachineError, match=r"the checkpoints need .*, 10,000 bytes are free") as refused:
        train(tiny(), tmp_path / "runs", Events())
    assert refused.value.exit_code == 4
    assert not (tmp_path / "runs").exists()


def test_the_space_that_is_asked_for_is_what_checkpoints_take(tiny, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("cnncli.train.trainer.require_space", lambda root, size: asked.append(size))
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    arrays = sum(path.stat().st_size for path in (run / "checkpoints/step-00000011").glob("*.safetensors"))
    assert 0.5 * arrays < asked[0] / 2 <= arrays  # at steps 0 and 11; headers beside the numbers


@pytest.mark.parametrize(("keep", "epochs", "most"), [(3, 30, 5), (3, 2, 3), (1_000_000_000, 2, 3)])
def test_space_is_asked_for_no_more_checkpoints_than_there_will_be(tiny, keep, epochs, most):
    loaded = tiny(f"train.keep={keep}", f"train.epochs={epochs}")
    data = load_data(loaded.config, loaded.graph, lambda *_: None)
    assert Setup(loaded, data, fit_constants(loaded.config, data.dataset.train)).most_checkpoints == most


LIES = [
    {"epoch": None}, {"epoch": {"loss": "0"}}, {"log": []}, {"validation": [{"loss": "x"}]}, {"restores": "1"},
    {"classes": "ab"}, {"classes": [1]}, {"image_shape": None}, {"image_shape": [0]}, {"image_shape": "88"},
]  # fmt: skip


def test_a_state_that_lies_is_refused(tiny, tmp_path):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    (folder,) = (each for each in (run / "checkpoints").iterdir() if each.name.endswith("11"))
    contents = checkpoint.load(folder)
    for each in (run / "checkpoints").iterdir():
        shutil.rmtree(each)
    for lie in LIES:
        contents = dataclasses.replace(contents, state={**contents.state, **lie})
        saved = checkpoint.save(run / "checkpoints", contents, None)
        with pytest.raises(CheckpointError, match=r"state\.json"):
            resume(run, ["train.epochs=2"], Events())
        shutil.rmtree(saved)


def test_a_run_that_stopped_early_does_not_go_on_by_itself(tiny, tmp_path):
    stop = "train.early_stop={patience: 1, metric: accuracy, min_delta: 2}"
    run = train(tiny(stop, "train.epochs=30"), tmp_path / "runs", Events()).run
    heard = Listen()
    assert resume(run, [], heard).epochs == 2
    assert "finished: it stopped early" in heard.notes[-1]
    assert "Try train.early_stop=null" in heard.notes[-1]
    assert resume(run, ["train.early_stop=null", "train.epochs=3"], Events()).epochs == 3


def test_resuming_with_other_cores_or_kernels_is_told(tiny, tmp_path):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    lock = json.loads((run / "lock.json").read_text())
    lock["flags"] |= {"cores": 1000, "kernels": "other"}
    (run / "lock.json").write_text(json.dumps(lock))
    heard = Listen()
    resume(run, ["train.epochs=2"], heard)
    assert re.match(
        r"kernels 'other' became '\w+', cores 1000 became \d+: from here on the last digits", heard.notes[0]
    )
    lock["flags"] = {}
    (run / "lock.json").write_text(json.dumps(lock))
    heard = Listen()
    resume(run, ["train.epochs=3"], heard)
    assert not any("last digits" in note for note in heard.notes)


def test_constants_of_augmentations_are_held_against_the_config(tiny):
    loaded = tiny("data.augment=[{random_shift: 1}, random_erasing]")
    data = load_data(loaded.config, loaded.graph, lambda *_: None)
    constants = fit_constants(loaded.config, data.dataset.train)
    assert augmentations_fit(loaded.config, constants, (8, 8, 1))
    assert not augmentations_fit(loaded.config, {}, (8, 8, 1))
    assert not augmentations_fit(loaded.config, {"random_erasing1": {"white": np.zeros((3, 5), np.float32)}}, (8, 8, 1))


def test_resuming_with_other_variables_of_xla_or_onednn_is_told(tiny, tmp_path, monkeypatch):
    run = train(tiny("train.epochs=1"), tmp_path / "runs", Events()).run
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # read when oneDNN is loaded: here only the note changes
    heard = Listen()
    resume(run, ["train.epochs=2"], heard)
    assert heard.notes[0].startswith("ONEDNN_MAX_CPU_ISA '' became 'AVX2': from here on the last digits may differ")
