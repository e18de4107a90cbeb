"""``cnn doctor --selftest``: whether this machine keeps what training saves. About a minute.

A small training is killed and resumed, a bit of its checkpoint is flipped, its disk refuses to write; each time it must
end with the bytes of the training that nothing happened to. It runs on the CPU, where equal bytes are promised.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cnncli.runs import checkpoint

CONFIG = """\
name: selftest
data: {source: digits, preprocess: [standardize], augment: [{random_shift: 1}]}
model:
  input: [8, 8, 1]
  layers: [{conv: {filters: 4, kernel: 3}}, batch_norm, relu, {max_pool: 2}, {dropout: 0.2}, {fc: 10}, softmax]
train:
  epochs: 30
  batch_size: 128
  optimizer: {adamw: 0.01}
  ema: 0.9
  log_every: 10 steps
  save_every: 6 steps
"""
RUN = "runs/selftest-1"
KILLS = 3
LIMIT = 2000  # bytes: less than a checkpoint's file
LIMITED = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, resource.RLIM_INFINITY))
from cnncli.cli.main import main
main()
"""
Say = Callable[[str], None]
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    name: str
    passed: bool
    words: str


def selftest(say: Say = lambda text: None) -> list[Check]:
    """Try everything; ``say`` hears what is being done."""
    with TemporaryDirectory(prefix="cnn-selftest-") as name:
        folder = Path(name)
        say("training once without interruption")
        done = _cnn(_prepared(folder / "whole"), "train", "selftest.yaml")
        if done.returncode:
            return [Check("train", False, _last_words(done))]
        whole = _leaves(folder / "whole" / RUN)
        checks = (kill_and_resume, flip_a_bit, refuse_to_write)
        return [check(folder / check.__name__, whole, say) for check in checks]


def kill_and_resume(folder: Path, whole: dict[str, bytes], say: Say) -> Check:
    """SIGKILL at random instants, and the same bytes at the end."""
    run = _start_and_kill(folder)
    say(f"killed 1 of {KILLS} times")
    for kill in range(2, KILLS + 1):
        _kill(_popen(folder, "train", "--resume", str(run)), run)
        say(f"killed {kill} of {KILLS} times")
    done = _cnn(folder, "train", "--resume", str(run))
    return _verdict("kill and resume", done, run, whole, f"killed {KILLS} times, resumed")


def flip_a_bit(folder: Path, whole: dict[str, bytes], say: Say) -> Check:
    """A damaged newest checkpoint is noticed, and the one before it used."""
    run = _start_and_kill(folder)
    say("flipping a bit of the newest checkpoint")
    newest = checkpoint.folders(run / "checkpoints")[-1]
    content = bytearray((newest / "params.safetensors").read_bytes())
    bit = random.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    (newest / "params.safetensors").write_bytes(content)
    done = _cnn(folder, "train", "--resume", str(run))
    if "using the checkpoint before it" not in done.stdout:
        return Check("flip a bit", False, f"bit {bit} of params.safetensors flipped, and nobody noticed")
    return _verdict("flip a bit", done, run, whole, f"bit {bit} of params.safetensors flipped, noticed, fallen back")


def refuse_to_write(folder: Path, whole: dict[str, bytes], say: Say) -> Check:
    """A save that fails loses nothing. A limit on the size of files stands in for the full disk."""
    run = _start_and_kill(folder)
    say(f"resuming where no file may be over {LIMIT} bytes, in place of a full disk")
    before = checkpoint.folders(run / "checkpoints")[-1]
    refused = _cnn(folder, "train", "--resume", str(run), program=("-c", LIMITED))
    if refused.returncode != 4:
        return Check("refuse to write", False, f"not exit code 4 but {_last_words(refused)}")
    checkpoint.load(before)
    done = _cnn(folder, "train", "--resume", str(run))
    words = f"writing more than {LIMIT} bytes was refused (in place of a full disk), told (exit code 4), resumed"
    return _verdict("refuse to write", done, run, whole, words)


def _verdict(name: str, done: Done, run: Path, whole: dict[str, bytes], words: str) -> Check:
    if done.returncode:
        return Check(name, False, f"{words}: {_last_words(done)}")
    found = _leaves(run)
    differ = [file for file in whole if found.get(file) != whole[file]]
    end = f"{', '.join(differ)} differ" if differ else f"{sum(map(len, whole.values())):,} bytes equal"
    return Check(name, not differ, f"{words}: {end}")


def _leaves(run: Path) -> dict[str, bytes]:
    files = [*checkpoint.folders(run / "checkpoints")[-1].iterdir(), run / "metrics.jsonl"]
    return {path.name: path.read_bytes() for path in files}


def _start_and_kill(folder: Path) -> Path:
    """The run of a training that was killed after its first steps."""
    run = _prepared(folder) / RUN
    _kill(_popen(folder, "train", "selftest.yaml"), run)
    return run


def _prepared(folder: Path) -> Path:
    folder.mkdir()
    (folder / "selftest.yaml").write_text(CONFIG, encoding="utf-8")
    return folder


def _kill(process: subprocess.Popen[str], run: Path) -> None:
    """SIGKILL, at a random instant after the next checkpoint."""
    before = _newest(run)
    with process:
        while process.poll() is None and _newest(run) <= before:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.03))
        process.kill()


def _newest(run: Path) -> str:
    return max((path.name for path in checkpoint.folders(run / "checkpoints")), default="step-00000000")


def _command(*arguments: str, program: tuple[str, ...] = ("-m", "cnncli")) -> list[str]:
    return [sys.executable, *program, *arguments]


def _environment(folder: Path) -> dict[str, str]:
    """What compiled programs cost is paid once."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "cache"),
             "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
             "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0"}  # fmt: skip
    return {**os.environ, "JAX_PLATFORMS": "cpu", **cache}


def _popen(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    silent = subprocess.DEVNULL
    return subprocess.Popen(_command(*arguments), cwd=folder, env=_environment(folder), stdout=silent, stderr=silent,
                            text=True)  # fmt: skip


def _cnn(folder: Path, *arguments: str, program: tuple[str, ...] = ("-m", "cnncli")) -> Done:
    command = _command(*arguments, program=program)
    return subprocess.run(command, cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False)


def _last_words(done: Done) -> str:
    said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
    return f"exit code {done.returncode}: {said}"
