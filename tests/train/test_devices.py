"""The same training on one device and on four."""

import json
import os
import subprocess
import sys

CONFIG = """\
data: {source: digits, preprocess: [standardize]}
model:
  input: [8, 8, 1]
  layers: [{conv: {filters: 4, kernel: 3}}, batch_norm, relu, {max_pool: 2}, {fc: 10}, softmax]
train: {epochs: 2, batch_size: 128, optimizer: {sgd: {lr: 0.05, momentum: 0.9}}}
"""


def run(tmp_path, devices):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    flags = f"--xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-m", "cnncli", "train", "tiny.yaml", "--json"]
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_four_virtual_devices_train_like_one(tmp_path):
    one, _ = run(tmp_path, 1)
    four, said = run(tmp_path, 4)
    assert "4 x cpu" in said
    assert four["steps"] == one["steps"]
    assert abs(four["test"]["loss"] - one["test"]["loss"]) < 1e-3
    assert abs(four["test"]["accuracy"] - one["test"]["accuracy"]) < 0.01
