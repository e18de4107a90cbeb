"""Layers in bfloat16 against PyTorch's in float64: what is added up is added up in float32, on every path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.layers import layer_of, normal, random_weight, run_layer
from tests.helpers.networks import jit
from tests.helpers.pytorch import kernel_first, last, torch

F = torch.nn.functional
ONCE_OR_TWICE, OFTEN = 2**-8, 2**-7  # of the largest value: a rounding is half of the first


def channels_last(function):
    return lambda x, w: function(x.movedim(1, -1), w).movedim(-1, 1)


def unshared(x, w):
    patches = x.unfold(2, 2, 1).unfold(3, 2, 1)  # (B, C, H', W', 2, 2)
    return torch.einsum("bchwij,hwijcf->bfhw", patches, w["kernel"]) + w["bias"].movedim(-1, 0)


CASES = {
    "conv": ({"conv": 4}, (12, 12, 3), lambda x, w: F.conv2d(x, kernel_first(w["kernel"]), w["bias"])),
    "edge": (
        {"conv": {"filters": 2, "kernel": 7, "padding": "same", "padding_mode": "edge"}}, (9, 9, 3),
        lambda x, w: F.conv2d(F.pad(x, (3, 3, 3, 3), "replicate"), kernel_first(w["kernel"]), w["bias"]),
    ),
    "conv_transpose": (
        {"conv_transpose": {"filters": 4, "kernel": 2, "stride": 2}}, (8, 8, 3),
        lambda x, w: F.conv_transpose2d(x, w["kernel"].movedim((2, 3), (0, 1)), w["bias"], 2),
    ),
    "locally_connected": ({"locally_connected": {"filters": 2, "kernel": 2}}, (5, 5, 3), unshared),
    "fc": ({"fc": 5}, (7,), lambda x, w: x @ w["kernel"] + w["bias"]),
    "prelu": ("prelu", (12, 12, 3), lambda x, w: F.prelu(x, w["slope"])),
    "subsample": (
        {"subsample": 2}, (12, 12, 3),
        lambda x, w: F.avg_pool2d(x, 2) * w["coefficient"][:, None, None] + w["bias"][:, None, None],
    ),
    "max_pool": ({"max_pool": {"kernel": 5, "stride": 1}}, (9, 9, 3), lambda x, w: F.max_pool2d(x, 5, 1)),
    "avg_pool": ({"avg_pool": {"kernel": 5, "stride": 1}}, (9, 9, 3), lambda x, w: F.avg_pool2d(x, 5, 1)),
    "global_avg_pool": ("global_avg_pool", (20, 20, 3), lambda x, w: x.mean((2, 3))),
    "upsample": ({"upsample": 8}, (3, 3, 3), lambda x, w: F.interpolate(x, scale_factor=8)),
    "bilinear": (
        {"upsample": {"scale": 8, "method": "bilinear"}}, (3, 3, 3),
        lambda x, w: F.interpolate(x, scale_factor=8, mode="bilinear"),
    ),
    "batch_norm": ("batch_norm", (12, 12, 3), lambda x, w: F.batch_norm(x, None, None, w["scale"], w["bias"], True)),
    "layer_norm": ("layer_norm", (12, 12, 6), channels_last(lambda x, w: F.layer_norm(x, (6,), w["scale"], w["bias"]))),
    "group_norm": ({"group_norm": 2}, (12, 12, 4), lambda x, w: F.group_norm(x, 2, w["scale"], w["bias"])),
    "rms_norm": ("rms_norm", (12, 12, 6), channels_last(lambda x, w: F.rms_norm(x, (6,), w["scale"], 1e-6))),
    "lrn": ("lrn", (6, 6, 9), lambda x, w: F.local_response_norm(x, 5, 5e-4, 0.75, 2.0)),
}  # fmt: skip
ON_KERNELS = ("conv", "edge", "max_pool", "batch_norm", "lrn")


def rounded(array):
    """Numbers that bfloat16 holds."""
    return array.astype(jnp.bfloat16).astype(np.float32)


def hold(ours, theirs, what, tolerance=ONCE_OR_TWICE):
    ours, theirs = np.asarray(ours, np.float64), theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max(), err_msg=what)


@pytest.mark.parametrize(
    ("name", "xla"), [*((name, True) for name in CASES), *((name, False) for name in ON_KERNELS)]
)  # fmt: skip
def test_sums_are_float32(name, xla, monkeypatch):
    written, shape, function = CASES[name]
    if xla:
        monkeypatch.setattr("cnncli.native.library.takes", lambda x: False)
    layer, x = layer_of(written), rounded(normal((64, *shape)))
    declared = layer.resolve(shape).weights.items()
    weights = {key: rounded(random_weight(each, seed)) for seed, (key, each) in enumerate(declared) if not each.state}
    state = {key: np.ones(each.shape, np.float32) for key, each in declared if each.state}
    leaves = {key: torch.tensor(array, dtype=torch.float64, requires_grad=True) for key, array in weights.items()}
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    expected = last(function(leaf.movedim(-1, 1), leaves))
    pull = rounded(0.5 + np.abs(normal(expected.shape, 7)))  # of one sign: their sums grow
    expected.backward(torch.tensor(pull, dtype=torch.float64))

    @jit
    def run(weights, x, pull):
        y, back = jax.vjp(lambda w, x: run_layer(layer, x, params=w, state=state, train=True)[0], weights, x)
        return y, back(pull)

    y, (by_weight, by_input) = run(weights, x.astype(jnp.bfloat16), pull.astype(jnp.bfloat16))
    assert y.dtype == by_input.dtype == jnp.bfloat16
    hold(by_input, leaf.grad, "grad of the input")
    for key, grad in by_weight.items():
        hold(grad, leaves[key].grad, f"grad of {key}")
    hold(y, expected, "output", OFTEN)  # product, bias and their sum


def test_a_gates_grad_is_a_float32_sum_over_its_map():
    x, pull = rounded(normal((4, 16, 16, 3))), rounded(0.5 + np.abs(normal((4, 16, 16, 3), 1)))
    gate = rounded(normal((4, 3), 2))
    layer = layer_of({"multiply": None})
    arrays = [each.astype(jnp.bfloat16) for each in (x, gate, pull)]

    @jit
    def run(x, gate, pull):
        return jax.vjp(lambda *both: run_layer(layer, *both)[0], x, gate)[1](pull)

    by_map, by_gate = run(*arrays)
    hold(by_gate, torch.tensor((np.float64(pull) * x).sum((1, 2))), "grad of the gate")
    hold(by_map, torch.tensor(np.float64(pull) * gate[:, None, None]), "grad of the map")
