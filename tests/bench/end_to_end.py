"""What surrounds the step: ``cnn train`` end to end against the bare step, and a second start against the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.networks import CASES, SAME_FOR_ALL
from tests.bench.throughput import ROOT, Contender, Say, spread

EPOCH_SECONDS, EPOCHS = 4.0, 2


def overrides(case: str, precision: str, data: Path) -> list[str]:
    """The config as it is measured, reading ``data``."""
    chosen = CASES[case]
    source = f"data.source={{npz: {data}}}"
    size = (f"train.batch_size={chosen.batch_size}", f"train.precision={precision}", "data.validation=0")
    return [*SAME_FOR_ALL, *size, *chosen.overrides, source]


def write_data(case: str, batches: int, path: Path) -> int:
    """Random pictures as ``cnn train`` reads them; how many."""
    chosen = CASES[case]
    graph = chosen.loaded("float32").graph
    random, count, classes = np.random.default_rng(2), batches * chosen.batch_size, graph.output.shape[0]
    labels = random.integers(0, classes, count, np.int32)
    images = random.integers(0, 256, (count, *graph.input_shape), np.uint8)
    np.savez(path, x_train=images, y_train=labels, classes=np.arange(classes).astype(str))
    return count


def train(case: str, precision: str, data: Path, runs: Path, *more: str) -> list[str]:
    """The command line."""
    given = [*overrides(case, precision, data), *more]
    return [sys.executable, "-m", "cnncli", "train", CASES[case].config, *given, "--runs", str(runs), "--json"]


def pipeline(case: str, precision: str, repeats: int, seconds: float, folder: Path, say: Say) -> dict[str, Any]:
    """``cnn train``'s rate over that of the bare step, in turn. ``ratio_with_saving``: by the clock on the wall.

    Compilation is left out of both.
    """
    ratios, walls, rates = [], [], []
    with Contender("ours", case, precision, seconds, folder / "bare.log") as bare, _scratch() as scratch:
        batches = max(2, round(bare.repeat() * EPOCH_SECONDS / CASES[case].batch_size))
        count = write_data(case, min(batches, 1000), scratch / "data.npz")
        command = train(case, precision, scratch / "data.npz", scratch / "runs", f"train.epochs={EPOCHS}")
        for turn in range(repeats):
            rate = bare.repeat()
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            document = json.loads(done.stdout)
            rates.append(document["images_per_second"])
            ratios.append(rates[-1] / rate)
            walls.append(EPOCHS * count / (document["seconds"] - document["compile_seconds"]) / rate)
            both = f"cnn train {rates[-1]:,.0f} images/s, the bare step {rate:,.0f}"
            say(f"{case} {precision}: {turn + 1} of {repeats}, {both}")
    return {"case": case, "precision": precision, "images_per_second": spread(rates), "ratio": spread(ratios),
            "ratio_with_saving": spread(walls), "goal": 0.95}  # fmt: skip


def start_up(case: str, precision: str, repeats: int, say: Say) -> dict[str, Any]:
    """Seconds from the command to the first step's line in metrics.jsonl, with an empty cache and then with its own."""
    first, second = [], []
    for turn in range(repeats):
        with _scratch() as scratch:
            write_data(case, 1, scratch / "data.npz")
            for figures in (first, second):
                figures.append(_first_step(case, precision, scratch))
            say(
                f"{case} {precision}: first start {first[-1]:.1f} s, second {second[-1]:.1f} s, {turn + 1} of {repeats}"
            )
    ratio = [b / a for a, b in zip(first, second, strict=True)]
    return {"case": case, "precision": precision, "first_seconds": spread(first), "second_seconds": spread(second),
            "ratio": spread(ratio), "goal": 0.4}  # fmt: skip


def _first_step(case: str, precision: str, scratch: Path) -> float:
    """One batch is the whole data: the first line comes after the first step. Any cache is in ``scratch``."""
    before = set(scratch.glob("runs/*"))
    unset = ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")
    variables = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(scratch)}
    command = train(
        case, precision, scratch / "data.npz", scratch / "runs", "train.epochs=1000", "train.log_every=1 step"
    )
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            lines = [run / "metrics.jsonl" for run in set(scratch.glob("runs/*")) - before]
            if any(file.exists() and file.stat().st_size for file in lines):
                return time.perf_counter() - start
            time.sleep(0.005)
        raise RuntimeError(f"cnn train ended with {process.returncode} before its first step")
    finally:
        process.kill()
        process.wait()


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cnn-bench-") as name:
        yield Path(name)
