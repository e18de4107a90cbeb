"""Whole networks against PyTorch, weights carried across by name: outputs and every gradient."""

import jax
import pytest

from cnncli.config.reader import read_value
from cnncli.model import Weights
from tests.helpers.layers import network, normal, random_weights
from tests.helpers.networks import jit
from tests.helpers.pytorch import agree, kernel_first, torch

F = torch.nn.functional

LENET = """\
- conv: {filters: 6, kernel: 5}
- tanh
- avg_pool: 2
- conv: {filters: 16, kernel: 5}
- tanh
- avg_pool: 2
- fc: 120
- tanh
- fc: 84
- tanh
- fc: 10
- softmax
"""

RESIDUAL = """\
- conv: {filters: 4, padding: same, bias: false}
- batch_norm
- relu
- residual:
    layers:
      - conv: {filters: 6, stride: 2, padding: 1, bias: false}
      - batch_norm
      - relu
      - conv: {filters: 6, padding: same, bias: false}
      - batch_norm
    shortcut: [max_pool: {kernel: 1, stride: 2}, pad_channels: 6]
- relu
- repeat: {times: 2, layers: [residual: [{conv: {filters: 6, padding: same, groups: 2}}, leaky_relu]]}
- global_avg_pool
- fc: 3
"""

INCEPTION = """\
- conv: {filters: 4, kernel: 3, stride: 2}
- relu
- lrn: {n: 3, alpha: 0.1}
- branches:
    - [{conv: {filters: 2, kernel: 1}}, relu]
    - [{conv: {filters: 2, kernel: 1}}, relu, {conv: {filters: 3, kernel: 3, padding: same}}, relu]
    - [{max_pool: {kernel: 3, stride: 1, padding: same}}, {conv: {filters: 2, kernel: 1}}, relu]
  name: mixed
- max_pool: {kernel: 3, stride: 2, rounding: ceil}
- conv_transpose: {filters: 5, kernel: 2, stride: 2}
- fc: 4
- softmax
"""


def conv(x, w, name, **settings):
    return F.conv2d(x, kernel_first(w[f"{name}.kernel"]), w.get(f"{name}.bias"), **settings)


def fc(x, w, name):
    return F.linear(x.movedim(1, -1).flatten(1), w[f"{name}.kernel"].T, w[f"{name}.bias"])


def norm(x, w, name):
    return F.batch_norm(x, None, None, w[f"{name}.scale"], w[f"{name}.bias"], training=True)


def lenet(x, w):
    for name in ("conv1", "conv2"):
        x = F.avg_pool2d(torch.tanh(conv(x, w, name)), 2)
    for name in ("fc1", "fc2"):
        x = torch.tanh(fc(x, w, name))
    return F.softmax(fc(x, w, "fc3"), 1)


def residual(x, w):
    x = F.relu(norm(conv(x, w, "conv1", padding=1), w, "batch_norm1"))
    y = F.relu(norm(conv(x, w, "residual1.conv1", stride=2, padding=1), w, "residual1.batch_norm1"))
    y = norm(conv(y, w, "residual1.conv2", padding=1), w, "residual1.batch_norm2")
    x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))
    for copy in (1, 2):
        x = x + F.leaky_relu(conv(x, w, f"repeat1.{copy}.residual1.conv1", padding=1, groups=2))
    return fc(x.mean((2, 3)), w, "fc1")


def inception(x, w):
    x = F.local_response_norm(F.relu(conv(x, w, "conv1", stride=2)), 3, 0.1, 0.75, 2.0)
    one = F.relu(conv(x, w, "mixed.conv1"))
    three = F.relu(conv(F.relu(conv(x, w, "mixed.conv2")), w, "mixed.conv3", padding=1))
    pooled = F.relu(conv(F.max_pool2d(x, 3, 1, 1), w, "mixed.conv4"))
    x = F.max_pool2d(torch.cat([one, three, pooled], 1), 3, 2, ceil_mode=True)
    kernel = w["conv_transpose1.kernel"].movedim((2, 3), (0, 1)).contiguous()
    return F.softmax(fc(F.conv_transpose2d(x, kernel, w["conv_transpose1.bias"], 2), w, "fc1"), 1)


@pytest.mark.parametrize(
    ("yaml", "theirs", "shape", "params"),
    [
        (LENET, lenet, (32, 32, 1), 61_706),
        (RESIDUAL, residual, (8, 8, 3), 1_037),
        (INCEPTION, inception, (15, 13, 2), 1_032),
    ],
    ids=["lenet5", "residual", "inception"],
)
def test_network_is_pytorchs(yaml, theirs, shape, params):
    model = network(*read_value(yaml, "network").plain(), shape=shape)
    assert model.graph.params == params
    weights, x = random_weights(model.graph), normal((4, *shape))
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in weights.params.items()}
    leaf = torch.tensor(x, requires_grad=True)
    expected = theirs(leaf.movedim(-1, 1), leaves)
    pull = normal(expected.shape, 1)
    expected.backward(torch.tensor(pull))

    @jit
    def run(params, x):
        key = jax.random.key(0)  # training: batch statistics
        y, back = jax.vjp(lambda p, x: model.apply(Weights(p, weights.state), x, key=key)[0], params, x)
        return y, back(pull)

    y, (by_weight, by_input) = run(weights.params, x)
    agree(y, expected)
    agree(by_input, leaf.grad, "gradient of the input")
    assert by_weight.keys() == leaves.keys()
    for name, gradient in by_weight.items():
        agree(gradient, leaves[name].grad, f"gradient of {name}")
