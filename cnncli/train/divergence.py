"""After a divergence: which layer was first not finite, and going back to a checkpoint if the config says so."""

from __future__ import annotations

import jax

from cnncli.errors import CheckpointError, DivergedError
from cnncli.runs import checkpoint
from cnncli.runs.directory import Run, append_line, cut_lines
from cnncli.train.checkpointing import newest_sound, restore_loop_state, restore_state
from cnncli.train.events import Events
from cnncli.train.health import Diverged, first_not_finite, make_examination
from cnncli.train.loop_state import MAX_RESTORES, LoopState
from cnncli.train.setup import Setup
from cnncli.train.state import TrainState

HINT = "Try a smaller train.optimizer lr, a warmup or train.clip_norm{}; {} is kept."
SENTENCES = {
    "weights": "the weights of {} are not finite",
    "input": "the network's input is not finite",
    "output": "the output of {} is not finite",
    "loss": "the output of {} is finite, its loss is not",
    "gradient": "the gradient of {} is not finite",
    "update": "the update of {} is not finite",
    "statistics": "the running statistics of {} are not finite",
}


def go_back(
    setup: Setup, run: Run, loop_state: LoopState, diverged: Diverged, events: Events
) -> tuple[TrainState, LoopState]:
    """Back to a checkpoint, at half the learning rate. DivergedError (exit 6) if ``on_nan`` or the limit forbids it.

    Only checkpoints that are due by ``save_every`` count: an interruption, which saves another one, changes nothing.
    """
    trained = newest_sound(run, setup.loaded, events, lambda step: step <= diverged.step)
    cause = _cause(setup, run, diverged, events)
    reason = diverged.what + (f": {cause}" if cause else "")
    stop = setup.config.train.on_nan == "stop"
    if stop or loop_state.restores == MAX_RESTORES:
        times = f", after going back {loop_state.restores} times" if loop_state.restores else ""
        other = ", or train.on_nan=restore" if stop else ""
        raise DivergedError.of(reason + times, HINT.format(other, trained.folder.name))
    trained = newest_sound(run, setup.loaded, events, lambda step: step % setup.save_every == 0)
    back = restore_loop_state(setup, trained)
    back.restores = loop_state.restores + 1
    # An interruption may have left checkpoints of the steps that are now taken back.
    checkpoint.discard([each for each in checkpoint.folders(run.checkpoints) if each.name > trained.folder.name])
    for file in (run.metrics, run.timing):
        cut_lines(file, back.step, loop_state.restores)
    scale = 0.5**back.restores
    append_line(run.metrics, {"kind": "restore", "step": back.step, "epoch": back.step // setup.per_epoch + 1,
                              "restore": back.restores, "lr_share": scale, "reason": reason})  # fmt: skip
    events.note(f"{reason}. Back to step {back.step} at {scale:.3g} of the learning rate "
                f"({back.restores} of {MAX_RESTORES})")  # fmt: skip
    setup.set_lr_scale(scale)
    return restore_state(setup, trained), back


def _cause(setup: Setup, run: Run, diverged: Diverged, events: Events) -> str:
    """A sentence about what was first not finite; empty if it is not found.

    The steps since the last good checkpoint are done again; the last two are examined layer by layer.
    """
    try:
        trained = newest_sound(run, setup.loaded, events, lambda step: step <= diverged.step)
    except CheckpointError:
        return ""
    state, step = restore_state(setup, trained), trained.saved.step
    if diverged.step - step > setup.log_every:
        events.note(f"{diverged.what}: going through {diverged.step - step} steps again to find the layer")
    while step < diverged.step - 1:
        stop = min(diverged.step - 1, (step // setup.per_epoch + 1) * setup.per_epoch)
        state, step = setup.advance(state, step, stop)[0], stop
    examine = make_examination(setup.config, setup.model, setup.optimizer, len(setup.classes), setup.class_weights)
    layers = [node.name for node in setup.model.graph.nodes]
    while step <= diverged.step:
        examined = jax.device_get(examine(state, setup.train_data, setup.rows(step)))
        if found := first_not_finite(examined, layers):
            check, layer = found
            where = "" if step == diverged.step else f" at step {step + 1}"
            return SENTENCES[check].format(layer or setup.model.graph.output.name) + where
        state, step = setup.advance(state, step, step + 1)[0], step + 1
    return ""
