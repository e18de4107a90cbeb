"""SIGINT, SIGTERM and SIGHUP at any stage: saved, the right exit code, the way on; what is resumed is the same."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cnncli.runs import checkpoint
from cnncli.train import setup, trainer
from cnncli.train.events import Events
from cnncli.train.interrupts import Interrupted, stop_requests
from tests.helpers.failing_disk import saved_files

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def once(signum, real):
    """``real``, which the first time is called while a signal comes."""
    left = [signum]

    def call(*arguments, **named):
        if left:
            signal.raise_signal(left.pop())
        return real(*arguments, **named)

    return call


STAGES = {
    "loading": (trainer, "load_data"),
    "making the run": (trainer.directory, "create"),
    "compiling": (setup.Setup, "compile_steps"),
    "training": (setup.Setup, "advance"),
    "validating": (trainer.Trainer, "_validate"),
    "logging": (trainer, "append_line"),
    "saving": (checkpoint, "save"),
    "writing": (os, "fsync"),
    "pruning": (checkpoint, "prune"),
    "testing": (trainer.Trainer, "_test"),
}


@pytest.mark.parametrize("signum", CODES)
@pytest.mark.parametrize("stage", STAGES)
def test_stopped_at_any_stage_it_goes_on_to_the_same_end(tiny_run, whole, tmp_path, monkeypatch, stage, signum):
    where, name = STAGES[stage]
    run = tmp_path / "tiny-1"
    with monkeypatch.context() as patch:
        patch.setattr(where, name, once(signum, getattr(where, name)))
        with pytest.raises(Interrupted) as stopped:
            tiny_run(tmp_path)
    assert stopped.value.exit_code == CODES[signum]
    assert stopped.value.trained == (stage == "testing")
    if stage == "loading":
        assert not run.exists()
        return
    trainer.resume(run, [], Events())
    assert saved_files(run) == whole


def until(condition, seconds=60):
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("signum", CODES)
def test_the_command_says_how_to_go_on(fork_server, tiny_yaml, tmp_path, signum):
    child = fork_server.cnn("train", tiny_yaml, "train.epochs=100000", "train.save_every=1000 epochs", cwd=tmp_path)
    until(lambda: "compiled in" in child.said())
    child.kill(signum)
    assert child.wait() == CODES[signum]
    lines = child.said().splitlines()
    assert "stopping at the next safe point; once more to stop at once" in lines
    assert f"stopped ({signum.name}); everything up to here is saved" in lines
    assert lines[-1] == "next    cnn train --resume runs/tiny-1"
    newest = checkpoint.manifests(tmp_path / "runs/tiny-1/checkpoints")[-1]
    assert newest.step > 0
    child = fork_server.cnn("train", "--resume", "runs/tiny-1", f"train.epochs={newest.step // 4 + 1}", cwd=tmp_path)
    assert child.wait() == 0, child.said()
    assert f"resumed at step {newest.step}" in child.said()


DEEP = """\
data: {source: digits}
model: {input: [8, 8, 1], layers: [{repeat: {times: 12, layers: [{conv: {filters: 8, kernel: 3, padding: same}}, \
batch_norm, gelu]}}, {fc: 10}, softmax]}
train: {epochs: 1, optimizer: {sgd: 0.1}}
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_second_signal_ends_at_once_even_while_compiling(tmp_path, signum):
    (tmp_path / "deep.yaml").write_text(DEEP)
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, "-m", "cnncli", "train", "deep.yaml"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True) as child:
        until(lambda: checkpoint.folders(tmp_path / "runs/deep-1/checkpoints"))
        time.sleep(0.3)  # into the compiler
        child.send_signal(signum)
        assert child.stderr.readline().startswith("stopping at the next safe point")
        assert child.poll() is None, "compiling took no time: this test shows nothing"
        began = time.monotonic()
        child.send_signal(signum)
        assert child.wait(60) == CODES[signum]
        assert time.monotonic() - began < 1.0
        assert "compiled" not in child.stdout.read()
    assert [each.step for each in checkpoint.manifests(tmp_path / "runs/deep-1/checkpoints")] == [0]


def test_a_closed_terminal_is_one_request_however_often_it_is_told(fork_server, tiny_yaml, tmp_path):
    child = fork_server.cnn("train", tiny_yaml, "train.epochs=100000", "train.save_every=1000 epochs", cwd=tmp_path)
    until(lambda: "compiled in" in child.said())
    for _ in range(3):
        child.kill(signal.SIGHUP)
        time.sleep(0.002)
    assert child.wait() == 129
    assert child.said().splitlines()[-1] == "next    cnn train --resume runs/tiny-1"
    assert checkpoint.manifests(tmp_path / "runs/tiny-1/checkpoints")[-1].step > 0


def test_where_a_closed_terminal_is_ignored_it_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        with stop_requests() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert not stop.signum
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize("signum", CODES)
def test_stopped_while_compiling_it_can_be_resumed(tmp_path, signum):
    (tmp_path / "deep.yaml").write_text(DEEP)
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, "-m", "cnncli", "train", "deep.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as child:
        until(lambda: checkpoint.folders(tmp_path / "runs/deep-1/checkpoints"))
        time.sleep(0.3)
        child.send_signal(signum)
        said = child.stdout.read()
        assert child.wait() == CODES[signum]
    assert "compiled" not in said
    assert said.endswith("next    cnn train --resume runs/deep-1\n")
    command = [sys.executable, "-m", "cnncli", "train", "--resume", "runs/deep-1"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert len(checkpoint.manifests(tmp_path / "runs/deep-1/checkpoints")) == 2


def test_where_nothing_can_be_written_it_says_so(fork_server, tiny_yaml, tmp_path):
    child = fork_server.cnn("train", tiny_yaml, "--runs", "/proc/runs", cwd=tmp_path)
    assert child.wait() == 4
    assert child.said().splitlines()[-1].startswith("error: /proc")


@pytest.mark.parametrize("streams", [[], pytest.param(["--json"], marks=pytest.mark.slow)])
def test_training_goes_on_when_nobody_listens(tiny_yaml, tmp_path, streams):
    command = [sys.executable, "-m", "cnncli", "train", str(tiny_yaml), *streams]
    quiet = {"stderr" if streams else "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **{"stdout": subprocess.DEVNULL, **quiet}) as child:
        listened = child.stderr if streams else child.stdout
        assert listened.readline().startswith(b"device")
        listened.close()
        assert child.wait(120) == 0
    assert checkpoint.manifests(tmp_path / "runs/tiny-1/checkpoints")[-1].step == 12
    assert (tmp_path / "runs/tiny-1/plots/curves.png").exists()


def test_two_processes_do_not_train_one_run(fork_server, tiny_yaml, tmp_path):
    child = fork_server.cnn("train", tiny_yaml, "train.epochs=100000", "train.save_every=1000 epochs", cwd=tmp_path)
    until(lambda: "compiled in" in child.said())
    (tmp_path / "other").mkdir()
    other = fork_server.cnn("train", "--resume", tmp_path / "runs/tiny-1", cwd=tmp_path / "other")
    assert other.wait() == 4
    assert f"process {child.pid} is training this run" in other.said()
    child.kill()
    child.wait()
    child = fork_server.cnn("train", "--resume", "runs/tiny-1", "train.epochs=2", cwd=tmp_path)
    assert child.wait() == 0, child.said()
