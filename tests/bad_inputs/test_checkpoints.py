"""Bad checkpoints through the command line: exit code 5, the file by its name, one line, nothing changed."""

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.checkpoints import MANIFEST, PARAMS, SLOTS, STATE, signed, tensors
from tests.helpers.commands import FOREIGN, runner


@pytest.fixture
def cnn(monkeypatch, capsys):
    return runner(monkeypatch, capsys)


def header(text: str, length: int | None = None) -> bytes:
    """A safetensors file that begins so."""
    return struct.pack("<Q", len(text) if length is None else length) + text.encode()


def manifest(**changes):
    """A manifest with some entries changed."""

    def change(folder: Path) -> None:
        content = json.loads((folder / MANIFEST).read_text()) | {"format": 1} | changes
        (folder / MANIFEST).write_text(json.dumps(content))

    return change


def listed(name: str):
    """A manifest that lists the weights under another name."""

    def change(folder: Path) -> None:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        files[name] = files.pop(PARAMS)
        manifest(files=files)(folder)

    return change


def linked(folder: Path) -> None:
    (folder / PARAMS).rename("elsewhere")
    (folder / PARAMS).symlink_to(Path("elsewhere").absolute())


def flipped(name: str):
    """One bit in the middle of a file."""

    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 4
        (folder / name).write_bytes(content)

    return flip


def cut(name: str):
    """A file without its last byte."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1])


def only(*names: str):
    """A checkpoint of which only these files are left."""

    def remove(folder: Path) -> None:
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()

    return remove


def stated(change):
    """The state changed in place, and signed again."""

    def apply(folder: Path) -> None:
        state = json.loads((folder / STATE).read_text())
        change(state)
        signed(folder, STATE, json.dumps(state).encode())

    return apply


ONE = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
HUGE = '{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}'

# (what the corpus calls it, what is done to the checkpoint, the file named, what is said)
CHECKPOINTS = [
    ("empty directory", only(), MANIFEST, "cannot be read: No such file"),
    ("manifest only", only(MANIFEST), PARAMS, "cannot be read: No such file"),
    *((f"truncated {name}", cut(name), name, "") for name in (PARAMS, SLOTS, STATE, MANIFEST)),
    *((f"one flipped bit in {name}", flipped(name), name, "") for name in (PARAMS, SLOTS, STATE, MANIFEST)),
    ("header length 2^63", lambda c: signed(c, PARAMS, header("{}", 1 << 63)), PARAMS, "is not a safetensors file"),
    ("overlapping tensor offsets", lambda c: signed(c, PARAMS, header(
        "{" + ONE + ', "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}') + bytes(6)), PARAMS,
     "is not a safetensors file"),
    ("shape x dtype overflow", lambda c: signed(c, PARAMS, header(HUGE)), PARAMS, "is not a safetensors file"),
    ("extra tensor", tensors(lambda a: {**a, "out.extra": a["fc1.bias"]}), "", "unknown out.extra"),
    ("missing tensor", tensors(lambda a: {k: v for k, v in a.items() if k != "fc1.bias"}), "", "missing fc1.bias"),
    ("renamed tensor", tensors(lambda a: {k.replace("fc1", "fc2"): v for k, v in a.items()}), "",
     "missing fc1.bias, fc1.kernel; unknown fc2.bias, fc2.kernel"),
    ("shape differs from the config", tensors(lambda a: {**a, "fc1.bias": np.zeros(9, np.float32)}), "",
     "fc1.bias is float32 (9,), expected float32 (10,)"),
    ("dtype differs", tensors(lambda a: {**a, "fc1.bias": np.zeros(10, np.int32)}), "", "fc1.bias is int32"),
    ("preprocessing missing", tensors(lambda a: {k: v for k, v in a.items() if "preprocess" not in k}), PARAMS,
     "lacks constants of preprocessing"),
    ("preprocessing unknown", tensors(lambda a: {**a, "preprocess.whiten7.x": a["fc1.bias"]}), PARAMS, "whiten7"),
    ("preprocessing of another shape", tensors(lambda a: {k: np.zeros((2, 3), np.float32) if "preprocess" in k else v
                                                          for k, v in a.items()}), PARAMS, "in another shape"),
    ("format newer than this program", manifest(format=99), MANIFEST, "format 99 is not one of"),
    ("pickle named .safetensors", lambda c: signed(c, PARAMS, pickle.dumps({"fc1.bias": 1})), PARAMS,
     "is not a safetensors file"),
    ("manifest with ../x", listed("../x"), MANIFEST, "does not list the files"),
    ("manifest with an absolute path", listed("/etc/passwd"), MANIFEST, "does not list the files"),
    ("symlink", linked, PARAMS, "cannot be read"),
    ("manifest that is NaN-valued", lambda c: (c / MANIFEST).write_text("NaN"), MANIFEST, "is not a JSON object"),
    ("step that is NaN", manifest(step=float("nan")), MANIFEST, "does not list the files"),
    ("manifest of 100 MB", lambda c: (c / MANIFEST).write_bytes(b" " * 100_000_000), MANIFEST, "is over 1 MiB"),
    ("state without classes", stated(lambda state: state.pop("classes")), STATE, "classes: is missing"),
]  # fmt: skip


def snapshot(folder: Path) -> dict[str, int]:
    """Every file below ``folder`` with its size."""
    return {str(path): path.lstat().st_size for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("case", CHECKPOINTS, ids=[case[0] for case in CHECKPOINTS])
def test_refused(cnn, newest, case):
    _, damage, file, says = case
    damage(newest)
    before = snapshot(Path())
    outcome = cnn("eval", newest)
    assert outcome.code == 5, outcome
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {newest / file}  ")
    assert says in errors[0]
    assert not FOREIGN.search(outcome.err)
    assert snapshot(Path()) == before


def test_missing(cnn, newest):
    outcome = cnn("eval", "runs/x-1/checkpoints/step-99999999")
    assert outcome.code == 5
    assert outcome.err.startswith("error: runs/x-1/checkpoints/step-99999999  no such run or checkpoint")


def test_debug_shows_where(cnn, newest, monkeypatch):
    monkeypatch.setenv("CNN_DEBUG", "1")
    flipped(PARAMS)(newest)
    outcome = cnn("eval", newest)
    assert outcome.code == 5
    assert "Traceback" in outcome.err


def test_weights_that_are_nan_load_with_a_warning(cnn, newest):
    tensors(lambda arrays: {**arrays, "fc1.bias": np.full(10, np.nan, np.float32)})(newest)
    outcome = cnn("eval", newest)
    assert outcome.code == 0, outcome
    assert "weights that are not finite" in outcome.out


def test_the_newest_corrupt_is_told_and_the_one_before_used(cnn, newest):
    flipped(PARAMS)(newest)
    outcome = cnn("eval", "runs/x-1", "--latest")
    assert outcome.code == 0, outcome
    assert f"{newest / PARAMS}  does not match its SHA-256" in outcome.out.replace("\n", "")
    assert f"checkpoint  {newest}" not in outcome.out


@pytest.mark.parametrize("command", [["eval", "runs/x-1"], ["train", "--resume", "runs/x-1", "train.epochs=3"]])
def test_all_corrupt_never_starts_again(cnn, newest, command):
    for folder in newest.parent.iterdir():
        flipped(PARAMS)(folder)
    before = snapshot(Path("runs/x-1/checkpoints"))
    outcome = cnn(*command)
    assert outcome.code == 5, outcome
    assert snapshot(Path("runs/x-1/checkpoints")) == before


@pytest.mark.parametrize("change", [{"epoch": None}, {"log": {"lost": 0.0}}, {"validation": 7}, {"step": "3"}])
def test_resume_from_a_state_that_no_training_wrote(cnn, newest, change):
    """Found by the fuzzer: well-formed and signed, it raised KeyErrors and TypeErrors."""
    state = json.loads((newest / STATE).read_text()) | change
    signed(newest, STATE, json.dumps(state).encode())
    for folder in newest.parent.iterdir():
        if folder != newest:
            shutil.rmtree(folder)
    outcome = cnn("train", "--resume", "runs/x-1", "train.epochs=3")
    assert outcome.code == 5, outcome
    assert f"error: {newest / STATE}  " in outcome.err


def test_resume_with_another_config_lists_what_differs(cnn, newest):
    outcome = cnn("train", "--resume", "runs/x-1", "seed=9", "train.batch_size=64", "train.epochs=3")
    assert outcome.code == 5
    assert "error: runs/x-1  cannot resume with another seed, train.batch_size" in outcome.err


def test_resume_with_other_data(cnn, newest):
    lock = json.loads(Path("runs/x-1/lock.json").read_text())
    lock["data"]["sha256"] = "0" * 64
    Path("runs/x-1/lock.json").write_text(json.dumps(lock))
    outcome = cnn("train", "--resume", "runs/x-1", "train.epochs=3")
    assert outcome.code == 5
    assert "the data is not the data of this run" in outcome.err


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl", "lock.json"])
def test_a_pipe_in_the_place_of_a_runs_file(newest, cnn, name):
    """It would wait for a writer."""
    path = Path("runs/x-1", name)
    path.unlink()
    os.mkfifo(path)
    outcome = cnn("train", "--resume", "runs/x-1", "train.epochs=3")
    assert outcome.code == 5, outcome
    assert outcome.errors[-1] == f"{path}  cannot be read: it is a pipe, not a plain file"


def test_a_run_whose_figures_are_too_large(newest, cnn, monkeypatch):
    monkeypatch.setattr("cnncli.runs.directory.MAX_LINES", 20)
    outcome = cnn("train", "--resume", "runs/x-1", "train.epochs=3")
    assert outcome.code == 5, outcome
    assert outcome.errors[-1] == "runs/x-1/metrics.jsonl  has more than 20 bytes"
