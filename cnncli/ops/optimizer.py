"""Optimizers, as Optax builds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import optax

if TYPE_CHECKING:
    from jax import Array

    from cnncli.ops.schedule import Rate

    Decays = Callable[[dict[str, Array]], dict[str, bool]]  # parameters -> which of them weight decay may touch


def sgd(
    rate: Rate, momentum: float, nesterov: bool, weight_decay: float, decays: Decays
) -> optax.GradientTransformation:
    """Decay added to the gradient, then momentum, then the rate."""
    decay = optax.add_decayed_weights(weight_decay, decays) if weight_decay else optax.identity()
    return optax.chain(decay, optax.sgd(rate, momentum or None, nesterov))


def by_name(name: str, rate: Rate, **arguments: Any) -> optax.GradientTransformation:
    """The optimizer that Optax calls ``name``."""
    return getattr(optax, name)(learning_rate=rate, **arguments)
