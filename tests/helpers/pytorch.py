"""Compares values and gradients of our layers with PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import settings

from cnncli.layers import Layer
from tests.helpers.layers import normal, random_weight, run_layer
from tests.helpers.networks import jit

torch = pytest.importorskip("torch", reason="PyTorch is the reference here: pip install torch")
torch.set_num_threads(1)

few = settings(max_examples=8, deadline=None, derandomize=True, database=None)


def agree(ours: Any, theirs: Any, what: str = "output", tolerance: float = 1e-5) -> None:
    """Assert that two arrays differ by at most ``tolerance`` times the largest value."""
    ours, theirs = np.asarray(ours), theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    scale = max(1.0, np.abs(theirs).max(initial=0))
    np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=tolerance, err_msg=what)


def last(x: Any) -> Any:
    """A tensor with the channels first as one with the channels last."""
    return x.movedim(1, -1)


def same_function(layer: Layer, x: np.ndarray, theirs: Callable[..., Any]) -> None:
    """Assert that outputs and gradients agree. ``theirs(x, weights)``: images channels first, weights as ours."""
    resolved = layer.resolve(x.shape[1:])
    weights = {name: random_weight(weight, seed) for seed, (name, weight) in enumerate(resolved.weights.items())}
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in weights.items()}
    leaf = torch.tensor(x, requires_grad=True)
    expected = last(theirs(leaf.movedim(-1, 1), leaves))
    pull = normal(expected.shape, 7)
    expected.backward(torch.tensor(pull))

    @jit
    def run(weights: Any, x: Any) -> Any:
        y, back = jax.vjp(lambda w, x: run_layer(layer, x, params=w)[0], weights, x)
        return y, back(pull)

    y, (by_weight, by_input) = run(weights, x)
    assert y.shape == (len(x), *resolved.shape)
    agree(y, expected)
    agree(by_input, leaf.grad, "gradient of the input")
    for name, gradient in by_weight.items():
        agree(gradient, leaves[name].grad, f"gradient of {name}")


def kernel_first(kernel: Any) -> Any:
    """(*taps, in, out) as PyTorch's (out, in, *taps)."""
    return kernel.movedim((-1, -2), (0, 1))
