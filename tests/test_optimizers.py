"""Steps of training against PyTorch's optimizers, on a network from YAML."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnncli.optimizers import Optimizers
from cnncli.train.step import LearningRate, TrainData, init_state, init_weights, make_optimizer, make_train_steps
from tests.helpers.networks import jit, network

LAYERS = "[{fc: 3}, tanh, {fc: 2}, softmax]"
STEPS, TOTAL = 5, 10
random = np.random.default_rng(0)
X = random.normal(size=(12, 4)).astype(np.float32)
Y = random.integers(0, 2, 12).astype(np.int32)
ROWS = random.integers(0, 12, (STEPS, 4)).astype(np.int32)


def states(folder, train):
    """The state before and after each of ``STEPS`` steps, each step a call of its own."""
    loaded, model = network(folder, LAYERS, train)
    optimizer = make_optimizer(loaded.config, model, LearningRate(loaded.config.train, 3, TOTAL))
    run = jit(make_train_steps(loaded.config, model, optimizer, 2))
    found = [init_state(loaded.config, optimizer, init_weights(loaded.config, model))]
    for rows in ROWS:
        found.append(run(found[-1], TrainData(jnp.asarray(X), jnp.asarray(Y), {}), rows[None])[0])
    return found


class Theirs:
    """The same network in PyTorch: ``step(rows)`` changes ``params``."""

    def __init__(self, torch, params, make, decay=0.0, clip=None):
        self.torch, self.clip = torch, clip
        self.params = {name: torch.tensor(np.asarray(array), requires_grad=True) for name, array in params.items()}
        kernels = [array for name, array in self.params.items() if name.endswith("kernel")]
        biases = [array for name, array in self.params.items() if name.endswith("bias")]
        groups = [{"params": kernels, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
        self.optimizer = make(torch.optim, groups)

    def step(self, rows):
        torch, p = self.torch, self.params
        hidden = torch.tanh(torch.tensor(X[rows]) @ p["fc1.kernel"] + p["fc1.bias"])
        outputs = hidden @ p["fc2.kernel"] + p["fc2.bias"]
        self.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(outputs, torch.tensor(Y[rows]).long()).backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(list(p.values()), self.clip)
        self.optimizer.step()


def hold(found, theirs):
    for state, rows in zip(found[1:], ROWS, strict=True):
        theirs.step(rows)
        for name, array in theirs.params.items():
            np.testing.assert_allclose(state.params[name], array.detach(), rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    "fields",
    [{}, {"momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05}],
    ids=str,
)  # fmt: skip
def test_sgd(torch, tmp_path, fields):
    written = ", ".join(f"{key}: {str(value).lower()}" for key, value in fields.items())
    found = states(tmp_path, f"optimizer: {{sgd: {{lr: 0.5, {written}}}}}")
    options = {key: value for key, value in fields.items() if key != "weight_decay"}
    hold(found, Theirs(torch, found[0].params, lambda o, groups: o.SGD(groups, 0.5, **options),
                       decay=fields.get("weight_decay", 0.0)))  # fmt: skip


@pytest.mark.parametrize(
    ("written", "name", "options", "decay"),
    [
        ("adam: {lr: 0.02, b1: 0.8, b2: 0.95, eps: 0.001}", "Adam", {"betas": (0.8, 0.95), "eps": 1e-3}, 0.0),
        ("adamw: {lr: 0.02, weight_decay: 0.3}", "AdamW", {}, 0.3),
    ],
)
def test_adam_and_adamw_of_optax_with_biases_exempt(torch, tmp_path, written, name, options, decay):
    found = states(tmp_path, f"optimizer: {{{written}}}")
    make = lambda optim, groups: getattr(optim, name)(groups, lr=0.02, **options)  # noqa: E731
    hold(found, Theirs(torch, found[0].params, make, decay))


@pytest.mark.parametrize(
    ("written", "name", "options", "decay"),
    [
        ("adamw: {lr: 0.02, weight_decay: 0.01}", "AdamW", {}, 0.01),
        ("rmsprop: {lr: 0.02, decay: 0.99, eps_in_sqrt: false}", "RMSprop", {}, 0.0),
        ("adagrad: {lr: 0.02, initial_accumulator_value: 0, eps: 1e-10}", "Adagrad", {}, 0.0),
        ("nadam: 0.02", "NAdam", {"momentum_decay": 1e9}, 0.0),  # a b1 that grows at once is constant
        ("nadamw: {lr: 0.02, weight_decay: 0.3}", "NAdam",
         {"momentum_decay": 1e9, "decoupled_weight_decay": True}, 0.3),
    ],
)  # fmt: skip
def test_what_differs_from_pytorch_by_the_reference_makes_them_equal(torch, tmp_path, written, name, options, decay):
    found = states(tmp_path, f"optimizer: {{{written}}}")
    make = lambda optim, groups: getattr(optim, name)(groups, lr=0.02, **options)  # noqa: E731
    hold(found, Theirs(torch, found[0].params, make, decay))


def test_radam_is_pytorchs_within_the_rounding_that_the_reference_names(torch):
    """About 1 % of the first rectified steps in float32 (1.2 % measured); nothing in float64."""
    grads = np.random.default_rng(5).normal(size=(12, 3))
    theirs, expected = torch.zeros(3, dtype=torch.float64, requires_grad=True), []
    optimizer = torch.optim.RAdam([theirs], lr=1.0)
    for grad in grads:
        theirs.grad = torch.tensor(grad)
        optimizer.step()
        expected.append(theirs.detach().numpy().copy())
    for kind, tolerance in ((jnp.float32, 0.015), (jnp.float64, 1e-6)):
        with jax.enable_x64(kind == jnp.float64), jax.numpy_dtype_promotion("standard"):
            transform = Optimizers()["radam"].from_yaml({"radam": 1.0}).build(lambda count: 1.0, None)
            params, found = jnp.zeros(3, kind), [np.zeros(3)]
            state = transform.init(params)
            for grad in grads:
                updates, state = transform.update(jnp.asarray(grad, kind), state, params)
                params = params + updates
                found.append(np.asarray(params))
        steps = np.diff(np.stack([np.zeros(3), *expected]), axis=0)
        np.testing.assert_allclose(np.diff(found, axis=0), steps, rtol=tolerance, atol=1e-6)


def test_the_schedule_sets_the_rate_of_each_step(torch, tmp_path):
    found = states(tmp_path, "optimizer: {sgd: {lr: 0.5, momentum: 0.9}}, schedule: cosine")
    theirs = Theirs(torch, found[0].params, lambda o, groups: o.SGD(groups, 0.5, momentum=0.9))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(theirs.optimizer, TOTAL)
    for state, rows in zip(found[1:], ROWS, strict=True):
        theirs.step(rows)
        scheduler.step()
        for name, array in theirs.params.items():
            np.testing.assert_allclose(state.params[name], array.detach(), rtol=2e-5, atol=2e-6, err_msg=name)


def test_clip_norm_shortens_long_gradients_and_leaves_short_ones(torch, tmp_path):
    lengths = []
    for clip in (0.1, 100.0):
        found = states(tmp_path, f"optimizer: {{sgd: 0.5}}, clip_norm: {clip}")
        hold(found, Theirs(torch, found[0].params, lambda o, groups: o.SGD(groups, 0.5), clip=clip))
        before, after = (state.params for state in found[:2])
        lengths.append(np.sqrt(sum(((after[name] - before[name]) ** 2).sum() for name in before)) / 0.5)
    assert lengths[0] == pytest.approx(0.1, rel=1e-4)
    assert 0.1 < lengths[1] < 100


def test_ema_is_the_moving_average_of_the_weights_and_what_ships(tmp_path):
    found = states(tmp_path, "optimizer: {sgd: 0.5}, ema: 0.8")
    plain = states(tmp_path, "optimizer: {sgd: 0.5}")
    average = {name: np.asarray(array, np.float64) for name, array in found[0].params.items()}
    for state, other in zip(found[1:], plain[1:], strict=True):
        for name in average:
            average[name] = 0.8 * average[name] + 0.2 * np.asarray(state.params[name])
            np.testing.assert_allclose(state.ema_params[name], average[name], rtol=1e-5, atol=1e-7)
            np.testing.assert_array_equal(state.params[name], other.params[name])  # it does not feed back
        assert state.eval_weights.params is state.ema_params
        assert other.eval_weights.params is other.params


def test_decay_touches_kernels_only(tmp_path):
    _, model = network(tmp_path, "[{conv: 2}, batch_norm, prelu, {fc: 2}]", input="[8, 8, 1]")
    decays = model.decays(model.init(jax.random.key(0)).params)
    assert {name for name, decayed in decays.items() if decayed} == {"conv1.kernel", "fc1.kernel"}
    assert {"conv1.bias", "batch_norm1.scale", "batch_norm1.bias", "fc1.bias"} <= decays.keys()


def test_one_call_of_many_steps_is_many_calls_of_one(tmp_path):
    found = states(tmp_path, "optimizer: {sgd: {lr: 0.5, momentum: 0.9}}, schedule: cosine")
    loaded, model = network(tmp_path, LAYERS, "optimizer: {sgd: {lr: 0.5, momentum: 0.9}}, schedule: cosine")
    optimizer = make_optimizer(loaded.config, model, LearningRate(loaded.config.train, 3, TOTAL))
    run = jit(make_train_steps(loaded.config, model, optimizer, 2))
    state = init_state(loaded.config, optimizer, init_weights(loaded.config, model))
    end, out = run(state, TrainData(jnp.asarray(X), jnp.asarray(Y), {}), ROWS)
    assert out["loss"].shape == out["correct"].shape == (STEPS,)
    assert end.step == STEPS
    for name, array in end.params.items():
        np.testing.assert_allclose(array, found[-1].params[name], rtol=1e-5, atol=1e-7)
