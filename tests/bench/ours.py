"""Ours: the very step of ``cnn train``, compiled and called by its own code."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from cnncli import timing
from cnncli.config.load import Loaded
from cnncli.native.library import kernels


def make(loaded: Loaded) -> tuple[str, Callable[[int], None]]:
    """(what it is, ``run(steps)`` that returns when they are done)."""
    setup = timing.make_setup(loaded)
    state = setup.init_state()
    epoch = setup.per_epoch

    def run(steps: int) -> None:
        nonlocal state
        for start in range(0, steps, epoch):
            state, *_ = setup.advance(state, 0, min(epoch, steps - start))

    return f"cnncli {version('cnncli')}, jax {version('jax')}, kernels: {kernels().name}", run
