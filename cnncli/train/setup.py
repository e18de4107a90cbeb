"""What a training needs and what is made once: data on the devices, model, optimizer, compiled programs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import Array

from cnncli import memory
from cnncli.config.load import Loaded
from cnncli.data.loader import Order
from cnncli.data.transforms.transform import Constants
from cnncli.durations import in_steps
from cnncli.machine import available_cores
from cnncli.native.library import kernels
from cnncli.runs.provenance import variables
from cnncli.train.devices import placement
from cnncli.train.health import Health, make_health
from cnncli.train.prepare import Data, class_weights
from cnncli.train.state import TrainState, bytes_of
from cnncli.train.step import (
    Evaluator,
    LearningRate,
    TrainData,
    init_state,
    init_weights,
    make_model,
    make_optimizer,
    make_train_steps,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int

MAX_STEPS_PER_CALL = 64


class Setup:
    """Made once from a config without ``auto`` and its data. States are arguments: ``advance`` is a function of them.

    ``total``, ``log_every``, ``save_every``: in steps. ``train_data``: whole on every device.
    """

    def __init__(self, loaded: Loaded, data: Data, constants: Constants) -> None:
        self.loaded, self.data, self.constants = loaded, data, constants
        config = self.config = loaded.config
        train, self.classes = data.dataset.train, data.dataset.classes

        # Data
        self.place = placement(config.train.batch_size)
        self.free_memory = memory.free_memory(self.place.device)  # before the data takes its part
        arrays = train.images, train.labels, constants, class_weights(config, data.dataset)
        *arrays_on_device, self.class_weights = jax.device_put(arrays, self.place.whole)
        self.train_data = TrainData(*arrays_on_device)
        self.order = Order(len(train), config.train.batch_size, config.seed)

        # Lengths
        self.per_epoch = self.order.steps_per_epoch
        self.total = self.per_epoch * config.train.epochs
        self.log_every = max(in_steps(config.train.log_every, self.per_epoch, self.total), 1)
        self.save_every = max(in_steps(config.train.save_every, self.per_epoch, self.total), 1)

        # Model and optimizer
        self.model = make_model(loaded)
        self.learning_rate = LearningRate(config.train, self.per_epoch, self.total)
        self.optimizer = make_optimizer(config, self.model, self.learning_rate)

        # Programs. Inside a loop, XLA on CPU computes the weight gradients of convolutions slowly: one step a call.
        self.evaluate = Evaluator(config, self.model, len(self.classes), self.place)
        slow_loop = self.place.on_cpu and kernels().name == "xla"
        self.steps_per_call = 1 if slow_loop else min(MAX_STEPS_PER_CALL, self.per_epoch)
        self.compile_seconds = 0.0
        self._make_programs()

    def set_lr_scale(self, scale: float) -> None:
        """Train at this share of the learning rate. Programs hold it as a constant and are compiled anew."""
        if scale != self.learning_rate.scale:
            self.learning_rate.scale = scale
            self._make_programs()

    def _make_programs(self) -> None:
        config, whole, classes = self.config, self.place.whole, len(self.classes)
        steps = make_train_steps(config, self.model, self.optimizer, classes, self.class_weights)
        self._train_steps = jax.jit(steps, donate_argnums=0, out_shardings=(whole, whole))
        self._program: jax.stages.Compiled | None = None
        self._health = make_health(config, self.model, self.optimizer, classes) if config.train.watch else None

    def init_state(self) -> TrainState:
        """The state before step 0, on the devices."""
        start = time.perf_counter()
        # These programs run once: optimising them would take longer than the rest of the start.
        options = {"xla_backend_optimization_level": 0} if self.place.on_cpu else {}
        weights = jax.device_put(init_weights(self.config, self.model, options), self.place.whole)
        program = jax.jit(
            functools.partial(init_state, self.config, self.optimizer),
            donate_argnums=0,  # no two arrays of the state may share memory: steps donate it
            out_shardings=self.place.whole,
            compiler_options=options,
        )
        state = program(weights)
        self.compile_seconds += time.perf_counter() - start
        return state

    def compile(self, state: TrainState) -> jax.stages.Compiled:
        """The program of ``steps_per_call`` steps, compiled once."""
        if self._program is None:
            start = time.perf_counter()
            rows = np.zeros((self.steps_per_call, self.order.batch_size), np.int32)
            with self.place.scope():
                lowered = self._train_steps.lower(state, self.train_data, jax.device_put(rows, self.place.steps))
                self._program = lowered.compile()
            self.compile_seconds += time.perf_counter() - start
        return self._program

    def advance(
        self, state: TrainState, start: int, stop: int
    ) -> tuple[TrainState, Float[np.ndarray, " K"], Int[np.ndarray, " K"]]:
        """Steps start .. stop - 1 of one epoch: the new state, losses, numbers of correct images. Donates ``state``."""
        rows, size, outs = self.order.steps(start, stop), self.steps_per_call, []
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            padded = np.pad(part, ((0, size - len(part)), (0, 0)), constant_values=-1)
            state, out = self.compile(state)(state, self.train_data, jax.device_put(padded, self.place.steps))
            outs.append({name: values[: len(part)] for name, values in out.items()})
        fetched = jax.device_get(outs)
        losses, correct = (np.concatenate([out[name] for out in fetched]) for name in ("loss", "correct"))
        return state, losses, correct

    def rows(self, step: int) -> Int[Array, " B"]:
        """Image indices of one step, on the devices."""
        return jax.device_put(self.order.steps(step, step + 1)[0], self.place.batch)

    def health(self, state: TrainState, step: int) -> Health:
        """Each layer's health on the batch of ``step``; empty unless the config watches it."""
        if self._health is None:
            return {}
        key = jax.random.fold_in(jax.random.key(self.config.seed), step)
        layers = jax.device_get(self._health(state, self.train_data, self.rows(step), key))
        return {layer: {name: float(value) for name, value in figures.items()} for layer, figures in layers.items()}

    @functools.cached_property
    def checkpoint_bytes(self) -> int:
        """Bytes of a checkpoint: the state and the constants of preprocessing."""
        weights = jax.eval_shape(self.model.init, jax.random.key(0))
        state = jax.eval_shape(functools.partial(init_state, self.config, self.optimizer), weights)
        return bytes_of(state._replace(step=()), self.constants)

    @property
    def most_checkpoints(self) -> int:
        """How many checkpoints exist at once: those kept, the best and one being written, or all that are made."""
        return min(self.config.train.keep + 2, 1 + -(-self.total // self.save_every))

    @property
    def memory(self) -> memory.Estimate:
        """What training takes on each device."""
        images = self.data.dataset.train.images.nbytes + self.data.dataset.train.labels.nbytes
        number, devices = np.dtype(self.model.dtype).itemsize, self.place.mesh.devices.size
        return memory.estimate(self.model.graph, self.checkpoint_bytes, images, number, devices)

    def memory_guard(self, note: Callable[[str], None]) -> AbstractContextManager[None]:
        """Warn if training will probably not fit into memory; MachineError (exit 4) if it did not."""
        return memory.guard(self.memory, self.order.batch_size, self.free_memory, note)

    @property
    def numeric_flags(self) -> dict[str, Any]:
        """What changes the last digits. ``cores``: XLA and the kernels add in another order on another number."""
        cores = {"cores": available_cores()} if self.place.on_cpu else {}
        size = self.place.mesh.devices.size
        flags = {"precision": self.config.train.precision, "kernels": kernels().name, "devices": size}
        return flags | variables() | cores

    def describe(self) -> str:
        """``digits: 2,410 parameters; digits: 1,299 training, ... images``."""
        data, config = self.data.dataset, self.config
        parts = [f"{len(data.train):,} training"]
        parts += [f"{len(split):,} {name}" for name, split in (("validation", data.val), ("test", data.test)) if split]
        params = self.model.graph.params
        return f"{config.name}: {params:,} parameters; {config.data.source.kind}: {', '.join(parts)} images"
