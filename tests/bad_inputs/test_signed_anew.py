"""Runs whose files were changed and signed anew: exit code 5, the file and the field, never a bug of ours."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from cnncli.errors import CheckpointError
from cnncli.runs.directory import json_lines
from tests.helpers.checkpoints import MANIFEST, SLOTS, STATE, signed, tensors
from tests.helpers.commands import FOREIGN, runner


@pytest.fixture
def cnn(monkeypatch, capsys):
    return runner(monkeypatch, capsys)


VALUES = [None, True, "7", -1, 1.5, float("nan"), 1 << 31, 1 << 70, [], {}, [[[-1]]], {"a": {"b": []}}, ["x"] * 11]
GONE = object()


def places(value, path=()):
    """Every place in plain data, the containers too."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def changes(document):
    """(place, new value, document with that value there or without it) for every place and every odd value."""
    for place in places(document):
        for value in (*VALUES, GONE):
            changed = json.loads(json.dumps(document))
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            if inner[place[-1]] == value and type(inner[place[-1]]) is type(value):
                continue
            if value is GONE:
                del inner[place[-1]]
            else:
                inner[place[-1]] = value
            yield place, value, changed


SOUND = [  # what reads as a training's own
    ("restores", GONE),
    *((f"classes.{number}", "7") for number in range(10)),
    *((f"{sums}.loss", value) for sums in ("epoch", "log") for value in (-1, 1.5, 1 << 31, 1 << 70)),
]


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_a_state_changed_and_signed_anew_is_refused_by_file_and_field(cnn, newest, every):
    state = json.loads((newest / STATE).read_text())
    tried = [change for change in changes(state) if (".".join(map(str, change[0])), change[1]) not in SOUND]
    for place, value, changed in [*tried[::every], (("step",), "nested", None)]:
        content = json.dumps(changed).encode() if changed else b'{"step": ' + b"[" * 100_000
        signed(newest, STATE, content)
        for command in (["eval", newest], ["train", "--resume", newest, "train.epochs=3"]):
            outcome = cnn(*command)
            assert outcome.code == 5, (place, value, outcome)
            errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
            assert errors[0].startswith(f"error: {newest / STATE}  "), (place, value, outcome)
            assert place[0] in errors[0] or "nested" in (value,) or place[0] == "step", (place, value, outcome)
            assert not FOREIGN.search(outcome.err)
    assert len(tried) > 200


LINES_OF_EACH_KIND = {
    "metrics.jsonl": [
        {"kind": "steps", "step": 2, "epoch": 1, "lr": 0.1, "loss": 0.5, "accuracy": 0.5},
        {"kind": "epoch", "step": 3, "epoch": 1, "lr": 0.1, "train": {"loss": 0.5, "accuracy": 0.5},
         "val": {"loss": 0.5, "accuracy": 0.5}},
        {"kind": "health", "step": 4, "epoch": 2, "layers": {"fc1": {"activation": 0.5}}},
        {"kind": "restore", "step": 3, "epoch": 2, "restore": 1, "lr_share": 0.5, "reason": "the loss is nan"},
    ],
    "timing.jsonl": [{"step": 3, "epoch": 1, "seconds": 0.5, "images_per_second": 9.5, "compile_seconds": 0.5}],
}  # fmt: skip


@pytest.mark.parametrize("name", LINES_OF_EACH_KIND)
def test_a_line_of_metrics_is_what_training_writes_or_refused_by_its_number(tmp_path, name):
    path, sound, refused = tmp_path / name, LINES_OF_EACH_KIND[name], 0
    path.write_text("".join(json.dumps(line) + "\n" for line in sound) + '{"half')
    assert list(json_lines(path)) == sound
    for line in sound:
        for place, value, changed in changes(line):
            path.write_text("\n".join(map(json.dumps, [sound[0], changed, sound[0]])))
            if isinstance(value, (int, float)) or place[0] in ("layers", "val", "reason"):
                continue  # another number or another layer may be true
            if value is None and place[-1] == "loss":
                continue  # a loss that was not finite
            with pytest.raises(CheckpointError, match=r":2  ") as error:
                list(json_lines(path))
            assert place[0] in str(error.value) or place[0] == "kind"
            refused += 1
    path.write_text(json.dumps(sound[0]) + "\n" + "[" * 100_000 + "\n" + json.dumps(sound[0]))
    with pytest.raises(CheckpointError, match=r":2  is not JSON"):
        list(json_lines(path))
    assert refused >= 40


@pytest.mark.parametrize("file", ["metrics.jsonl", "timing.jsonl"])
def test_resume_refuses_lines_that_no_training_wrote(cnn, newest, file):
    path = Path("runs/x-1") / file
    before = path.read_text()
    path.write_text('{"step": 3, "epoch": 1, "kind": "epoch", "seconds": "1"}\n' + before)
    outcome = cnn("train", "--resume", "runs/x-1", "train.epochs=3")
    assert outcome.code == 5, outcome
    assert outcome.err.startswith(f"error: {path}:1  ")
    path.unlink()
    os.mkfifo(path)
    outcome = cnn("train", "--resume", "runs/x-1", "train.epochs=3")
    assert outcome.code == 5, outcome
    assert f"error: {path}  cannot be read: it is a pipe, not a plain file" in outcome.err


@pytest.mark.parametrize("lock", ["[" * 100_000, "[]", '{"flags": {}, "data": {"sha256": 7}}', '{"flags": 1}'])
def test_resume_refuses_a_lock_file_that_no_training_wrote(cnn, newest, lock):
    Path("runs/x-1/lock.json").write_text(lock)
    outcome = cnn("train", "--resume", "runs/x-1", "train.epochs=3")
    assert outcome.code == 5, outcome
    assert outcome.err.startswith("error: runs/x-1/lock.json  ")


def test_predict_refuses_weights_that_are_not_finite(cnn, newest):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
    tensors(lambda arrays: {**arrays, "fc1.bias": np.full(10, np.inf, np.float32)})(newest)
    outcome = cnn("predict", newest, "a.png")
    assert outcome.code == 5, outcome
    assert outcome.err.startswith(f"error: {newest}  gives probabilities that are not finite")


def test_resume_refuses_another_optimizers_arrays(cnn, newest):
    signed(newest, SLOTS, save({"0.count": np.zeros((), np.int32)}))
    outcome = cnn("train", "--resume", newest, "train.epochs=3")
    assert outcome.code == 5, outcome
    assert outcome.err.startswith(f"error: {newest / SLOTS}  the optimizer state of the checkpoint are not")


def test_a_checkpoint_under_another_step_s_name_is_refused(cnn, newest):
    other = newest.rename(newest.with_name("step-00000099"))
    outcome = cnn("eval", other)
    assert outcome.code == 5, outcome
    assert outcome.err.startswith(f"error: {other / MANIFEST}  is of step")
