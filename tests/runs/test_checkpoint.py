"""Checkpoints: committed in one step, verified before use, pruned without losing the best."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncli.errors import CheckpointError, MachineError
from cnncli.runs import checkpoint, directory, files

CONTENTS = checkpoint.Contents(
    {"conv1.kernel": np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)},
    {"0.count": np.array(3, np.int32)},
    {"step": 7},
)


def save(folder, step, accuracy=None):
    contents = checkpoint.Contents(CONTENTS.params, CONTENTS.optimizer, {"step": step})
    return checkpoint.save(folder, contents, None if accuracy is None else {"loss": 1.0, "accuracy": accuracy})


def test_what_is_saved_is_loaded(tmp_path):
    found = checkpoint.load(save(tmp_path, 7))
    np.testing.assert_array_equal(found.params["conv1.kernel"], CONTENTS.params["conv1.kernel"])
    np.testing.assert_array_equal(found.optimizer["0.count"], 3)
    assert found.state == {"step": 7}


def test_commit_order_is_files_then_manifest_then_rename_then_parent(tmp_path, monkeypatch):
    log = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor):
        log.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        real_fsync(descriptor)

    def rename(old, new):
        log.append(("rename", os.path.basename(new)))
        real_rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    folder = tmp_path / "checkpoints"
    save(folder, 7)
    names = [*checkpoint.FILES, "manifest.json", ".tmp-step-00000007"]
    assert log == [*(("fsync", name) for name in names), ("rename", "step-00000007"), ("fsync", "checkpoints")]


def test_a_save_that_breaks_off_leaves_the_one_before_and_is_swept_up(tmp_path, monkeypatch):
    save(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "sync_folder", lambda folder: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path, 2)
    assert [each.step for each in checkpoint.manifests(tmp_path)] == [1]
    checkpoint.prune(tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


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
    "", "[]", "{", "{}", '{"format": 2}', '{"format": 1, "step": "7", "files": {}}',
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

    folder = save(tmp_path, 7)
    content = pickle.dumps({"conv1.kernel": 1})
    (folder / "params.safetensors").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    import hashlib

    manifest["files"]["params.safetensors"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        checkpoint.load(folder)


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
    for step in (1, 2, 3):
        directory.append_line(path, {"step": step})
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"step": 4, "lo')
    directory.cut_lines(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_replace_file_leaves_the_old_one_when_it_breaks_off(tmp_path, monkeypatch):
    path = tmp_path / "resolved.yaml"
    files.replace_file(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(OSError, match="I/O error"):
        files.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
