"""A disk that fails and a process that ends at any call to the disk: nothing committed is lost, resuming is exact."""

import os
import shutil
import signal

import pytest
from disk import ERRORS, Disk, Killed, leaves, require_intact

from cnncli.errors import CheckpointError, MachineError
from cnncli.runs import checkpoint
from cnncli.train import loop, start
from cnncli.train.events import Events
from cnncli.train.signals import Interrupted


def count_of(action, root):
    """Calls to the disk below ``root`` that ``action`` makes."""
    disk = Disk(root)
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        action()
    return disk.count


def fail(action, disk):
    """What ended ``action``, the disk failing as it is told; None if nothing did."""
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        try:
            action()
        except (Killed, MachineError) as error:
            return error
    return None


def require_words(ended, disk):
    if disk.error:
        assert isinstance(ended, MachineError)
        assert ended.exit_code == 4
        assert os.strerror(disk.error) in str(ended)
    else:
        assert isinstance(ended, Killed)


def finish(run, tiny_run, root):
    """Resume, or where nothing was committed, start anew."""
    try:
        return start.resume(run, [], Events()).run
    except CheckpointError as error:
        if not any(words in str(error) for words in ("no such run", "no resolved.yaml", "no checkpoint")):
            raise
        return tiny_run(root).run


EVERY = pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)])
FAILURES = pytest.mark.parametrize("error", [0, *ERRORS], ids=["killed", "ENOSPC", "EIO", "EROFS"])


@EVERY
@FAILURES
def test_training_survives_a_failure_at_every_call(tiny_run, whole, tmp_path, error, every):
    total = count_of(lambda: tiny_run(tmp_path / "count"), tmp_path / "count")
    calls = range(1 + ((0, *ERRORS).index(error) * 2) % every, total + 1, every)
    for at in calls:
        root = tmp_path / str(at)
        disk = Disk(root, at, error)
        require_words(fail(lambda root=root: tiny_run(root), disk), disk)
        require_intact(root / "tiny-1", disk.committed)
        run = finish(root / "tiny-1", tiny_run, root)
        assert run.name == "tiny-1" or not disk.committed
        assert leaves(run) == whole
        shutil.rmtree(root)
    print(f"{len(calls)} of {total} calls")
    assert total > 80


class StopAt(Events):
    """Asks to stop at a step."""

    def __init__(self, step):
        self.step = step

    def progress(self, progress):
        if progress.epoch * 4 - 4 + progress.step >= self.step:
            self.step = 1 << 30
            signal.raise_signal(signal.SIGTERM)


@EVERY
@FAILURES
def test_resuming_survives_a_failure_at_every_call(tiny_run, whole, tmp_path, monkeypatch, error, every):
    monkeypatch.setattr(loop, "PACE", 0.0)
    with pytest.raises(Interrupted):
        tiny_run(tmp_path, StopAt(6))
    half = tmp_path / "tiny-1"
    damaged = half / "checkpoints" / "step-00000006" / "state.json"
    damaged.write_bytes(damaged.read_bytes()[:-1])  # so that something is set aside too

    def resume(run):
        return start.resume(run, [], Events())

    counted = shutil.copytree(half, tmp_path / "count")
    total = count_of(lambda: resume(counted), counted)
    calls = range(1 + ((0, *ERRORS).index(error) * 2) % every, total + 1, every)
    for at in calls:
        run = shutil.copytree(half, tmp_path / str(at))
        disk = Disk(run, at, error)
        require_words(fail(lambda run=run: resume(run), disk), disk)
        assert max(checkpoint.load(each).state["step"] for each in sound(run)) >= max([4, *disk.committed])
        finish(run, tiny_run, tmp_path)
        assert leaves(run) == whole
        shutil.rmtree(run)
    print(f"{len(calls)} of {total} calls")
    assert total > 40


def sound(run):
    """Checkpoints but the one that was damaged, which may not be set aside yet."""
    folders = checkpoint.folders(run / "checkpoints")
    return [each for each in folders if (each / "state.json").read_text().endswith("\n")]
