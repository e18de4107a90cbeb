"""Checkpoints: committed in one step, verified before use, pruned without losing the best."""

import hashlib
import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncli.errors import CheckpointError, MachineError
from cnncli.report.plots import curves, picture
from cnncli.runs import checkpoint, directory, files
from cnncli.starter import write_starter

CONTENTS = checkpoint.Contents(
    {"conv1.kernel": np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)},
    {"0.count": np.array(3, np.int32)},
    {"step": 7},
)


def save(folder, step, accuracy=None):
    folder.mkdir(exist_ok=True)
    contents = checkpoint.Contents(CONTENTS.params, CONTENTS.optimizer, {"step": step})
    return checkpoint.save(folder, contents, None if accuracy is None else {"loss": 1.0, "accuracy": accuracy})


def test_what_is_saved_is_loaded(tmp_path):
    found = checkpoint.load(save(tmp_path, 7))
    np.testing.assert_array_equal(found.params["conv1.kernel"], CONTENTS.params["conv1.kernel"])
    np.testing.assert_array_equal(found.optimizer["0.count"], 3)
    assert found.state == {"step": 7}


def test_commit_order_is_files_then_manifest_then_rename_then_parent(tmp_path, monkeypatch):
    log = []

    def logged(name, subject):
        real = getattr(os, name)

        def call(*arguments, **named):
            log.append((name, os.path.basename(subject(*arguments))))
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, call)

    folder = tmp_path / "checkpoints"
    save(folder, 6)
    logged("write", lambda descriptor, _: os.readlink(f"/proc/self/fd/{descriptor}"))
    logged("fsync", lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}"))
    logged("rename", lambda old, new: new)
    logged("rmdir", lambda path, **_: path)
    save(folder, 7)
    checkpoint.prune(folder, 1)
    expected = [(call, name) for name in (*checkpoint.FILES, "manifest.json") for call in ("write", "fsync")]
    expected += [("fsync", ".tmp-step-00000007"), ("rename", "step-00000007"), ("fsync", "checkpoints")]
    assert log == [*expected, ("rename", ".tmp-step-00000006"), ("rmdir", ".tmp-step-00000006")]


def test_a_save_that_breaks_off_leaves_the_one_before_and_is_swept_up(tmp_path, monkeypatch):
    save(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "sync_folder", lambda folder: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path, 2)
    assert [each.step for each in checkpoint.manifests(tmp_path)] == [1]
    checkpoint.prune(tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_the_best_gives_way_only_to_a_better_finite_one(tmp_path):
    assert checkpoint.best_of([]) is None
    for step, accuracy, best in [(1, float("nan"), None), (2, 0.5, 2), (3, 0.5, 2), (4, float("inf"), 2), (5, 0.4, 2),
                                 (6, None, 2), (7, 0.6, 7), (8, float("nan"), 7)]:  # fmt: skip
        save(tmp_path, step, accuracy)
        found = checkpoint.best_of(checkpoint.manifests(tmp_path))
        assert (found and found.step) == best
        checkpoint.prune(tmp_path, 1)


def test_prune_keeps_as_many_that_are_due_whatever_an_interruption_left(tmp_path):
    for step in (0, 10, 13, 20, 24, 27):
        save(tmp_path, step)
    checkpoint.prune(tmp_path, 2, every=10)
    assert [each.step for each in checkpoint.manifests(tmp_path)] == [10, 20, 27]


def test_prune_keeps_the_newest_and_the_best(tmp_path):
    for step, accuracy in enumerate((0.5, 0.9, 0.7, 0.9, float("nan"), None), 1):
        save(tmp_path, step, accuracy)
    checkpoint.prune(tmp_path, 2)
    assert [each.step for each in checkpoint.manifests(tmp_path)] == [2, 5, 6]
    assert checkpoint.best_of(checkpoint.manifests(tmp_path)).step == 2


@pytest.mark.parametrize("name", checkpoint.FILES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_flipped_bit_or_cut_is_found_and_the_file_named(tmp_path_factory, name, data):
    folder = save(tmp_path_factory.mktemp("flip"), 7)
    path = folder / name
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1), "length")]
    else:
        content[data.draw(st.integers(0, len(content) - 1), "byte")] ^= 1 << data.draw(st.integers(0, 7), "bit")
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        checkpoint.load(folder)


@pytest.mark.parametrize("manifest", [
    "", "[]", "{", "{}", '{"format": 2}', '{"format": 3}', '{"format": true}', " " * (1 << 20) + "{}", "NaN",
    '{"format": 1, "step": "7", "files": {}}',
    '{"format": 1, "step": 7, "files": {"../x": {}, "params.safetensors": {}, "state.json": {}}}', "[" * 100_000,
    '{"format": 1, "step": 7, "validation": [1], "files": {"params.safetensors": 1, "optimizer.safetensors": 1, '
    '"state.json": 1}}',
])  # fmt: skip
def test_a_manifest_that_is_none_is_refused(tmp_path, manifest):
    folder = save(tmp_path, 7)
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        checkpoint.load(folder)


def test_a_pickle_in_disguise_is_refused(tmp_path):
    import pickle

    refused(lie(save(tmp_path, 7), "params.safetensors", pickle.dumps({"conv1.kernel": 1})), "not a safetensors file")


def lie(folder, name, content, **changes):
    """A checkpoint whose file ``name`` holds ``content`` and whose manifest says that this is right."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"format": 1}
    manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changes}
    del manifest["sha256"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def refused(folder, said):
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(folder)


def header(text, length=None):
    return struct.pack("<Q", len(text) if length is None else length) + text.encode()


@pytest.mark.parametrize("content", [
    b"", b"\0" * 7, header("{}", 1 << 63), header("{}", 3), header("[]"), header("{" * 50_000), header("\xff"),
    header('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'),
    header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
           '"b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}') + b"\0" * 6,
    header('{"a": {"dtype": "F32", "shape": [4611686018427387905], "data_offsets": [0, 4]}}') + b"\0" * 4,
    header('{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}'),
    header('{"a": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}') + b"\0" * 4,
    header('{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}') + b"\0" * 4,
])  # fmt: skip
def test_arrays_that_lie_about_themselves_are_refused(tmp_path, content):
    refused(lie(save(tmp_path, 7), "params.safetensors", content), r"params\.safetensors")


@pytest.mark.parametrize("state", ["", "[]", '{"step": 8}', '{"step": "7"}', "[" * 100_000, "1" * 5000])
def test_a_state_that_is_none_is_refused(tmp_path, state):
    refused(lie(save(tmp_path, 7), "state.json", state.encode()), r"state\.json")


@pytest.mark.parametrize("size", [-1, 1 << 62, "7", None, True])
def test_a_size_that_lies_is_refused_without_reading_or_asking_for_memory(tmp_path, size):
    refused(lie(save(tmp_path, 7), "state.json", b'{"step": 7}', size=size), "manifest")


@pytest.mark.parametrize("name", [*checkpoint.FILES, "manifest.json"])
def test_what_is_no_plain_file_is_refused_at_once(tmp_path, name):
    folder = save(tmp_path / "a", 7)
    other = save(tmp_path / "b", 7)
    (folder / name).unlink()
    refused(folder, f"{name}.*No such file")
    (folder / name).symlink_to(other / name)
    refused(folder, f"{name}.*cannot be read")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, f"{name}.*not a plain file")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, f"{name}.*not a plain file")


def damages(folder):
    """Every cut and every flipped bit of every file: (file, its content, what to call it)."""
    for name in (*checkpoint.FILES, "manifest.json"):
        whole = (folder / name).read_bytes()
        for length in range(len(whole)):
            yield name, whole[:length]
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            yield name, bytes(flipped)


@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_every_cut_and_every_flipped_bit_is_found(tmp_path, every):
    folder = save(tmp_path, 7, accuracy=0.5)
    wholes = {name: (folder / name).read_bytes() for name in (*checkpoint.FILES, "manifest.json")}
    tried = missed = 0
    for name, content in list(damages(folder))[::every]:
        (folder / name).write_bytes(content)
        tried += 1
        try:
            checkpoint.load(folder)
            missed += 1
        except CheckpointError:
            pass
        (folder / name).write_bytes(wholes[name])
    checkpoint.load(folder)
    print(f"{tried} damages, {missed} missed")
    assert tried > 9 * sum(map(len, wholes.values())) / every - 1
    assert missed == 0


def test_fifty_starts_at_once_get_fifty_folders(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: directory.create(tmp_path, "net", {"config.yaml": "x"}), range(50)))
    assert sorted(int(run.folder.name.removeprefix("net-")) for run in runs) == list(range(1, 51))


def test_a_runs_folder_that_cannot_be_made_is_a_machine_error(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(MachineError, match="cannot make a run folder"):
        directory.create(tmp_path / "runs", "net", {})


def test_metrics_lines_after_a_step_are_cut_and_half_lines_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"kind": "steps", "step": step, "epoch": 1, "lr": 0.1, "loss": 0.5, "accuracy": 1.0} for step in (1, 2, 3)]
    path.touch()
    for line in lines:
        directory.append_line(path, line)
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"step": 4, "lo')
    directory.cut_lines(path, 2)
    assert path.read_text() == "".join(json.dumps(line) + "\n" for line in lines[:2])


def test_replace_file_leaves_the_old_one_when_it_breaks_off(tmp_path, monkeypatch):
    path = tmp_path / "resolved.yaml"
    files.replace_file(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(OSError, match="I/O error"):
        files.replace_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_link_is_replaced_not_followed_by_every_writer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precious").write_text("mine")
    run = directory.create(tmp_path / "runs", "net", {})
    line = {"kind": "epoch", "step": 3, "epoch": 1, "lr": 0.1, "train": {"loss": 0.5, "accuracy": 0.5}, "val": None}
    directory.append_line(run.metrics, line)
    paths = [run.plots / "curves.png", tmp_path / "x-data.png", tmp_path / ".cnn-schema.json", run.resolved]
    for path in paths:
        path.symlink_to(tmp_path / "precious")
    curves(run)
    with picture(tmp_path / "x-data.png", 1, 1):
        pass
    write_starter("mynet")
    files.replace_file(run.resolved, b"new")
    for path in paths:
        assert not path.is_symlink(), path
        assert path.is_file()
    assert (tmp_path / "precious").read_text() == "mine"


def test_what_is_no_plain_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        files.replace_file(tmp_path / "pipe", b"new")
    assert not (tmp_path / "pipe").is_file()
