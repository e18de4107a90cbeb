"""When the numbers stop being numbers: where it began, and going back if the config says so."""

from __future__ import annotations

import jax

from cnncli.errors import CheckpointError, DivergedError
from cnncli.runs import checkpoint
from cnncli.runs.directory import append_line, cut_lines
from cnncli.train.events import Events
from cnncli.train.health import first_not_finite, make_examination
from cnncli.train.loop import Diverged, Session
from cnncli.train.restore import memory_of, newest_sound, state_of
from cnncli.train.state import RESTORES, Memory, TrainState

HINT = "Try a smaller train.optimizer lr, a warmup or train.clip_norm{}; {} is kept."
WORDS = {
    "weights": "the weights of {} are not finite",
    "input": "the network's input is not finite",
    "output": "the output of {} is not finite",
    "loss": "the output of {} is finite, its loss is not",
    "gradient": "the gradient of {} is not finite",
    "update": "the update of {} is not finite",
    "statistics": "the running statistics of {} are not finite",
}


def restore(session: Session, memory: Memory, found: Diverged, events: Events) -> tuple[TrainState, Memory]:
    """Back to the last good checkpoint at half the learning rate; DivergedError (exit 6) where it is time to give up.

    Back means to one that is due by ``save_every``: one left by an interruption would make a resumed run another.
    """
    trained = newest_sound(session.run, session.loaded, events, lambda step: step <= found.step)
    began = _where(session, found, events)
    message = found.what + (f": {began}" if began else "")
    stop = session.config.train.on_nan == "stop"
    if stop or memory.restores == RESTORES:
        times = f", after going back {memory.restores} times" if memory.restores else ""
        other = ", or train.on_nan=restore" if stop else ""
        raise DivergedError.of(message + times, HINT.format(other, trained.checkpoint.name))
    trained = newest_sound(session.run, session.loaded, events, lambda step: step % session.save_every == 0)
    back, restores = memory_of(session, trained), memory.restores + 1
    back.restores = restores
    newer = [folder for folder in checkpoint.folders(session.run.checkpoints) if folder.name > trained.checkpoint.name]
    checkpoint.discard(newer)  # left by an interruption on the way to where it diverged
    for file in (session.run.metrics, session.run.timing):
        cut_lines(file, back.step, restores - 1)
    share = 0.5**restores
    append_line(session.run.metrics, {"kind": "restore", "step": back.step, "epoch": back.step // session.per_epoch + 1,
                                      "restore": restores, "lr_share": share, "reason": message})  # fmt: skip
    events.note(f"{message}. Back to step {back.step} at {share:.3g} of the learning rate ({restores} of {RESTORES})")
    session.go_at(share)
    return state_of(session, trained), back


def _where(session: Session, found: Diverged, events: Events) -> str:
    """Where it began, in words: the steps since the last good checkpoint once more, the last two under the lens."""
    try:
        trained = newest_sound(session.run, session.loaded, events, lambda step: step <= found.step)
    except CheckpointError:
        return ""
    state, step = state_of(session, trained), trained.state.step
    if found.step - step > session.log_every:
        events.note(f"{found.what}: going through {found.step - step} steps again to find the layer")
    while step < found.step - 1:
        stop = min(found.step - 1, (step // session.per_epoch + 1) * session.per_epoch)
        state, step = session.advance(state, step, stop)[0], stop
    optimizer, weights = session.optimizer, session.class_weights
    examine = make_examination(session.config, session.model, optimizer, len(session.classes), weights)
    layers = [node.name for node in session.model.graph.nodes]
    while step <= found.step:
        rows = jax.device_put(session.order.steps(step, step + 1)[0], session.place.batch)
        examined = jax.device_get(examine(state, session.images, session.labels, session.device_constants, rows))
        if began := first_not_finite(examined, layers):
            place, layer = began
            where = "" if step == found.step else f" at step {step + 1}"
            return WORDS[place].format(layer or session.model.graph.output.name) + where
        state, step = session.advance(state, step, step + 1)[0], step + 1
    return ""
