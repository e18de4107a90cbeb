"""The same bytes again, killed and resumed, on one core and on two, with XLA's kernels and with our own."""

import os
import subprocess
import sys
import time

import pytest

from cnncli.native.library import built
from cnncli.runs import checkpoint
from tests.helpers.failing_disk import saved_files

CONFIG = """\
data: {source: digits, augment: [{random_shift: 1}]}
model:
  input: [8, 8, 1]
  layers: [{conv: {filters: 32, kernel: 3, padding: same}}, batch_norm, relu,
           {conv: {filters: 32, kernel: 3, padding: same}}, relu, {max_pool: 2}, {dropout: 0.2}, {fc: 256}, relu,
           {fc: 10}, softmax]
train: {epochs: 3, batch_size: 128, optimizer: {adamw: 0.01}, ema: 0.9, save_every: 5 steps}
"""
ON_CORES = """
import os, sys
os.sched_setaffinity(0, {int(core) for core in sys.argv.pop(1).split(",")})
from cnncli.cli.main import main
main()
"""


def start(folder, cores, kernels, *arguments):
    environment = {**os.environ, "CNN_KERNELS": kernels}
    command = [sys.executable, "-c", ON_CORES, ",".join(map(str, cores)), *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def killed_after(process, run, step):
    with process:
        while not any(int(each.name[5:]) >= step for each in checkpoint.folders(run / "checkpoints")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["xla", "onednn"])
@pytest.mark.parametrize("count", [1, 2])
def test_killed_and_resumed_on_so_many_cores(tmp_path, kernels, count):
    if kernels == "onednn" and built() is None:
        pytest.skip("the kernels are not built here")
    cores = sorted(os.sched_getaffinity(0))[:count]
    if len(cores) < count:
        pytest.skip(f"this machine lends {len(cores)} cores")
    (tmp_path / "net.yaml").write_text(CONFIG)
    for runs in ("a", "b"):
        with start(tmp_path, cores, kernels, "train", "net.yaml", "--runs", runs) as whole:
            assert whole.wait() == 0
    killed_after(start(tmp_path, cores, kernels, "train", "net.yaml", "--runs", "c"), tmp_path / "c/net-1", 10)
    with start(tmp_path, cores, kernels, "train", "--resume", "c/net-1") as rest:
        assert rest.wait() == 0
    assert saved_files(tmp_path / "a/net-1") == saved_files(tmp_path / "b/net-1") == saved_files(tmp_path / "c/net-1")
