"""Normalisation against PyTorch."""

import jax
import numpy as np
import pytest

from tests.helpers.layers import apply, init_layer, layer_of, normal, random_weight, run_layer
from tests.helpers.networks import jit
from tests.helpers.pytorch import agree, last, same_function, torch

F = torch.nn.functional
SHAPES = [(4, 5, 3, 6), (4, 6)]


@pytest.mark.parametrize("shape", SHAPES)
def test_textbook_normalisation_batch_norm_through_training_and_after(shape):
    layer = layer_of({"batch_norm": {"momentum": 0.8, "epsilon": 1e-3}})
    declared = layer.resolve(shape[1:]).weights.items()
    weights = {name: random_weight(weight) for name, weight in declared if not weight.state}
    theirs = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}[len(shape)](6, 1e-3, 0.2)
    theirs.weight.data, theirs.bias.data = torch.tensor(weights["scale"]), torch.tensor(weights["bias"])
    state = {"mean": np.zeros(6, np.float32), "var": np.ones(6, np.float32)}

    @jit
    def train(state, x, pull):
        (y, new), back = jax.vjp(lambda w, x: run_layer(layer, x, params=w, state=state, train=True), weights, x)
        return y, new, *back((pull, jax.tree.map(jax.numpy.zeros_like, new)))

    for step in range(4):
        x, pull = normal(shape, step) * (step + 1) + step, normal(shape, step + 9)
        leaf = torch.tensor(x, requires_grad=True)
        y = last(theirs(leaf.movedim(-1, 1)))
        theirs.zero_grad()
        y.backward(torch.tensor(pull))
        ours, state, by_weight, by_input = train(state, x, pull)
        agree(ours, y)
        agree(by_input, leaf.grad)
        agree(by_weight["scale"], theirs.weight.grad)
        agree(by_weight["bias"], theirs.bias.grad)
    agree(state["mean"], theirs.running_mean)
    agree(state["var"], theirs.running_var)
    theirs.eval()
    x = normal(shape, 20)
    ours, same = run_layer(layer, x, params=weights, state=state)
    agree(ours, last(theirs(torch.tensor(x).movedim(-1, 1))))
    agree(same["mean"], theirs.running_mean)


@pytest.mark.parametrize("shape", SHAPES)
def test_textbook_normalisation_layer_norm(shape):
    x = 3 * normal(shape) + 1
    same_function(layer_of({"layer_norm": {"epsilon": 1e-3}}), x, lambda x, w: F.layer_norm(
        x.movedim(1, -1), x.shape[1:2], w["scale"], w["bias"], 1e-3).movedim(-1, 1))  # fmt: skip
    same_function(layer_of({"layer_norm": {"over": "all"}}), x, lambda x, w: F.layer_norm(
        x.movedim(1, -1), shape[1:], w["scale"], w["bias"]).movedim(-1, 1))  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_textbook_normalisation_group_norm(groups, shape):
    if len(shape) == 2 and groups == 6:
        return  # one value per group, which PyTorch refuses
    same_function(layer_of({"group_norm": {"groups": groups, "epsilon": 1e-3}}), 3 * normal(shape) + 1,
                  lambda x, w: F.group_norm(x, groups, w["scale"], w["bias"], 1e-3))  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_textbook_normalisation_rms_norm(shape):
    same_function(layer_of("rms_norm"), 3 * normal(shape) + 1,
                  lambda x, w: F.rms_norm(x.movedim(1, -1), x.shape[1:2], w["scale"], 1e-6).movedim(-1, 1))  # fmt: skip


@pytest.mark.parametrize("n", [1, 4, 5, 20])
def test_textbook_normalisation_local_response(n):
    settings = {"n": n, "k": 1.5, "alpha": 0.7, "beta": 0.6}
    same_function(layer_of({"lrn": settings}), 2 * normal((2, 5, 3, 7)),
                  lambda x, w: F.local_response_norm(x, n, 0.7, 0.6, 1.5))  # fmt: skip


def test_textbook_normalisation_local_response_as_it_stands_is_alexnets():
    x = 20 * normal((1, 2, 2, 9))
    ours = apply("lrn", x)
    for c in range(9):
        total = np.square(x[..., max(0, c - 2) : c + 3]).sum(-1)
        agree(ours[..., c], x[..., c] / (2 + 1e-4 * total) ** 0.75)


@pytest.mark.parametrize("written", ["batch_norm", "layer_norm", {"group_norm": 3}, "rms_norm", "lrn"])
def test_statistics_are_float32_whatever_comes(written):
    layer = layer_of(written)
    x = (300 + normal((4, 5, 5, 6))).astype(jax.numpy.bfloat16)  # bfloat16 keeps 8 bits: sums of it would drift
    params, state = init_layer(layer, x.shape[1:])
    ours, _ = run_layer(layer, x, params=params, state=state, train=True)
    exact, _ = run_layer(layer, x.astype(np.float32), params=params, state=state, train=True)
    assert ours.dtype == x.dtype
    agree(np.asarray(ours, np.float32), exact, tolerance=2**-8)
