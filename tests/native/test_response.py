"""The response normalisation kernel against its definition in float64, and PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnncli.native.calls import response_norm


def exact(x, n, k, alpha):
    """The definition, in float64 wherever x is."""
    channel = np.arange(x.shape[-1])
    offset = channel[:, None] - channel  # of a channel that is summed from the channel of the output
    window = (offset >= -(n // 2)) & (offset <= (n - 1) // 2)
    return x * (k + alpha / n * (jnp.square(x) @ window.astype(x.dtype))) ** -0.75


def with_gradient(function, x, n, k, alpha):
    grad_output = np.sin(np.arange(x.size, dtype=np.float32)).reshape(x.shape)

    @jax.jit
    def both(x):
        y, back = jax.vjp(lambda x: function(x, n, k, alpha), x)
        return y, back(jnp.asarray(grad_output).astype(jnp.bfloat16).astype(y.dtype))[0]

    return tuple(np.asarray(each, np.float64) for each in both(x))


def exactly(x, n, k, alpha):
    with jax.enable_x64(True):
        return with_gradient(exact, x.astype(jnp.float64), n, k, alpha)


def agree(ours, theirs, tolerance):
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= tolerance * max(np.abs(other).max(), 1)


@st.composite
def cases(draw):
    channels = draw(st.sampled_from([1, 2, 3, 6, 16, 17, 96]))
    shape = (draw(st.integers(1, 5)), *(draw(st.integers(1, 9)) for _ in range(draw(st.integers(0, 2)))), channels)
    n, k = draw(st.integers(1, 9)), draw(st.sampled_from([0.5, 1.0, 2.0]))
    alpha = draw(st.sampled_from([1e-4, 0.1, 2.0]))
    return shape, n, k, alpha


@pytest.mark.parametrize(("kind", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 2**-8)])
@settings(max_examples=25, deadline=None)
@example(((4, 5, 5, 64), 5, 2.0, 5e-4))
@example(((1, 3), 9, 1.0, 2.0))  # a window wider than the map
@given(cases())
def test_like_its_definition(kind, tolerance, case):
    shape, n, k, alpha = case
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), kind)
    agree(with_gradient(response_norm, x, n, k, alpha), exactly(x, n, k, alpha), tolerance)


def test_like_pytorch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).standard_normal((3, 4, 5, 20), np.float32)
    there = torch.tensor(x.transpose(0, 3, 1, 2))
    theirs = torch.nn.functional.local_response_norm(there, 5, 0.3, 0.75, 1.5).numpy().transpose(0, 2, 3, 1)
    assert np.abs(np.asarray(response_norm(jnp.asarray(x), 5, 1.5, 0.3)) - theirs).max() < 1e-6
