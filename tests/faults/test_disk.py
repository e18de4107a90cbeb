"""A disk that fails and a process that ends at any call to the disk: nothing committed is lost, resuming is exact."""

import os
import shutil
import signal

import pytest

from cnncli.errors import CheckpointError, MachineError
from cnncli.runs import checkpoint
from cnncli.train import loop_state, trainer
from cnncli.train.events import Events
from cnncli.train.interrupts import Interrupted
from tests.helpers.failing_disk import ERRORS, Disk, Killed, require_intact, saved_files


def count_of(action, root, error=0):
    """Calls to the disk below ``root`` that ``action`` makes and that may end in ``error``."""
    disk = Disk(root, error=error)
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
        return trainer.resume(run, [], Events()).run
    except CheckpointError as error:
        if not any(words in str(error) for words in ("no such run", "no resolved.yaml", "no checkpoint")):
            raise
        return tiny_run(root).run


EVERY = pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)])
FAILURES = pytest.mark.parametrize("error", [0, *ERRORS], ids=["killed", "ENOSPC", "EIO", "EROFS"])


@EVERY
@FAILURES
def test_training_survives_a_failure_at_every_call(tiny_run, whole, tmp_path, error, every):
    total = count_of(lambda: tiny_run(tmp_path / "count"), tmp_path / "count", error)
    calls = range(1 + ((0, *ERRORS).index(error) * 2) % every, total + 1, every)
    for at in calls:
        root = tmp_path / str(at)
        disk = Disk(root, at, error)
        require_words(fail(lambda root=root: tiny_run(root), disk), disk)
        require_intact(root / "tiny-1", disk.committed)
        run = finish(root / "tiny-1", tiny_run, root)
        assert run.name == "tiny-1" or not disk.committed
        assert saved_files(run) == whole
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
    monkeypatch.setattr(loop_state, "LOOK_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        tiny_run(tmp_path, StopAt(6))
    half = tmp_path / "tiny-1"
    damaged = half / "checkpoints" / "step-00000006" / "state.json"
    damaged.write_bytes(damaged.read_bytes()[:-1])  # so that something is set aside too

    def resume(run):
        return trainer.resume(run, [], Events())

    counted = shutil.copytree(half, tmp_path / "count")
    total = count_of(lambda: resume(counted), counted, error)
    calls = range(1 + ((0, *ERRORS).index(error) * 2) % every, total + 1, every)
    for at in calls:
        run = shutil.copytree(half, tmp_path / str(at))
        disk = Disk(run, at, error)
        require_words(fail(lambda run=run: resume(run), disk), disk)
        assert max(checkpoint.load(each).state["step"] for each in sound(run)) >= max([4, *disk.committed])
        finish(run, tiny_run, tmp_path)
        assert saved_files(run) == whole
        shutil.rmtree(run)
    print(f"{len(calls)} of {total} calls")
    assert total > 40


def sound(run):
    """Checkpoints but the one that was damaged, which may not be set aside yet."""
    folders = checkpoint.folders(run / "checkpoints")
    return [each for each in folders if (each / "state.json").read_text().endswith("\n")]


def test_killed_at_any_call_after_the_last_commit_it_keeps_the_same_checkpoints(tiny_run, whole, tmp_path):
    """Whatever is removed after the last step: a resumed run has no checkpoint more, and nothing half removed."""
    total = count_of(lambda: tiny_run(tmp_path / "count"), tmp_path / "count")
    half_done = 0
    for at in range(total - 12, total + 1):
        root = tmp_path / str(at)
        assert isinstance(fail(lambda root=root: tiny_run(root), Disk(root, at)), Killed)
        run = root / "tiny-1"
        half_done += saved_files(run) != whole
        assert saved_files(finish(run, tiny_run, root)) == whole
        assert not list(run.rglob(".*tmp*"))
    assert half_done > 5


class RemoveAt(Events):
    """Removes the run's folder after a step."""

    def __init__(self, run, step):
        self.run, self.step = run, step

    def progress(self, progress):
        if progress.epoch * 4 - 4 + progress.step == self.step:
            shutil.rmtree(self.run)


@pytest.mark.parametrize("step", [1, 4])
def test_a_run_that_is_removed_while_it_trains_ends_at_the_next_write_and_is_not_rebuilt(
    tiny_run, tmp_path, monkeypatch, step
):
    monkeypatch.setattr(loop_state, "LOOK_SECONDS", 0.0)
    run = tmp_path / "tiny-1"
    with pytest.raises(MachineError, match=r"cannot write: No such file .* folder was removed or moved") as ended:
        tiny_run(tmp_path, RemoveAt(run, step))
    assert ended.value.exit_code == 4
    assert not run.exists()


def test_a_link_in_the_place_of_metrics_is_not_followed(tiny_run, tmp_path):
    (tmp_path / "precious").write_text("mine")

    class Link(Events):
        def compiled(self, seconds):
            (tmp_path / "tiny-1" / "metrics.jsonl").unlink()
            (tmp_path / "tiny-1" / "metrics.jsonl").symlink_to(tmp_path / "precious")

    with pytest.raises(MachineError, match=r"metrics\.jsonl  cannot write"):
        tiny_run(tmp_path, Link())
    assert (tmp_path / "precious").read_text() == "mine"
