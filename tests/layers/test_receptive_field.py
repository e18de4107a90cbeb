"""Receptive fields behind several layers, by hand and by gradients."""

import jax
import numpy as np
import pytest
from make import network, normal, weights_of


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
    weights, x = weights_of(model.graph), normal((8, 12, 2))
    size = model.graph.output.field.size[0]
    rows = jax.jit(jax.jacrev(lambda x: model.apply(weights, x)[0].sum((0, 2))))(x)  # (outputs, *x.shape)
    seen = [np.flatnonzero(np.abs(row).sum((0, 2))) for row in np.asarray(rows)]
    widths = [places.max() - places.min() + 1 for places in seen if len(places)]
    assert max(widths) <= size <= max(widths) + 2
