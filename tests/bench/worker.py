"""One contender in a process of its own: ``python -m tests.bench.worker CONTENDER CASE PRECISION SECONDS``.

Prints a JSON line when it is ready, then one per line it reads: a repeat's images per second and the peak memory.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from cnncli.config.load import Loaded
from tests.bench.networks import CASES

Made = tuple[str, Callable[[int], None]]


def make(contender: str, loaded: Loaded) -> Made:
    """The contender's training, ready to run. ImportError where its framework is not installed."""
    if contender == "ours":
        from tests.bench import ours

        return ours.make(loaded)
    if contender == "keras":
        from tests.bench import keras_peer

        return keras_peer.make(loaded)
    if contender == "lax":
        from tests.bench import lax_peer

        return lax_peer.make(loaded)
    from tests.bench import torch_peer

    return torch_peer.make(loaded, compiled=contender == "torch-compiled")


def steps_for(run: Callable[[int], None], seconds: float) -> int:
    """How many steps take about ``seconds``, after warming up."""
    for _ in range(2):
        run(1)
    start = time.perf_counter()
    run(1)
    return max(1, round(seconds / (time.perf_counter() - start)))


def main() -> None:
    """Get ready, then a repeat per line read."""
    contender, case, precision, seconds = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever the frameworks print goes to stderr

    def say(**found: Any) -> None:
        print(json.dumps(found), file=out, flush=True)

    began, size = time.perf_counter(), CASES[case].batch_size
    try:
        about, run = make(contender, CASES[case].loaded(precision))
    except ImportError as error:
        return say(skipped=f"{error.name} is not installed")
    run(1)
    first = time.perf_counter() - began
    steps = steps_for(run, float(seconds))
    say(about=about, first_step_seconds=first, steps=steps)
    for _ in sys.stdin:
        start = time.perf_counter()
        run(steps)
        rate = steps * size / (time.perf_counter() - start)
        say(images_per_second=rate, peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
