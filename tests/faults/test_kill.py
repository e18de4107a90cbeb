"""Killed at random instants and resumed each time, a training ends with the same bytes."""

import random
import shutil
import time

import pytest

from cnncli.runs import checkpoint
from tests.helpers.failing_disk import saved_files

EPOCHS = 12
LONG = (f"train.epochs={EPOCHS}", "train.save_every=3 steps", "train.keep=2")
RUN = "runs/tiny-1"


def start(fork_server, folder, tiny_yaml):
    """Start, or where there is something to resume, resume."""
    if checkpoint.folders(folder / RUN / "checkpoints"):
        return fork_server.cnn("train", "--resume", RUN, cwd=folder)
    return fork_server.cnn("train", tiny_yaml, *LONG, "--runs", fresh_root(folder), cwd=folder)


def fresh_root(folder):
    """The runs folder without what was killed before its first checkpoint."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    return "runs"


def sound(run):
    """The newest step; all that looks like a checkpoint must be one."""
    return max(
        (checkpoint.load(folder).state["step"] for folder in checkpoint.folders(run / "checkpoints")), default=-1
    )


@pytest.mark.parametrize(("kills", "seed"), [(20, 1), pytest.param(200, 2, marks=pytest.mark.soak)])
def test_killed_at_random_instants_it_ends_with_the_same_bytes(fork_server, tiny_yaml, tmp_path, kills, seed):
    (tmp_path / "whole").mkdir()
    for _ in range(2):  # once to compile, once to measure
        began = time.monotonic()
        child = start(fork_server, tmp_path / "whole", tiny_yaml)
        assert child.wait() == 0, child.said()
        life = time.monotonic() - began
        whole = saved_files(tmp_path / "whole" / RUN)
        fresh_root(tmp_path / "whole")
    chance, done, runs, unfinished = random.Random(seed), 0, 0, 0
    while done < kills:
        folder = tmp_path / str(runs)
        folder.mkdir()
        before, runs = -1, runs + 1
        while True:
            child = start(fork_server, folder, tiny_yaml)
            if done < kills:
                time.sleep(chance.uniform(0, life))
                child.kill()
            code = child.wait()
            assert code in (0, -9), child.said()
            if code == 0:
                break
            done += 1
            unfinished += bool(list((folder / RUN / "checkpoints").glob(".tmp-*")))
            assert sound(folder / RUN) >= before, "what was committed is lost"
            before = sound(folder / RUN)
        assert saved_files(folder / RUN) == whole
    print(f"{done} kills in {runs} trainings of {life:.2f} s, {unfinished} of them in the middle of a save")
