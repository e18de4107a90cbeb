"""Which kernels are used, and that whatever stands in their way is told and never stops anything."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from cnncli.errors import MachineError
from cnncli.native import library


@pytest.fixture
def fresh(monkeypatch):
    """``kernels`` as in a new process."""
    monkeypatch.delenv(library.SWITCH, raising=False)
    return library.kernels.__wrapped__


def test_forced_to_xla(fresh, monkeypatch):
    monkeypatch.setenv(library.SWITCH, "xla")
    assert fresh() == library.Backend("xla", "CNN_KERNELS=xla asks for it")


def test_a_word_that_means_nothing(fresh, monkeypatch):
    monkeypatch.setenv(library.SWITCH, "fast")
    with pytest.raises(MachineError, match="CNN_KERNELS=fast is neither xla nor onednn") as refused:
        fresh()
    assert refused.value.exit_code == 4


def missing(name):
    raise OSError(f"{name}: cannot open shared object file")


def refuse(*arguments, **options):
    raise ValueError("no")


STONES = {
    "the kernels were not built": ("built", lambda: None),
    "jaxlib has 0.0": ("_ffi_version", lambda: (0, 0)),
    "jaxlib has 9.9": ("_ffi_version", lambda: (9, 9)),
    "oneDNN 3 is not installed": ("ctypes.CDLL", missing),
    "JAX refuses the kernels: no": ("jax.ffi.register_ffi_target", refuse),
    "the kernels are for x86-64 Linux": ("platform.machine", lambda: "arm64"),
    "the device is a gpu": ("jax.default_backend", lambda: "gpu"),
}  # fmt: skip


@pytest.mark.parametrize("why", STONES)
def test_whatever_stands_in_the_way_is_told(fresh, monkeypatch, why):
    if library.built() is None and "not built" not in why and "x86-64" not in why and "gpu" not in why:
        pytest.skip("no kernels were built here")
    name, other = STONES[why]
    monkeypatch.setattr(f"cnncli.native.library.{name}", other)
    found = fresh()
    assert found.name == "xla"
    assert why in found.why
    assert found.wanting == ("gpu" not in why)
    monkeypatch.setenv(library.SWITCH, "onednn")
    with pytest.raises(MachineError, match="CNN_KERNELS=onednn, but"):
        fresh()
    assert float(jnp.ones(3).sum()) == 3  # JAX goes on


def test_takes_what_it_can_compute():
    known = library.kernels()
    assert library.takes(jnp.zeros((1, 2))) == (known.name == "onednn")
    assert library.takes(jnp.zeros((1, 2), jnp.bfloat16)) == bool(known.bfloat16)
    assert not library.takes(jnp.zeros((1, 2), jnp.float16))
    assert not library.takes(jnp.zeros((0, 2)))


def test_the_command_line_says_which(tmp_path):
    """A whole process forced to XLA trains, says so in lock.json and not as a warning; doctor says it too."""
    environment = {**os.environ, "CNN_KERNELS": "xla"}

    def cnn(*arguments):
        done = subprocess.run([sys.executable, "-m", "cnncli", *arguments], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=300)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    assert "xla (CNN_KERNELS=xla asks for it)" in cnn("doctor").stdout
    done = cnn("train", "digits", "train.epochs=1", "--json")
    assert "plain XLA" not in done.stderr
    lock = json.loads((tmp_path / json.loads(done.stdout)["run"] / "lock.json").read_text())
    assert lock["flags"]["kernels"] == "xla"


def test_jax_was_started_before_the_kernels_were_registered():
    assert jax.devices()
    assert library.kernels().why
