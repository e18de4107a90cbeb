"""Losses per example, each the function of its loss's name, and what turns outputs into probabilities.

A loss gets outputs (B, C), or (B, 1) for two classes where it says so, labels, the number of classes, and its fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax
from jax.nn import softmax

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

    Outputs = Float[Array, "B outputs"]
    Losses = Float[Array, " B"]
    Labels = Int[Array, " B"]

__all__ = [
    "binary_cross_entropy", "cross_entropy", "focal", "hinge", "mse", "rbf_map", "scaled_to_one", "sigmoids_to_one",
    "softmax", "targets", "two_scores",
]  # fmt: skip


def cross_entropy(
    logits: Outputs, labels: Labels, classes: int, label_smoothing: float, class_weights: Array | None = None
) -> Losses:
    """-sum class_weights (C,) * target * log softmax(logits); ``label_smoothing``: the target's share over all."""
    target = optax.smooth_labels(jax.nn.one_hot(labels, classes), label_smoothing)
    return optax.softmax_cross_entropy(logits, target if class_weights is None else class_weights[None] * target)


def focal(logits: Outputs, labels: Labels, classes: int, gamma: float) -> Losses:
    """(1 - p)^gamma * cross-entropy."""
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    wrong = jnp.maximum(-jnp.expm1(-entropy), 1e-12)  # 1 - p; at 0 a power below 1 has no gradient
    return jnp.power(wrong, gamma) * entropy


def mse(outputs: Outputs, labels: Labels, classes: int) -> Losses:
    """Mean of squares."""
    return jnp.square(outputs - targets(outputs, labels, classes)).mean(-1)


def binary_cross_entropy(logits: Outputs, labels: Labels, classes: int) -> Losses:
    """Mean over the outputs of the entropies of yes and no."""
    return optax.sigmoid_binary_cross_entropy(logits, targets(logits, labels, classes)).mean(-1)


def hinge(scores: Outputs, labels: Labels, classes: int) -> Losses:
    """Margins missed, summed over the wrong classes and divided by the classes; of one score, its own margin."""
    if scores.shape[-1] == 1:
        return jnp.maximum(0, 1 - (2 * labels.astype(jnp.float32) - 1) * scores[:, 0])
    right = jnp.take_along_axis(scores, labels[:, None], -1)
    missed = jnp.maximum(0, 1 - right + scores) * (1 - jax.nn.one_hot(labels, classes))
    return missed.sum(-1) / classes


def rbf_map(outputs: Outputs, labels: Labels, classes: int, j: float) -> Losses:
    """The distance to the right code, plus the competition of all codes with the constant ``j``."""
    right = jnp.take_along_axis(outputs, labels[:, None], -1)[:, 0]
    rubbish = jnp.full((*outputs.shape[:-1], 1), -j, outputs.dtype)
    return -right + jax.nn.logsumexp(jnp.concatenate([outputs, rubbish], -1), axis=-1)


def scaled_to_one(outputs: Outputs) -> Float[Array, "B C"]:
    """Outputs scaled to the sum 1, shifted first if any is below 0; one output p is (1 - p, p)."""
    if outputs.shape[-1] == 1:
        second = jnp.clip(outputs, 0, 1)
        return jnp.concatenate([1 - second, second], -1)
    positive = outputs - jnp.minimum(outputs.min(-1, keepdims=True), 0) + 1e-9  # the largest stays the largest
    return positive / positive.sum(-1, keepdims=True)


def sigmoids_to_one(logits: Outputs) -> Float[Array, "B C"]:
    """Sigmoids scaled to the sum 1, computed from their logarithms; of one logit, (1 - sigmoid, sigmoid)."""
    return softmax(two_scores(logits) if logits.shape[-1] == 1 else jax.nn.log_sigmoid(logits), -1)


def two_scores(outputs: Outputs) -> Outputs:
    """One score s (B, 1) as (0, s) (B, 2), whose softmax is (1 - sigmoid(s), sigmoid(s)); more scores as they are."""
    return jnp.concatenate([jnp.zeros_like(outputs), outputs], -1) if outputs.shape[-1] == 1 else outputs


def targets(outputs: Outputs, labels: Labels, classes: int) -> Outputs:
    """One-hot (B, C), or the label itself (B, 1) for a single output."""
    if outputs.shape[-1] == 1:
        return labels.astype(jnp.float32)[:, None]
    return jax.nn.one_hot(labels, classes)
