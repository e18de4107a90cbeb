"""Contenders as living processes that take turns, so that a busy moment of the machine meets all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.networks import GOALS

ROOT = Path(__file__).parents[2]
CONTENDERS = ("ours", "torch-eager", "torch-compiled", "keras", "lax")
SETTLE = 0.3  # seconds after which an idle OpenMP thread no longer spins
Say = Callable[[str], None]


class Contender:
    """One process that trains one network when asked to."""

    def __init__(self, name: str, case: str, precision: str, seconds: float, log: Path) -> None:
        self.name, self.log = name, log
        command = [sys.executable, "-m", "tests.bench.worker", name, case, precision, str(seconds)]
        with log.open("w") as errors:
            self.process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=errors)  # fmt: skip
        self.about = self._answer()
        self.repeats: list[dict[str, Any]] = []

    def repeat(self) -> float:
        """One timed stretch; images per second."""
        time.sleep(SETTLE)
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.repeats.append(self._answer())
        return self.repeats[-1]["images_per_second"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{self.name} ended: {' '.join(last)}")

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def document(self) -> dict[str, Any]:
        """What it is and every figure."""
        rates = [each["images_per_second"] for each in self.repeats]
        return self.about | {"images_per_second": spread(rates), "peak_mib": self.repeats[-1]["peak_mib"]}


def spread(figures: Sequence[float]) -> dict[str, Any]:
    """The median, the extremes and all."""
    return {"median": median(figures), "least": min(figures), "most": max(figures), "all": list(figures)}


def race(
    case: str, precision: str, contenders: Sequence[str], repeats: int, seconds: float, folder: Path, say: Say
) -> dict[str, Any]:
    """Each contender ``repeats`` times in turn. ``ratios``: ours over theirs, turn by turn."""
    found: dict[str, Any] = {"case": case, "precision": precision, "contenders": {}, "skipped": {}}
    found["load_average"] = os.getloadavg()[0]  # of the minute before: what else the machine does
    with ExitStack() as stack:
        running = []
        for name in contenders:
            say(f"{case} {precision}: starting {name}")
            try:
                contender = stack.enter_context(Contender(name, case, precision, seconds, folder / f"{name}.log"))
            except RuntimeError as error:
                found["skipped"][name] = str(error)
                continue
            if "skipped" in contender.about:
                found["skipped"][name] = contender.about["skipped"]
            else:
                running.append(contender)
        for turn in range(repeats):
            rates = [f"{each.name} {each.repeat():,.0f}" for each in running]
            say(f"{case} {precision}: {turn + 1} of {repeats}, images/s: {', '.join(rates)}")
        found["contenders"] = {each.name: each.document() for each in running}
    found["ratios"] = ratios(found["contenders"])
    found["goals"] = GOALS.get((case, precision), {})
    return found


def ratios(contenders: dict[str, Any]) -> dict[str, Any]:
    """Ours over each other's rate, of the repeats that stood side by side."""
    if "ours" not in contenders:
        return {}
    rates = {name: each["images_per_second"]["all"] for name, each in contenders.items()}
    return {
        name: spread([mine / his for mine, his in zip(rates["ours"], his_all, strict=True)])
        for name, his_all in rates.items()
        if name != "ours"
    }
