"""Our layers against PyTorch's: values and gradients of one function, written twice."""

import math
from collections.abc import Callable

import jax
import numpy as np
import pytest
from hypothesis import settings

from cnncli.graph import build
from cnncli.layers import Context, Entry, Layer, Variables
from cnncli.model import Model

torch = pytest.importorskip("torch", reason="PyTorch is the reference here: pip install torch")
torch.set_num_threads(1)

few = settings(max_examples=12, deadline=None, derandomize=True, database=None)
Arrays = dict[str, np.ndarray]


def layer_of(written) -> Layer:
    """A layer from its YAML as plain data."""
    return Entry.model_validate(written).layer


def network(*written, shape) -> Model:
    """A network from its YAML as plain data."""
    return Model(build(tuple(Entry.model_validate(each) for each in written), shape))


def normal(shape, seed=0) -> np.ndarray:
    """Standard normal numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def weights_of(layer: Layer, shape) -> Arrays:
    """Random numbers for every declared weight, small enough that sums stay about 1."""
    return {
        name: normal(weight.shape, seed) / np.float32(math.sqrt(max(weight.fans[0], 1)))
        for seed, (name, weight) in enumerate(layer.weights(shape).items())
        if not weight.state
    }


def agree(ours, theirs, what: str = "output", tolerance: float = 1e-5) -> None:
    """Within ``tolerance`` of the largest value."""
    ours, theirs = np.asarray(ours), theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    scale = max(1.0, np.abs(theirs).max(initial=0))
    np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=tolerance, err_msg=what)


def last(x):
    """Channels first to channels last."""
    return x.movedim(1, -1)


def same_function(layer: Layer, x: np.ndarray, theirs: Callable, weights: Arrays | None = None, train=False) -> None:
    """Outputs and gradients agree. ``theirs(x, weights)``: x and result channels first, weights laid out as ours."""
    weights = weights_of(layer, x.shape[1:]) if weights is None else weights
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in weights.items()}
    leaf = torch.tensor(x, requires_grad=True)
    expected = last(theirs(leaf.movedim(-1, 1), leaves))
    pull = normal(expected.shape, 7)
    expected.backward(torch.tensor(pull))

    @jax.jit
    def run(weights, x):
        y, back = jax.vjp(lambda w, x: layer.apply(Variables(w, {}), x, Context(train))[0], weights, x)
        return y, back(pull)

    y, (by_weight, by_input) = run(weights, x)
    assert y.shape == (len(x), *layer.out_shape(x.shape[1:]))
    agree(y, expected)
    agree(by_input, leaf.grad, "gradient of the input")
    for name, gradient in by_weight.items():
        agree(gradient, leaves[name].grad, f"gradient of {name}")


def kernel_first(kernel):
    """(*taps, in, out) as PyTorch's (out, in, *taps)."""
    return kernel.movedim((-1, -2), (0, 1))
