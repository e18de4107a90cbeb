"""The pooling kernel against maxima over slices in plain JAX: equal to the bit, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncli.layers.sizes import slide
from cnncli.native.calls import max_pool, takes_max_pool
from cnncli.ops import pooling
from cnncli.sliding import Sliding


@st.composite
def cases(draw):
    size, stride = (tuple(draw(st.integers(1, most)) for _ in "hw") for most in (4, 3))
    padding = tuple((draw(st.integers(0, taps - 1)), draw(st.integers(0, taps - 1))) for taps in size)
    sides = [taps + draw(st.integers(0, 8)) for taps in size]
    channels = draw(st.sampled_from([1, 3, 63, 64, 65, 130]))
    kind = draw(st.sampled_from([jnp.float32, jnp.bfloat16]))
    random = np.random.default_rng(draw(st.integers(0, 9)))
    values = random.integers(-4, 4, (draw(st.integers(1, 5)), *sides, channels))  # few values: many ties
    return jnp.asarray(values, kind), slide((*sides, channels), size, stride, padding)


def by_slices(x, geometry, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("cnncli.native.library.takes", lambda x: False)
        return jax.vjp(lambda x: pooling.max_pool(x, geometry), x)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_like_slices(case):
    x, geometry = case
    with pytest.MonkeyPatch.context() as patch:
        theirs, back = by_slices(x, geometry, patch)
    ours, back_too = jax.vjp(lambda x: max_pool(x, geometry), x)
    grad_output = jnp.asarray(np.random.default_rng(0).integers(-8, 8, ours.shape), x.dtype)
    assert (ours == theirs).all()
    assert (back_too(grad_output)[0] == back(grad_output)[0]).all()


def test_not_a_number_wins():
    x = jnp.zeros((1, 4, 4, 2)).at[0, 1, 1, 0].set(jnp.nan)
    y = max_pool(x, slide((4, 4, 2), 2, 2))
    assert jnp.isnan(y[0, 0, 0, 0])
    assert jnp.isnan(y).sum() == 1


def test_what_it_leaves_to_xla():
    x = jnp.zeros((2, 40, 40, 3))
    assert takes_max_pool(x, Sliding(size=(3, 3), padding=((1, 1), (1, 1))))
    # A byte cannot tell so many taps apart.
    assert not takes_max_pool(x, Sliding(size=(16, 16), padding=((0, 0), (0, 0))))
    assert not takes_max_pool(x, Sliding(size=(3, 3), padding=((-1, 0), (0, 0))))
    assert not takes_max_pool(x, Sliding(size=(1, 1), padding=((0, 0), (0, 0))))
    assert not takes_max_pool(x.astype(jnp.float16), Sliding(size=(3, 3), padding=((0, 0), (0, 0))))
