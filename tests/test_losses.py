"""Losses against PyTorch, the published formulas, and what must hold of any loss."""

import inspect
import re
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cnncli.config.reader import read_value
from cnncli.data.splits import ArraySplit, Dataset
from cnncli.losses import LOSSES, AnyLoss, BinaryCrossEntropy, CrossEntropy, Focal, Hinge, MeanSquaredError, RbfMap
from cnncli.train.prepare import class_weights
from cnncli.train.step import Targets, make_loss_fn
from tests.helpers.networks import jit, network

B, C = 9, 5  # one shape throughout: each loss compiles once
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)
ALL = [CrossEntropy(), CrossEntropy(label_smoothing=0.1), MeanSquaredError(), BinaryCrossEntropy(), Hinge(),
       Focal(), Focal(gamma=0.5), Focal(gamma=0.0), RbfMap()]  # fmt: skip
ONE_OUTPUT = [MeanSquaredError(), BinaryCrossEntropy(), Hinge()]
every_loss = pytest.mark.parametrize("loss", ALL, ids=lambda loss: str(loss.to_yaml()))


def batch(seed, classes=C, width=C):
    random = np.random.default_rng(seed)
    outputs = random.normal(0, 3, (B, width)).astype(np.float32)
    return outputs, random.integers(0, classes, B).astype(np.int32)


@partial(jit, static_argnums=(0, 3))
def _mine(loss, outputs, labels, classes):
    each = loss.per_example(outputs, labels, classes)
    assert each.shape == (len(labels),)
    assert each.dtype == jnp.float32
    return each, jax.grad(lambda z: loss.per_example(z, labels, classes).sum())(outputs)


def mine(loss, outputs, labels, classes=C):
    """Loss of each example, and the gradient of their sum."""
    return _mine(loss, outputs, labels, classes)


def one_hot(torch, y):
    return torch.nn.functional.one_hot(y, C).double()


def focal(torch, z, y, gamma):
    p = torch.softmax(z, -1)[torch.arange(len(y)), y]
    return -((1 - p) ** gamma) * torch.log(p)


def rbf_map(torch, z, y, j):
    """LeCun et al. 1998, equation 9: the RBF units give distances D = -z."""
    distances = -z
    return distances[torch.arange(len(y)), y] + torch.log(np.exp(-j) + torch.exp(-distances).sum(-1))


FORMULAS = {
    "cross_entropy": (CrossEntropy(), lambda t, z, y: t.nn.CrossEntropyLoss(reduction="none")(z, y)),
    "label_smoothing": (
        CrossEntropy(label_smoothing=0.1),
        lambda t, z, y: t.nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)(z, y),
    ),
    "mse": (MeanSquaredError(), lambda t, z, y: t.nn.MSELoss(reduction="none")(z, one_hot(t, y)).mean(-1)),
    "binary_cross_entropy": (
        BinaryCrossEntropy(),
        lambda t, z, y: t.nn.BCEWithLogitsLoss(reduction="none")(z, one_hot(t, y)).mean(-1),
    ),
    "hinge": (Hinge(), lambda t, z, y: t.nn.MultiMarginLoss(reduction="none")(z, y)),
    "focal": (Focal(), lambda t, z, y: focal(t, z, y, 2)),
    "focal half": (Focal(gamma=0.5), lambda t, z, y: focal(t, z, y, 0.5)),
    "rbf_map": (RbfMap(j=0.7), lambda t, z, y: rbf_map(t, z, y, 0.7)),
}
ONE_OUTPUT_FORMULAS = {
    "mse": (MeanSquaredError(), lambda t, z, y: t.nn.MSELoss(reduction="none")(z[:, 0], y.double())),
    "binary_cross_entropy": (
        BinaryCrossEntropy(),
        lambda t, z, y: t.nn.BCEWithLogitsLoss(reduction="none")(z[:, 0], y.double()),
    ),
    "hinge": (
        Hinge(),
        lambda t, z, y: t.nn.HingeEmbeddingLoss(1.0, reduction="none")((2 * y - 1) * z[:, 0], -t.ones_like(y)),
    ),
}


def hold_to_torch(torch, loss, formula, outputs, labels, classes):
    each, slope = mine(loss, outputs, labels, classes)
    z = torch.tensor(outputs, dtype=torch.float64, requires_grad=True)
    theirs = formula(torch, z, torch.tensor(labels, dtype=torch.int64))
    theirs.sum().backward()
    np.testing.assert_allclose(each, theirs.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope, z.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
@few
@given(seed=seeds)
def test_values_and_gradients_are_those_of_pytorch(torch, name, seed):
    hold_to_torch(torch, *FORMULAS[name], *batch(seed), C)


@pytest.mark.parametrize("name", ONE_OUTPUT_FORMULAS)
@few
@given(seed=seeds)
def test_two_classes_with_one_output_are_those_of_pytorch(torch, name, seed):
    hold_to_torch(torch, *ONE_OUTPUT_FORMULAS[name], *batch(seed, classes=2, width=1), 2)


@few
@given(seed=seeds)
def test_the_gradient_of_softmax_cross_entropy_is_p_minus_y(seed):
    outputs, labels = batch(seed)
    expected = scipy.special.softmax(outputs, -1) - np.eye(C)[labels]
    np.testing.assert_allclose(mine(CrossEntropy(), outputs, labels)[1], expected, atol=1e-6)


def test_focal_with_gamma_0_is_cross_entropy():
    outputs, labels = batch(0)
    for one, other in zip(mine(Focal(gamma=0.0), outputs, labels), mine(CrossEntropy(), outputs, labels), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def huge(width):
    """Outputs of -1e4, 0 and 1e4 in every arrangement of the first two."""
    levels = np.array([-1e4, 0, 1e4], np.float32)
    pairs = np.stack(np.meshgrid(levels, levels), -1).reshape(-1, 2)
    return np.pad(pairs, ((0, 0), (0, max(width - 2, 0))))[:, :width]


@every_loss
@pytest.mark.parametrize("label", [0, 1])
def test_outputs_of_ten_thousand_give_finite_losses_and_gradients(loss, label):
    outputs = huge(C)
    each, slope = mine(loss, outputs, np.full(len(outputs), label, np.int32))
    assert np.isfinite(each).all()
    assert np.isfinite(slope).all()
    assert (each >= 0).all() or isinstance(loss, RbfMap)


def test_the_entropy_of_a_hopeless_answer_is_its_distance():
    outputs, labels = np.tile(np.float32([1e4, -1e4, 0, 0, 0]), (B, 1)), np.ones(B, np.int32)
    assert mine(CrossEntropy(), outputs, labels)[0][0] == 2e4
    assert mine(Focal(), outputs, labels)[0][0] == 2e4
    assert mine(BinaryCrossEntropy(), outputs, labels)[0][0] == pytest.approx((2e4 + 3 * np.log(2)) / 5)


@pytest.mark.parametrize("loss", ONE_OUTPUT, ids=lambda loss: loss.kind)
@pytest.mark.parametrize("label", [0, 1])
def test_one_output_of_ten_thousand(loss, label):
    outputs = huge(1)
    each, slope = mine(loss, outputs, np.full(len(outputs), label, np.int32), 2)
    assert np.isfinite(each).all()
    assert np.isfinite(slope).all()


@every_loss
@few
@given(seed=seeds, scale=st.sampled_from([1e-3, 1.0, 30.0, 1e4]), shift=st.sampled_from([0.0, -1e2, 1e2]))
@example(seed=0, scale=1.0, shift=-1e2)
def test_probabilities_sum_to_one_and_keep_the_order(loss, seed, scale, shift):
    outputs = (batch(seed)[0] * np.float32(scale) + np.float32(shift)).astype(np.float32)
    p = np.asarray(loss.probabilities(outputs))
    assert p.shape == outputs.shape
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    if loss.kind != "binary_cross_entropy" or outputs.max() < 10:  # sigmoids end at 1
        np.testing.assert_array_equal(p.argmax(-1), outputs.argmax(-1))


@pytest.mark.parametrize("loss", ONE_OUTPUT, ids=lambda loss: loss.kind)
def test_one_output_gives_the_second_class_its_probability(loss):
    outputs = np.array([[-1e4], [-2.0], [0.2], [0.8], [3.0], [1e4]], np.float32)
    p = np.asarray(loss.probabilities(outputs))
    np.testing.assert_allclose(p.sum(-1), 1)
    expected = np.clip(outputs, 0, 1) if loss.kind == "mse" else scipy.special.expit(outputs)
    np.testing.assert_allclose(p[:, 1:], expected, rtol=1e-6, atol=1e-30)


def test_probabilities_of_independent_questions_are_their_sigmoids_scaled():
    outputs = batch(1)[0]
    yes = scipy.special.expit(outputs.astype(np.float64))
    np.testing.assert_allclose(BinaryCrossEntropy().probabilities(outputs), yes / yes.sum(-1, keepdims=True), rtol=1e-5)


def test_what_mse_trained_on_probabilities_gives_are_those_probabilities():
    p = scipy.special.softmax(batch(2)[0], -1)
    np.testing.assert_allclose(MeanSquaredError().probabilities(p), p, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("kind", "two", "five"),
    [("cross_entropy", (2,), (5,)), ("focal", (2,), (5,)), ("rbf_map", (2,), (5,)),
     ("mse", (2, 1), (5,)), ("binary_cross_entropy", (2, 1), (5,)), ("hinge", (2, 1), (5,))],
)  # fmt: skip
def test_widths(kind, two, five):
    loss = next(loss for loss in LOSSES if loss.kind == kind)
    made = loss()
    assert (made.widths(2), made.widths(5)) == (two, five)


@pytest.mark.parametrize(
    ("loss", "settings"),
    [(CrossEntropy, {"label_smoothing": 1.0}), (CrossEntropy, {"label_smoothing": -0.1}), (Focal, {"gamma": -1.0}),
     (RbfMap, {"j": 0.0})],
)  # fmt: skip
def test_settings_out_of_range_are_refused(loss, settings):
    with pytest.raises(ValidationError):
        loss(**settings)


@pytest.mark.parametrize("member", LOSSES, ids=lambda member: member.kind)
def test_the_example_in_the_docstring_reads_and_reads_back(member):
    read = TypeAdapter(AnyLoss).validate_python
    written = re.search("Example: `(.+?)`", inspect.getdoc(member))[1]
    loss = read(read_value(written, "example").plain())
    assert type(loss) is member
    assert read(loss.to_yaml()) == loss
    assert all(info.description for info in member.model_fields.values())


def objective_of(folder, layers, train, weights=None):
    """``value(params, x, targets)`` of a network whose parameters are also returned."""
    loaded, model = network(folder, layers, train)
    made = model.init(jax.random.key(1))
    classes = loaded.graph.output.shape[0]
    objective = make_loss_fn(loaded.config, model, classes, weights)

    def value(params, x, targets):
        return objective(params, made.state, x, targets, jax.random.key(0))

    return jit(jax.value_and_grad(value, has_aux=True)), made.params


X = np.random.default_rng(3).normal(size=(8, 4)).astype(np.float32)
Y = np.array([0, 0, 0, 1, 2, 2, 0, 1], np.int32)


def in_torch(torch, params, loss, x=X):
    """The same one-layer network's loss and gradients."""
    w = torch.tensor(np.asarray(params["fc1.kernel"]), dtype=torch.float64, requires_grad=True)
    b = torch.tensor(np.asarray(params["fc1.bias"]), dtype=torch.float64, requires_grad=True)
    value = loss(torch.tensor(x, dtype=torch.float64) @ w + b)
    value.backward()
    return value.item(), {"fc1.kernel": w.grad.numpy(), "fc1.bias": b.grad.numpy()}


def same(found, expected):
    (value, _), slope = found
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    for name, gradient in expected[1].items():
        np.testing.assert_allclose(slope[name], gradient, rtol=1e-4, atol=1e-6, err_msg=name)


def test_mse_after_softmax_is_taken_on_the_probabilities(torch, tmp_path):
    run, params = objective_of(tmp_path, "[{fc: 3}, softmax]", "loss: mse, optimizer: {sgd: 0.1}")
    target = torch.nn.functional.one_hot(torch.tensor(Y).long(), 3).double()
    expected = in_torch(torch, params, lambda z: ((torch.softmax(z, -1) - target) ** 2).mean())
    same(run(params, X, Targets(jnp.asarray(Y))), expected)


@pytest.mark.parametrize(
    ("last", "loss"), [("softmax", "cross_entropy"), ("softmax", "focal"), ("sigmoid", "binary_cross_entropy")]
)
def test_a_final_layer_whose_logits_the_loss_takes_changes_nothing(tmp_path, last, loss):
    train = f"loss: {loss}, optimizer: {{sgd: 0.1}}"
    run, params = objective_of(tmp_path, f"[{{fc: 3}}, {last}]", train)
    bare, _ = objective_of(tmp_path, "[{fc: 3}]", train)
    (value, (_, correct)), slope = run(params, X, Targets(jnp.asarray(Y)))
    (expected, (_, also)), gradient = bare(params, X, Targets(jnp.asarray(Y)))
    assert value == expected
    assert correct == also
    np.testing.assert_array_equal(slope["fc1.kernel"], gradient["fc1.kernel"])


def test_correct_counts_the_right_answers(tmp_path):
    run, params = objective_of(tmp_path, "[{fc: 3}]", "optimizer: {sgd: 0.1}")
    answers = (X @ np.asarray(params["fc1.kernel"])).argmax(-1)  # biases start at 0
    (_, (_, correct)), _ = run(params, X, Targets(jnp.asarray(Y)))
    assert correct == (answers == Y).sum()


WEIGHTS = np.array([0.2, 3.0, 1.5], np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_are_pytorchs(torch, tmp_path, smoothing):
    train = f"loss: {{cross_entropy: {{label_smoothing: {smoothing}}}}}, optimizer: {{sgd: 0.1}}"
    run, params = objective_of(tmp_path, "[{fc: 3}, softmax]", train, jnp.asarray(WEIGHTS))
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS).double(), label_smoothing=smoothing)
    expected = in_torch(torch, params, lambda z: theirs(z, torch.tensor(Y).long()))
    same(run(params, X, Targets(jnp.asarray(Y))), expected)


def test_the_objective_of_mixed_images_is_cross_entropy_with_mixed_targets(torch, tmp_path):
    run, params = objective_of(tmp_path, "[{fc: 3}, softmax]", "optimizer: {sgd: 0.1}")
    random = np.random.default_rng(4)
    others, share = Y[random.permutation(len(Y))], random.uniform(0, 1, len(Y)).astype(np.float32)
    soft = share[:, None] * np.eye(3)[Y] + (1 - share[:, None]) * np.eye(3)[others]
    expected = in_torch(torch, params, lambda z: torch.nn.CrossEntropyLoss()(z, torch.tensor(soft)))
    same(run(params, X, Targets(jnp.asarray(Y), jnp.asarray(others), jnp.asarray(share))), expected)


def weights_for(wanted, labels, classes=3):
    config = SimpleNamespace(train=SimpleNamespace(class_weights=wanted))
    names = tuple(str(label) for label in range(classes))
    return class_weights(config, Dataset(names, ArraySplit(np.zeros((len(labels), 4)), np.asarray(labels, np.int32))))


@few
@given(labels=st.lists(st.integers(0, 2), min_size=3, max_size=30))
def test_balanced_gives_every_class_that_is_there_the_same_say(labels):
    weights = weights_for("balanced", labels)
    counts = np.bincount(labels, minlength=3)
    there = counts > 0
    np.testing.assert_allclose((weights * counts)[there], len(labels) / 3, rtol=1e-6)  # scikit-learn's formula
    assert np.isfinite(weights).all()


def test_class_weights_as_given():
    assert weights_for(None, Y) is None
    np.testing.assert_array_equal(weights_for((0.2, 3.0, 1.5), Y), WEIGHTS)
