"""What runs on the device: the training step, the evaluation step, the optimizer and the first state.

Every random number follows from (seed, step) alone, so a step can be repeated in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cnncli.config.load import Loaded
from cnncli.config.schema import Config, TrainSettings
from cnncli.data.loader import padded_batches
from cnncli.data.splits import Split
from cnncli.data.transforms import augment
from cnncli.data.transforms.preprocess import apply_values
from cnncli.data.transforms.transform import Constants
from cnncli.layers.base import name_hash
from cnncli.metrics import Result
from cnncli.model import Arrays, Model, Weights
from cnncli.train.devices import Placement
from cnncli.train.state import TrainState

if TYPE_CHECKING:
    from jaxtyping import Float, Int

INIT, STEPS = 0, 1  # the seed's two families of keys
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "auto": jnp.float32}  # auto: until it is resolved

LossFn = Callable[..., tuple[Array, tuple[Arrays, Array]]]
TrainSteps = Callable[..., tuple[TrainState, dict[str, Array]]]
Forward = Callable[[Weights, Constants, Array], Array]


class TrainData(NamedTuple):
    """All training images as stored (N, ...), their labels (N,), and the constants of preprocessing."""

    images: Array
    labels: Array
    constants: Constants


class Targets(NamedTuple):
    """``labels`` (B,). For mixed images also the labels of the ``others`` (B,) and the own label's ``share`` (B,)."""

    labels: Array
    others: Array | None = None
    share: Array | None = None


# -- Model and optimizer ----------------------------------------------------------------------------------------------


def make_model(loaded: Loaded) -> Model:
    """The network of a config in its precision."""
    return Model(loaded.graph, DTYPES[loaded.config.train.precision])


class LearningRate:
    """The schedule's learning rate at each step, times ``scale``."""

    def __init__(self, train: TrainSettings, per_epoch: int, total: int) -> None:
        self.schedule = train.schedule.build(train.optimizer.lr, per_epoch, total)
        self.scale = 1.0

    def __call__(self, step: Array | int) -> Array | float:
        """The rate of the update that follows ``step`` updates."""
        return self.scale * self.schedule(step)


def make_optimizer(config: Config, model: Model, learning_rate: LearningRate) -> optax.GradientTransformation:
    """The config's optimizer, after gradient clipping if there is any."""
    train = config.train
    clip = optax.clip_by_global_norm(train.clip_norm) if train.clip_norm else optax.identity()
    return optax.chain(clip, train.optimizer.build(learning_rate, model.decays))


def init_weights(config: Config, model: Model, compiler_options: dict[str, Any] | None = None) -> Weights:
    """The weights that the seed draws."""
    return model.init(jax.random.fold_in(jax.random.key(config.seed), INIT), compiler_options)


def init_state(config: Config, optimizer: optax.GradientTransformation, weights: Weights) -> TrainState:
    """The state before the first step."""
    ema_params = dict(weights.params) if config.train.ema else {}
    return TrainState(jnp.zeros((), jnp.int32), *weights, optimizer.init(weights.params), ema_params)


# -- Training ---------------------------------------------------------------------------------------------------------


def training_batch(config: Config, data: TrainData, rows: Int[Array, " B"], key: Array) -> tuple[Array, Targets]:
    """The images at ``rows`` as the network gets them in training: augmented, then value steps; and their targets."""
    own = jax.random.fold_in(key, name_hash("augment"))
    images, labels = data.images[rows].astype(jnp.float32), data.labels[rows]
    x, partners, share = augment.augment(config.data.augment, data.constants, own, images)
    x = apply_values(config.data.preprocess, data.constants, x)
    return x, Targets(labels, None if partners is None else labels[partners], share)


def make_loss_fn(config: Config, model: Model, classes: int, class_weights: Float[Array, " C"] | None = None) -> LossFn:
    """``loss_fn(params, model_state, x, targets, key)`` -> mean loss, (new model_state, number of correct images).

    ``class_weights``: the weight of an example of each class; None for 1 each.
    """
    loss = config.train.loss

    def mean_loss(outputs: Array, targets: Targets) -> Array:
        def losses_and_weights(labels: Array, share: Array) -> tuple[Array, Array]:
            if class_weights is None:
                return share * loss.per_example(outputs, labels, classes), share
            return share * loss.weighted(outputs, labels, classes, class_weights), share * class_weights[labels]

        share = jnp.ones(len(targets.labels)) if targets.share is None else targets.share
        losses, weights = losses_and_weights(targets.labels, share)
        if targets.others is not None:
            more = losses_and_weights(targets.others, 1 - share)
            losses, weights = losses + more[0], weights + more[1]
        return losses.sum() / weights.sum()

    def loss_fn(
        params: Arrays, model_state: Arrays, x: Array, targets: Targets, key: Array
    ) -> tuple[Array, tuple[Arrays, Array]]:
        outputs, heads, new = model.apply_training(Weights(params, model_state), x, key, logits_of=loss.logits_of)
        correct = (loss.probabilities(outputs).argmax(-1) == targets.labels).sum(dtype=jnp.int32)
        value = mean_loss(outputs, targets)
        for weight, head in heads:
            value = value + weight * mean_loss(head, targets)
        return value, (new, correct)

    return loss_fn


def make_train_steps(
    config: Config,
    model: Model,
    optimizer: optax.GradientTransformation,
    classes: int,
    class_weights: Float[Array, " C"] | None = None,
) -> TrainSteps:
    """``train_steps(state, data, rows)`` -> the state after K steps, ``loss`` (K,) float32 and ``correct`` (K,) int32.

    ``rows`` (K, B) int32: image indices of K steps; rows of -1 are padding and are skipped.
    """
    ema, keys = config.train.ema, jax.random.fold_in(jax.random.key(config.seed), STEPS)
    grad_fn = jax.value_and_grad(make_loss_fn(config, model, classes, class_weights), has_aux=True)

    def train_step(state: TrainState, data: TrainData, rows: Array) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(keys, state.step)
        x, targets = training_batch(config, data, rows, key)
        (loss, (model_state, correct)), grads = grad_fn(state.params, state.model_state, x, targets, key)
        with jax.numpy_dtype_promotion("standard"):  # Optax is not written for the strict rules
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = optax.incremental_update(params, state.ema_params, 1 - ema) if ema else {}
        return TrainState(state.step + 1, params, model_state, opt_state, ema_params), {
            "loss": loss,
            "correct": correct,
        }

    def train_steps(state: TrainState, data: TrainData, rows: Array) -> tuple[TrainState, dict[str, Array]]:
        if len(rows) == 1:  # no loop around a single step: XLA's convolutions are slow inside one on CPU
            state, out = train_step(state, data, rows[0])
            return state, {name: value[None] for name, value in out.items()}

        def body(at: Array, carry: tuple[TrainState, dict[str, Array]]) -> tuple[TrainState, dict[str, Array]]:
            state, outs = carry
            state, out = train_step(state, data, rows[at])
            return state, {name: outs[name].at[at].set(value) for name, value in out.items()}

        outs = {"loss": jnp.zeros(len(rows), jnp.float32), "correct": jnp.zeros(len(rows), jnp.int32)}
        return jax.lax.fori_loop(0, (rows[:, 0] >= 0).sum(dtype=jnp.int32), body, (state, outs))

    return train_steps


# -- Evaluation -------------------------------------------------------------------------------------------------------


def make_forward(config: Config, model: Model) -> Forward:
    """``forward(weights, constants, images)``: stored images (B, ...) -> outputs (B, C) as the loss takes them."""

    def forward(weights: Weights, constants: Constants, images: Array) -> Array:
        x = augment.eval_transform(config.data.augment, images.astype(jnp.float32))
        x = apply_values(config.data.preprocess, constants, x)
        return model.apply(weights, x, logits_of=config.train.loss.logits_of)[0]

    return forward


class Evaluator:
    """Measures weights on a split: in training, on the test images, and in ``cnn eval``."""

    def __init__(self, config: Config, model: Model, classes: int, place: Placement) -> None:
        self.batch_size, self.place = config.train.batch_size, place
        forward, loss = make_forward(config, model), config.train.loss

        @jax.jit
        def eval_step(weights: Weights, constants: Constants, images: Array, labels: Array, mask: Array) -> Any:
            """Sum of losses in ``mask`` (B,); of each image (B,) int32 the predicted class and its label's rank.

            A label's rank is how many classes are likelier, or as likely and before it; ``classes`` where NaN.
            """
            outputs = forward(weights, constants, images)
            losses = loss.per_example(outputs, labels, classes)
            probabilities = loss.probabilities(outputs)
            own, index = jnp.take_along_axis(probabilities, labels[:, None], 1), jnp.arange(classes)[None]
            behind = (probabilities < own) | ((probabilities == own) & (index >= labels[:, None]))
            ranks = classes - behind.sum(1, dtype=jnp.int32)
            return jnp.where(mask, losses, 0.0).sum(), probabilities.argmax(-1).astype(jnp.int32), ranks

        self.classes, self.eval_step = classes, eval_step

    def __call__(
        self,
        weights: Weights,
        constants: Constants,
        split: Split,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Result:
        """Every image of ``split`` once."""
        weights, constants = jax.device_put((weights, constants), self.place.whole)
        loss, parts = 0.0, []
        for number, measured in enumerate(self._batches(weights, constants, split), 1):
            total, *of_images = jax.device_get(measured)
            loss += float(total)
            parts.append(of_images)
            progress(min(number * self.batch_size, len(split)), len(split))
        predicted, ranks = (np.concatenate(each)[: len(split)] for each in zip(*parts, strict=True))
        return Result(loss / len(split), self.classes, split.labels, predicted, ranks)

    def _batches(self, weights: Weights, constants: Constants, split: Split) -> Iterator[Any]:
        """Two batches ahead of the one that is read, so that the device does not wait for the host."""
        ahead = []
        for rows, mask in padded_batches(len(split), self.batch_size):
            batch = jax.device_put((split.read(rows), split.labels[rows], mask), self.place.batch)
            with self.place.scope():
                ahead.append(self.eval_step(weights, constants, *batch))
            if len(ahead) > 2:
                yield ahead.pop(0)
        yield from ahead
