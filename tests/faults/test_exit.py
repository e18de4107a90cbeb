"""The process is gone (``os._exit``) at every call to the disk while checkpoints are saved and pruned."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Forks, so nothing here may import JAX; one process a call to the disk.
PROGRAM = """
import os, sys
from pathlib import Path
import numpy as np
import pytest
from tests.helpers.failing_disk import Disk
from cnncli.runs import checkpoint

ARRAYS = {"fc1.kernel": np.arange(600, dtype=np.float32)}

def saves(folder, disk):
    for step in (1, 2, 3):
        checkpoint.save(folder, checkpoint.Contents(ARRAYS, ARRAYS, {"step": step}), {"loss": 1.0, "accuracy": 0.5})
        os.pwrite(disk.told, bytes([step]), 0)
        checkpoint.prune(folder, 1)

def act(folder, at):
    disk = Disk(folder, at)
    disk.told = os.open(f"{folder}.told", os.O_RDWR | os.O_CREAT)
    pid = os.fork()
    if not pid:
        with pytest.MonkeyPatch.context() as patch:
            disk.install(patch).end = lambda: os._exit(9)
            saves(folder, disk)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.pread(disk.told, 1, 0)

assert "jax" not in sys.modules
at, code = 0, 9
while code == 9:
    at += 1
    folder = Path(sys.argv[1]) / str(at)
    folder.mkdir()
    code, told = act(folder, at)
    newest = told[0] if told else 0
    found = [checkpoint.load(each).state["step"] for each in checkpoint.folders(folder)]
    assert max(found, default=0) in (newest, newest + 1), (at, found, newest)
    saves(folder, type("Told", (), {"told": os.open(os.devnull, os.O_RDWR)}))  # what is left is in nobody's way
    assert sorted(each.name for each in folder.iterdir()) == ["step-00000001", "step-00000003"], list(folder.iterdir())
print(at - 1)
"""


def test_the_process_may_end_at_every_call(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(f"{done.stdout.strip()} processes ended")
    assert int(done.stdout) > 30
