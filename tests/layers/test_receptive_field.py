"""Receptive fields behind several layers, by hand and by gradients."""

import math

import jax
import numpy as np
import pytest

from tests.helpers.layers import network, normal, random_weights
from tests.helpers.networks import jit


def test_textbook_receptive_field_grows_with_depth():
    model = network({"conv": {"filters": 1, "kernel": 5}}, {"max_pool": 2}, {"conv": {"filters": 1, "kernel": 5}},
                    {"max_pool": 2}, shape=(32, 32, 1))  # fmt: skip
    assert [node.field.size for node in model.graph.nodes] == [(5, 5), (6, 6), (14, 14), (16, 16)]
    stack = network(*[{"conv": {"filters": 1, "dilation": d}} for d in (1, 2, 4)], shape=(32, 32, 1))
    assert [node.field.size for node in stack.graph.nodes] == [(3, 3), (7, 7), (15, 15)]


ENCODERS = [
    [{"conv_transpose": {"filters": 2, "kernel": k, "stride": s, "padding": p}}, {"conv": {"filters": 2, "kernel": 3}}]
    for k, s, p in [(2, 2, 0), (3, 2, 1), (4, 2, 1), (5, 3, 0), (1, 2, 0)]
] + [
    [{"upsample": 2}, {"conv": {"filters": 2, "kernel": 3}}, {"upsample": {"scale": 3, "method": "bilinear"}}],
    [{"conv": {"filters": 2, "stride": 2}}, {"upsample": 2}, {"conv": {"filters": 2, "kernel": 3}}],
    [{"max_pool": 2, "name": "p"}, {"conv": {"filters": 2, "padding": "same"}}, {"max_unpool": "p"}],
    [{"conv_transpose": {"filters": 2, "kernel": 3, "dilation": 2, "stride": 2}}],
]  # fmt: skip


@pytest.mark.parametrize("layers", ENCODERS, ids=range(len(ENCODERS)))
def test_textbook_receptive_field_behind_layers_that_enlarge_is_never_exceeded(layers):
    model = network(*layers, shape=(12, 2))
    weights, x = random_weights(model.graph), normal((8, 12, 2))
    size = model.graph.output.field.size[0]
    rows = jit(jax.jacrev(lambda x: model.apply(weights, x)[0].sum((0, 2))))(x)  # (outputs, *x.shape)
    seen = [np.flatnonzero(np.abs(row).sum((0, 2))) for row in np.asarray(rows)]
    widths = [places.max() - places.min() + 1 for places in seen if len(places)]
    assert max(widths) <= size <= max(widths) + 2


ALONE = [
    {"conv": {"filters": 2, "kernel": 4, "padding": "same"}},
    {"conv": {"filters": 2, "kernel": 3, "dilation": 2, "stride": 2, "padding": "full"}},
    {"max_pool": {"kernel": 3, "stride": 2, "padding": 1, "rounding": "ceil"}},
    *({"upsample": {"scale": scale, "method": "bilinear"}} for scale in (2, 4)),
    *({"upsample": scale} for scale in (2, 3)),
    *({"conv_transpose": {"filters": 2, "kernel": k, "stride": s, "padding": p}}
      for k, s, p in [(2, 2, 0), (4, 2, 1), (6, 3, 2), (3, 1, 1)]),
]  # fmt: skip


@pytest.mark.parametrize("layer", ALONE, ids=str)
def test_textbook_receptive_field_of_one_layer_is_exact_at_every_output(layer):
    model = network(layer, shape=(11, 2))
    weights, x, field = random_weights(model.graph), normal((64, 11, 2)), model.graph.output.field
    rows = jit(jax.jacrev(lambda x: model.apply(weights, x)[0].sum((0, 2))))(x)  # (outputs, *x.shape)
    for i, row in enumerate(np.asarray(rows)):
        seen = np.flatnonzero(np.abs(row).sum((0, 2)))
        low, high = (math.ceil(i * field.jump[0] + end[0]) for end in (field.low, field.high))
        assert (seen.min(), seen.max()) == (max(low, 0), min(high, 10))
