"""Training: prepare data, build model and optimizer, start or restore, loop, evaluate. Reads downwards."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from cnncli.config.load import Loaded, load
from cnncli.durations import in_seconds
from cnncli.native.library import kernels
from cnncli.runs import directory
from cnncli.runs.directory import Run, append_line, only_trainer
from cnncli.runs.files import replace_file, require_space, writing
from cnncli.runs.provenance import lock
from cnncli.train import checkpointing, resume_checks
from cnncli.train.checkpointing import newest_sound, open_trained, restore_loop_state, restore_state
from cnncli.train.devices import placement
from cnncli.train.divergence import go_back
from cnncli.train.events import EpochRow, Events, Outcome, Progress
from cnncli.train.health import Diverged, warnings
from cnncli.train.interrupts import Interrupted, StopRequest, stop_requests
from cnncli.train.loop_state import Clock, LoopState, RunningMean, Validation
from cnncli.train.prepare import fit_constants, load_data
from cnncli.train.resolve import resolve_auto
from cnncli.train.setup import Setup
from cnncli.train.state import TrainState


def train(loaded: Loaded, root: Path, events: Events) -> Outcome:
    """Train a config from the start, in a new run folder under ``root``."""
    directory.require_name(root, loaded.config.name)
    with stop_requests() as stop, ExitStack() as stack:
        # Data
        events.device(placement(loaded.config.train.batch_size).describe())
        data = load_data(loaded.config, loaded.graph, events.loading)
        constants = fit_constants(loaded.config, data.dataset.train)

        # Model, optimizer, programs
        make_setup = functools.partial(Setup, data=data, constants=constants)
        setup = make_setup(resolve_auto(loaded, make_setup, events))
        require_space(root, setup.most_checkpoints * setup.checkpoint_bytes)

        # Run folder and first state; a stop request waits until there is a checkpoint to resume from
        with stop.deferred():
            run = directory.create(root, setup.config.name, _run_files(setup))
            stack.enter_context(only_trainer(run, events.note))
            stack.enter_context(writing(run.folder))
            stack.enter_context(setup.memory_guard(events.note))
            events.started(run.folder, setup.describe())
            for text in (*data.notes, *_layer_notes(setup)):
                events.note(text)
            events.compiling()
            trainer = Trainer(setup, run, setup.init_state(), LoopState.at_start(), events, stop)
            trainer.save(None)

        return trainer.fit()


def resume(path: Path, overrides: Sequence[str], events: Events) -> Outcome:
    """Continue a run from its newest sound checkpoint; with the same config, exactly as if it had not stopped.

    ``path``: the run, or its newest checkpoint, which must then be sound. A finished run gets what a kill may have
    prevented after the last step.
    """
    run, folder = directory.find(path)
    directory.require_inside(run)
    before, loaded = load(run.resolved), load(run.resolved, overrides)
    resume_checks.require_same_training(before.config, loaded.config, run)
    with stop_requests() as stop, only_trainer(run, events.note):
        # Checkpoint and data
        events.device(placement(loaded.config.train.batch_size).describe())
        with stop.deferred():
            trained = newest_sound(run, loaded, events, resume_checks.resumable_steps(run, folder))
        data = load_data(loaded.config, loaded.graph, events.loading)
        resume_checks.require_same_data(run, data)

        # Model, optimizer, programs
        setup = Setup(loaded, data, trained.constants)
        loop_state = restore_loop_state(setup, trained)
        resume_checks.require_not_shortened(setup, run, loop_state.step)
        events.started(run.folder, setup.describe())
        for text in resume_checks.notes(before.config, setup, run, trained.folder, loop_state.step):
            events.note(text)

        with writing(run.folder), setup.memory_guard(events.note):
            # Run folder as it was at the checkpoint, with today's config
            with stop.deferred():
                replace_file(run.resolved, directory.resolved_yaml(setup.config).encode())
                for file in (run.metrics, run.timing):
                    directory.cut_lines(file, loop_state.step, loop_state.restores)
                checkpointing.prune(setup, run)
            spent = sum(line.get("seconds", 0) for line in directory.json_lines(run.timing))
            setup.set_lr_scale(0.5**loop_state.restores)
            state = restore_state(setup, trained)
            return Trainer(setup, run, state, loop_state, events, stop, Clock(spent)).fit()


def _run_files(setup: Setup) -> dict[str, str]:
    devices, data = [str(device) for device in setup.place.mesh.devices.flat], setup.data
    splits = {name: data.dataset.fingerprint(name) for name in data.dataset.splits}
    return {
        "config.yaml": setup.loaded.text,
        "resolved.yaml": directory.resolved_yaml(setup.config),
        "lock.json": lock(setup.config.seed, data.fingerprint, splits, devices, setup.numeric_flags),
    }


def _layer_notes(setup: Setup) -> list[str]:
    nodes = setup.model.graph.nodes
    slow = [f"plain XLA computes the convolutions: {kernels().why}"] if kernels().wanting else []
    return slow + [f"{node.name}: {text}" for node in nodes if (text := node.layer.note())]


class Trainer:
    """A training under way: the state after ``loop_state.step`` steps, and the loop over the steps that follow."""

    def __init__(
        self,
        setup: Setup,
        run: Run,
        state: TrainState,
        loop_state: LoopState,
        events: Events,
        stop: StopRequest,
        clock: Clock | None = None,
    ) -> None:
        self.setup, self.run, self.state, self.loop_state = setup, run, state, loop_state
        self.events, self.stop, self.clock = events, stop, clock or Clock()
        self.config = setup.config.train
        self.validation = Validation.of_run(run, self.config, loop_state.step, setup.per_epoch)

    def fit(self) -> Outcome:
        """Train to the end, then measure the best checkpoint on the test images. Else DivergedError or Interrupted."""
        done = False
        try:
            while not done:
                try:
                    if reason := self._reason_finished():
                        self.events.note(reason)
                    else:
                        self.events.compiling()
                        self.setup.compile_steps(self.state)
                        with self.stop.deferred():
                            self.events.compiled(self.setup.compile_seconds)
                            self._run_epochs()
                    done = True
                except Diverged as diverged:
                    self._go_back(diverged)
            outcome = self._outcome()
        except Interrupted as stopped:
            raise Interrupted(stopped.signum, done or self.loop_state.step >= self.setup.total) from None
        self.events.finished(outcome)
        return outcome

    def _go_back(self, diverged: Diverged) -> None:
        self.state, self.loop_state = go_back(self.setup, self.run, self.loop_state, diverged, self.events)
        self.validation = Validation.of_run(self.run, self.config, self.loop_state.step, self.setup.per_epoch)

    def _reason_finished(self) -> str:
        """Why a resumed run has nothing left to train; empty if it has."""
        epochs, inside = divmod(self.loop_state.step, self.setup.per_epoch)
        if self.loop_state.step >= self.setup.total:
            return f"the run is finished: {epochs} epochs are done. Try train.epochs={2 * epochs} to go on"
        if not inside and (reason := self.validation.stop_reason):
            return f"the run is finished: it {reason}. Try train.early_stop=null to go on"
        return ""

    def _run_epochs(self) -> None:
        setup, loop_state = self.setup, self.loop_state
        while loop_state.step < setup.total:
            if loop_state.step % setup.per_epoch == 0:
                self._record_health()
            self._run_steps()
            inside = loop_state.step % setup.per_epoch
            if not inside and self._end_epoch():
                break
            if self.stop.signum or (inside and loop_state.step % setup.save_every == 0):
                self.save(None)
            self.stop.check()

    def _record_health(self) -> None:
        """Each layer's health on the next batch, to metrics.jsonl; warnings as notes."""
        step, health = self.loop_state.step, self.setup.health(self.state, self.loop_state.step)
        if health:
            line = {"kind": "health", "step": step + 1, "epoch": step // self.setup.per_epoch + 1, "layers": health}
            append_line(self.run.metrics, line)
        for text in warnings(health, self.setup.model.graph):
            self.events.note(text)

    def _run_steps(self) -> None:
        """Steps up to the end of the epoch, the next line of the log, the next checkpoint or the next look."""
        setup, loop_state, size = self.setup, self.loop_state, self.setup.order.batch_size
        start, compiled = loop_state.step, setup.compile_seconds
        ends = [(start // every + 1) * every for every in (setup.per_epoch, setup.log_every, setup.save_every)]
        stop = min(start + self.clock.steps_per_look, *ends)
        began = time.perf_counter()
        self.state, losses, correct = setup.advance(self.state, start, stop)
        seconds = time.perf_counter() - began - (setup.compile_seconds - compiled)
        rate = self.clock.add(stop - start, (stop - start) * size, seconds)
        not_finite = np.flatnonzero(~np.isfinite(losses))
        if not_finite.size:
            first = int(not_finite[0])
            raise Diverged(start + first, f"the loss is {losses[first]} at step {start + first + 1}")
        loop_state.epoch.add(losses, correct)
        loop_state.log.add(losses, correct)
        loop_state.step = stop
        epoch, means = start // setup.per_epoch, loop_state.epoch.means(size)
        steps = stop - epoch * setup.per_epoch
        self.events.progress(Progress(epoch + 1, steps, setup.per_epoch, means["loss"], means["accuracy"], rate))
        if stop % setup.log_every == 0:
            line = {"kind": "steps", "step": stop, "epoch": epoch + 1, "lr": float(setup.learning_rate(stop - 1))}
            append_line(self.run.metrics, line | loop_state.log.means(size))
            loop_state.log = RunningMean.empty()

    def _end_epoch(self) -> bool:
        """Validate, write the epoch's lines, save if due; whether training ends here."""
        setup, loop_state, step = self.setup, self.loop_state, self.loop_state.step
        began, epoch = time.perf_counter(), step // setup.per_epoch
        val = self._validate()
        train = loop_state.epoch.means(setup.order.batch_size)
        lr, best = float(setup.learning_rate(step - 1)), self.validation.add(val)
        line = {"kind": "epoch", "step": step, "epoch": epoch, "lr": lr, "train": train, "val": val}
        append_line(self.run.metrics, line)
        training, rate = self.clock.end_epoch()
        seconds = training + time.perf_counter() - began
        append_line(self.run.timing, {"step": step, "epoch": epoch, "seconds": seconds, "images_per_second": rate,
                                      "compile_seconds": setup.compile_seconds})  # fmt: skip
        loop_state.epoch = RunningMean.empty()
        reason = self._reason_to_stop()
        if reason or step == setup.total or step % setup.save_every == 0:
            self.save(val)
        self.events.epoch(EpochRow(epoch, self.config.epochs, train, val, lr, rate, seconds, best))
        if reason:
            self.events.note(reason)
        return bool(reason)

    def _reason_to_stop(self) -> str:
        limit = self.config.max_time if self.loop_state.step < self.setup.total else None
        if limit and self.clock.spent_before + self.clock.seconds >= in_seconds(limit):
            return f"stopped: max_time {limit} is over"
        return self.validation.stop_reason

    def save(self, validation: dict[str, float] | None) -> None:
        """Commit a checkpoint. Diverged if an array is not finite: then nothing is saved."""
        checkpointing.save(self.setup, self.run, self.state, self.loop_state, validation)

    def _validate(self) -> dict[str, float] | None:
        split = self.setup.data.dataset.val
        if split is None:
            return None
        return self.setup.evaluate(self.state.eval_weights, self.setup.train_data.constants, split).figures

    def _test(self) -> dict[str, float] | None:
        """Of the best checkpoint; without validation, of the last one."""
        split = self.setup.data.dataset.test
        if split is None:
            return None
        trained = open_trained(self.run.folder, "best", self.events)
        return self.setup.evaluate(trained.eval_weights, trained.constants, split).figures

    def _outcome(self) -> Outcome:
        clock, step = self.clock, self.loop_state.step
        seconds, rate = clock.seconds, clock.images / clock.training if clock.training else 0.0
        return Outcome(self.run.folder, step // self.setup.per_epoch, step, seconds, self.setup.compile_seconds, rate,
                       self.validation.last, self._test())  # fmt: skip
