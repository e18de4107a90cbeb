"""A network measured on a split: figures by scikit-learn, and memory that grows with the classes, not their square."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from cnncli.config.load import load
from cnncli.data.splits import ArraySplit
from cnncli.memory import program_bytes
from cnncli.train.devices import placement
from cnncli.train.step import Evaluator, make_forward, make_model

CONFIG = """\
data: {{source: {{npz: x.npz}}}}
model: {{input: [6], layers: [{{fc: {classes}}}, softmax]}}
train: {{batch_size: 16, optimizer: {{sgd: 0.1}}}}
"""


@pytest.fixture
def network(tmp_path):
    """``network(classes)`` -> its config, model and first weights."""

    def make(classes):
        (tmp_path / "x.yaml").write_text(CONFIG.format(classes=classes))
        loaded = load(tmp_path / "x.yaml")
        model = make_model(loaded)
        return loaded.config, model, model.init(jax.random.key(0))

    return make


def measured(config, model, weights, split, classes):
    return Evaluator(config, model, classes, placement(16))(weights, {}, split)


def test_figures_by_scikit_learn(network):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference here")
    config, model, weights = network(9)
    random = np.random.default_rng(0)
    split = ArraySplit(random.normal(size=(100, 6)).astype(np.float32), (np.arange(100) % 9).astype(np.int32))
    found = measured(config, model, weights, split, 9)
    scores = np.asarray(jax.nn.softmax(make_forward(config, model)(weights, {}, split.images)), np.float64)
    scores /= scores.sum(1, keepdims=True)
    assert found.loss == pytest.approx(metrics.log_loss(split.labels, scores), rel=1e-5)
    assert found.accuracy == metrics.accuracy_score(split.labels, scores.argmax(1))
    for k in (1, 2, 5):
        assert found.top_accuracy(k) == pytest.approx(metrics.top_k_accuracy_score(split.labels, scores, k=k))
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(split.labels, scores.argmax(1)))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_of_equal_scores_the_first_class_is_the_likeliest_and_of_no_numbers_none_is(network, value):
    config, model, weights = network(7)
    weights = jax.tree.map(lambda array: np.full(array.shape, value, array.dtype), weights)
    labels = np.arange(7, dtype=np.int32)
    found = measured(config, model, weights, ArraySplit(np.ones((7, 6), np.float32), labels), 7)
    assert found.places.tolist() == ([7] * 7 if np.isnan(value) else labels.tolist())
    assert found.top_accuracy(5) == (0 if np.isnan(value) else 5 / 7)


def test_memory_grows_with_the_classes_and_not_their_square(network):
    classes, size = 20_000, 4
    config, model, weights = network(classes)
    count = Evaluator(config, model, classes, placement(16)).eval_step
    kinds = (((size, 6), np.float32), ((size,), np.int32), ((size,), np.bool_))
    program = count.lower(weights, {}, *(np.zeros(*kind) for kind in kinds)).compile()
    assert program_bytes(program) < 40 * 4 * size * classes  # a matrix of counts would take 1.6 GB
    split = ArraySplit(np.ones((10, 6), np.float32), np.arange(10, dtype=np.int32) * 1999)
    found = measured(config, model, weights, split, classes)
    assert found.confusion is None
    assert found.predicted.shape == (10,)


REFUSED = """
import jax
import jax.numpy as jnp
from cnncli.train.devices import devices

devices()
slow = jax.jit(lambda x: jax.lax.fori_loop(0, 30, lambda i, a: jnp.tanh(a @ a), jnp.full((900, 900), x)).sum())
large = jax.jit(lambda x: (x + 1, jnp.zeros((1_000_000, 1_000_000)) + x))  # 4 TB
large.lower(slow(1.0)).compile()
total, _ = large(slow(1.0))
print(float(total))
"""


def test_a_refused_allocation_is_an_error_and_no_wait():
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "RESOURCE_EXHAUSTED" in done.stderr
