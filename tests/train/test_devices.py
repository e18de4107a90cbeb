"""The same training on one device and on four."""

import json
import os
import subprocess
import sys
from pathlib import Path

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


PROGRAM = """
import jax
from cnncli.train.devices import keep_programs

def many(x):  # takes a second to compile: short ones are not kept
    for width in range(2, 22):
        x = jax.lax.sort(jax.numpy.sin(x[:, :width] @ x[:width]))
    return x

folder = keep_programs()
jax.jit(many)(jax.numpy.ones((50, 50)))
print(folder)
"""


def programs_after(tmp_path, **environment):
    """Where compiled programs are kept by a process of its own that compiles one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    clean |= {"JAX_PLATFORMS": "cpu", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**clean, **environment}, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_programs_are_kept_for_the_user_alone(tmp_path):
    folder = Path(programs_after(tmp_path))
    assert tmp_path in folder.parents
    for each in (folder, folder.parent, folder.parent.parent):
        assert each.stat().st_mode & 0o777 == 0o700
    entries = {each: each.read_bytes()[:-1] for each in folder.iterdir()}
    assert entries
    for each, damaged in entries.items():
        each.write_bytes(damaged)
    programs_after(tmp_path)  # in silence
    assert all(each.read_bytes() != damaged for each, damaged in entries.items())
    folder.chmod(0o755)  # others may look: not used
    assert programs_after(tmp_path) == "None"


def test_programs_are_kept_where_somebody_says(tmp_path):
    said = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    assert programs_after(tmp_path, **said) == "None"
    assert any((tmp_path / "mine").iterdir())


def test_a_cache_folder_whose_name_is_no_utf_8_is_not_used(tmp_path):
    assert programs_after(tmp_path, XDG_CACHE_HOME=os.fsdecode(bytes(tmp_path) + b"/caf\xe9")) == "None"
