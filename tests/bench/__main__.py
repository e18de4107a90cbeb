"""Ours against PyTorch, Keras and plain JAX on this machine's CPU. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import cnncli
from tests.bench import end_to_end, report
from tests.bench.networks import CASES
from tests.bench.throughput import CONTENDERS, ROOT, race

MEASURES = ("throughput", "pipeline", "start-up")
PRECISIONS = ("float32", "bfloat16")
FULL = (tuple(CASES), PRECISIONS, 5, 2.0)  # networks, precisions, repeats, seconds of each
QUICK = (("lenet5", "resnet20"), ("float32",), 2, 0.5)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What to measure."""
    cli = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    cli.add_argument("--networks", nargs="+", choices=CASES)
    cli.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    cli.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    cli.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES))
    cli.add_argument("--repeats", type=int)
    cli.add_argument("--seconds", type=float, help="of a repeat, about")
    cli.add_argument(
        "--quick", action="store_true", help="unless given: two small networks, 2 repeats of half a second"
    )
    cli.add_argument("--without-kernels", action="store_true", help="compare although plain XLA computes ours")
    cli.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for bench.txt, .json and .png")
    chosen = cli.parse_args(given)
    networks, precisions, repeats, seconds = QUICK if chosen.quick else FULL
    chosen.networks = chosen.networks or networks
    chosen.precisions = chosen.precisions or precisions
    chosen.repeats, chosen.seconds = chosen.repeats or repeats, chosen.seconds or seconds
    return chosen


def say(line: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def write(document: dict[str, Any], folder: Path) -> str:
    """bench.json, bench.txt and, where there is a ratio, bench.png; the text."""
    (folder / "bench.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    text = report.text(document)
    (folder / "bench.txt").write_text(text, encoding="utf-8")
    if any(found["ratios"] for found in document["races"]):
        report.picture(document, folder / "bench.png")
    return text


def require_kernels(without: bool) -> None:
    """Name what computes ours; SystemExit where that is plain XLA and nobody has asked for it."""
    from cnncli.native.library import kernels  # starts JAX, which reads JAX_PLATFORMS when it is imported

    found, package = kernels(), Path(cnncli.__file__).parent
    say(f"kernels: {found.name} ({found.why}), of {package}")
    if found.name == "xla" and not without:
        raise SystemExit("error: ours would be measured on plain XLA, without its kernels. Build them with "
                         "pip install -e . in this folder, or add --without-kernels.")  # fmt: skip


def machine() -> str:
    """The processor and its cores."""
    name = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name or platform.processor()}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def main() -> None:
    """Measure, writing what there is after each network."""
    chosen = arguments()
    os.environ["JAX_PLATFORMS"] = "cpu"  # also of the processes started from here
    require_kernels(chosen.without_kernels)
    chosen.out.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"machine": machine(), "races": [], "pipeline": [], "start_up": []}
    repeats, seconds = chosen.repeats, chosen.seconds
    with tempfile.TemporaryDirectory(prefix="cnn-bench-") as name:
        logs = Path(name)
        for case in chosen.networks:
            for precision in chosen.precisions:
                if "throughput" in chosen.measures:
                    found = race(case, precision, chosen.contenders, repeats, seconds, logs, say)
                    document["races"].append(found)
                if "pipeline" in chosen.measures:
                    found = end_to_end.pipeline(case, precision, repeats, seconds, logs, say)
                    document["pipeline"].append(found)
                if "start-up" in chosen.measures:
                    document["start_up"].append(end_to_end.start_up(case, precision, repeats, say))
                text = write(document, chosen.out)
    print(f"\n{text}\nwritten to {chosen.out}")


if __name__ == "__main__":
    main()
