"""Our layers against PyTorch's: values and gradients of one function, written twice."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from hypothesis import settings
from make import drawn, normal, run_layer
from networks import jit

from cnncli.layers import Layer

torch = pytest.importorskip("torch", reason="PyTorch is the reference here: pip install torch")
torch.set_num_threads(1)

few = settings(max_examples=8, deadline=None, derandomize=True, database=None)


def agree(ours, theirs, what: str = "output", tolerance: float = 1e-5) -> None:
    """Within ``tolerance`` of the largest value."""
    ours, theirs = np.asarray(ours), theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    scale = max(1.0, np.abs(theirs).max(initial=0))
    np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=tolerance, err_msg=what)


def last(x):
    """Channels first to channels last."""
    return x.movedim(1, -1)


def same_function(layer: Layer, x: np.ndarray, theirs: Callable) -> None:
    """Outputs and gradients agree. ``theirs(x, weights)``: x and result channels first, weights laid out as ours."""
    resolved = layer.resolve(x.shape[1:])
    weights = {name: drawn(weight, seed) for seed, (name, weight) in enumerate(resolved.weights.items())}
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in weights.items()}
    leaf = torch.tensor(x, requires_grad=True)
    expected = last(theirs(leaf.movedim(-1, 1), leaves))
    pull = normal(expected.shape, 7)
    expected.backward(torch.tensor(pull))

    @jit
    def run(weights, x):
        y, back = jax.vjp(lambda w, x: run_layer(layer, x, params=w)[0], weights, x)
        return y, back(pull)

    y, (by_weight, by_input) = run(weights, x)
    assert y.shape == (len(x), *resolved.shape)
    agree(y, expected)
    agree(by_input, leaf.grad, "gradient of the input")
    for name, gradient in by_weight.items():
        agree(gradient, leaves[name].grad, f"gradient of {name}")


def kernel_first(kernel):
    """(*taps, in, out) as PyTorch's (out, in, *taps)."""
    return kernel.movedim((-1, -2), (0, 1))
