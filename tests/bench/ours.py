"""Ours: the very step of ``cnn train``, compiled and called by its own session."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from cnncli import timing
from cnncli.config.load import Loaded
from cnncli.native.library import kernels


def make(loaded: Loaded) -> tuple[str, int, Callable[[int], None]]:
    """(what it is, steps a call, ``run(steps)`` that returns when they are done)."""
    session = timing.make_session(loaded)
    state = session.first_state()
    call = session.steps_per_call
    whole = session.per_epoch // call * call

    def run(steps: int) -> None:
        nonlocal state
        for start in range(0, steps, whole):
            state, *_ = session.advance(state, 0, min(whole, steps - start))

    return f"cnncli {version('cnncli')}, jax {version('jax')}, kernels: {kernels().name}", call, run
