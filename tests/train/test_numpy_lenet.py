"""One full LeNet training step, forward to update, against NumPy written out by hand."""

import jax.numpy as jnp
import numpy as np

from cnncli.config.load import load
from cnncli.model import Model
from cnncli.train.step import LearningRate, TrainData, init_state, init_weights, make_optimizer, make_train_steps

LENET = """\
data: {source: {inline: {inputs: [[0], [1]], labels: [0, 1]}}}
model:
  input: [32, 32, 1]
  layers: [{conv: {filters: 6, kernel: 5}}, tanh, {avg_pool: 2}, {conv: {filters: 16, kernel: 5}}, tanh, {avg_pool: 2},
           {fc: 120}, tanh, {fc: 84}, tanh, {fc: 10}, softmax]
train: {batch_size: 4, optimizer: {sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.01}}}
"""


def conv(x, w, b):
    """(B, H, W, C) with (k, k, C, F): every window times every kernel."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], (1, 2))  # (B, H', W', C, k, k)
    return np.einsum("bhwcij,ijcf->bhwf", windows, w) + b


def conv_back(x, w, g):
    """Gradients of input, kernel and bias for the output's gradient ``g``."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], (1, 2))
    dw = np.einsum("bhwcij,bhwf->ijcf", windows, g)
    dx = np.zeros_like(x)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            dx[:, i : i + g.shape[1], j : j + g.shape[2]] += g @ w[i, j].T
    return dx, dw, g.sum((0, 1, 2))


def pool(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def pool_back(g):
    return g.repeat(2, 1).repeat(2, 2) / 4


def numpy_step(p, x, labels):
    """Loss and the gradient of every parameter."""
    a1 = np.tanh(conv(x, p["conv1.kernel"], p["conv1.bias"]))
    s2 = pool(a1)
    a3 = np.tanh(conv(s2, p["conv2.kernel"], p["conv2.bias"]))
    flat = pool(a3).reshape(len(x), -1)
    a5 = np.tanh(flat @ p["fc1.kernel"] + p["fc1.bias"])
    a6 = np.tanh(a5 @ p["fc2.kernel"] + p["fc2.bias"])
    z = a6 @ p["fc3.kernel"] + p["fc3.bias"]
    e = np.exp(z - z.max(1, keepdims=True))
    prob = e / e.sum(1, keepdims=True)
    loss = -np.log(prob[np.arange(len(x)), labels]).mean()
    g = {}
    dz = (prob - np.eye(10)[labels]) / len(x)  # softmax with cross-entropy: p - y
    for name, below, above in (("fc3", a6, dz), ("fc2", a5, None), ("fc1", flat, None)):
        above = dz if above is None else above
        g[f"{name}.kernel"], g[f"{name}.bias"] = below.T @ above, above.sum(0)
        dz = above @ p[f"{name}.kernel"].T
        if name != "fc1":
            dz = dz * (1 - below**2)
    d = pool_back(dz.reshape(len(x), 5, 5, 16)) * (1 - a3**2)
    d, g["conv2.kernel"], g["conv2.bias"] = conv_back(s2, p["conv2.kernel"], d)
    d = pool_back(d) * (1 - a1**2)
    _, g["conv1.kernel"], g["conv1.bias"] = conv_back(x, p["conv1.kernel"], d)
    return loss, g


def test_textbook_training_step_of_lenet_equals_numpy(tmp_path):
    (tmp_path / "lenet.yaml").write_text(LENET)
    # Only the network and the optimizer are used; the data's shape is that of the arrays below.
    text = LENET.replace(
        "data: {source: {inline: {inputs: [[0], [1]], labels: [0, 1]}}}", "data: {source: {npz: none.npz}}"
    )
    (tmp_path / "lenet.yaml").write_text(text)
    loaded = load(tmp_path / "lenet.yaml")
    model = Model(loaded.graph)
    optimizer = make_optimizer(loaded.config, model, LearningRate(loaded.config.train, 1, 10))
    state = init_state(loaded.config, optimizer, init_weights(loaded.config, model))
    random = np.random.default_rng(0)
    images = random.standard_normal((4, 32, 32, 1)).astype(np.float32)
    labels = random.integers(0, 10, 4).astype(np.int32)
    mine = {name: np.asarray(array, np.float64) for name, array in state.params.items()}
    momentum = {name: np.zeros_like(array) for name, array in mine.items()}
    data = TrainData(jnp.asarray(images), jnp.asarray(labels), {})
    run = make_train_steps(loaded.config, model, optimizer, 10)
    for _ in range(2):
        state, out = run(state, data, jnp.arange(4, dtype=jnp.int32)[None])
        loss, gradient = numpy_step(mine, images.astype(np.float64), labels)
        np.testing.assert_allclose(out["loss"][0], loss, rtol=1e-5)
        for name in mine:
            decay = 0.01 * mine[name] if name.endswith("kernel") else 0
            momentum[name] = 0.9 * momentum[name] + gradient[name] + decay
            mine[name] = mine[name] - 0.1 * momentum[name]
            np.testing.assert_allclose(state.params[name], mine[name], rtol=1e-4, atol=1e-6, err_msg=name)
