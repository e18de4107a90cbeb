"""Every activation against PyTorch: values and gradients."""

import numpy as np
import pytest

from cnncli.layers import LAYERS
from cnncli.layers.activation import Activation
from tests.helpers.layers import layer_of, normal
from tests.helpers.pytorch import same_function, torch

F = torch.nn.functional
PAIRS = [
    ("linear", lambda x: x),
    ("sigmoid", torch.sigmoid),
    ("hard_sigmoid", F.hardsigmoid),
    ("tanh", torch.tanh),
    ("hard_tanh", F.hardtanh),
    ("scaled_tanh", lambda x: 1.7159 * torch.tanh(2 * x / 3)),
    ({"scaled_tanh": {"amplitude": 2.0, "slope": 0.5}}, lambda x: 2 * torch.tanh(x / 2)),
    ("relu", F.relu),
    ("leaky_relu", F.leaky_relu),
    ({"leaky_relu": 0.3}, lambda x: F.leaky_relu(x, 0.3)),
    ("elu", F.elu),
    ({"elu": 0.4}, lambda x: F.elu(x, 0.4)),
    ("selu", F.selu),
    ("softplus", F.softplus),
    ("gelu", F.gelu),
    ({"gelu": {"approximate": True}}, lambda x: F.gelu(x, approximate="tanh")),
    ("swish", F.silu),
    ({"swish": 2.5}, lambda x: x * torch.sigmoid(2.5 * x)),
    ("hard_swish", F.hardswish),
    ("softmax", lambda x: F.softmax(x, 1)),
    ({"sign": {"straight_through": True}}, lambda x: torch.sign(x) + F.hardtanh(x) - F.hardtanh(x).detach()),
    ({"hardlim": {"straight_through": True}}, lambda x: (x > 0) + F.hardtanh(x) - F.hardtanh(x).detach()),
    ({"maxout": 3}, lambda x: x.unflatten(1, (-1, 3)).amax(2)),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda each: str(each) if not callable(each) else "")
def test_textbook_activations_are_pytorchs(ours, theirs):
    same_function(layer_of(ours), 3 * normal((3, 4, 5, 6)), lambda x, w: theirs(x))


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (3, 6)])
def test_textbook_activations_prelu(shape):
    same_function(layer_of("prelu"), normal(shape), lambda x, w: F.prelu(x, w["slope"]))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda each: str(each) if not callable(each) else "")
def test_textbook_activations_far_out_stay_finite(ours, theirs):
    x = np.array([[-1e4, -90.0, -1e-6, 1e-6, 90.0, 1e4]], np.float32)
    same_function(layer_of(ours), x, lambda x, w: theirs(x))


def test_textbook_activations_are_all_here():
    compared = {layer_of(each).kind for each, _ in PAIRS}
    assert {layer.kind for layer in LAYERS if issubclass(layer, Activation)} <= compared
