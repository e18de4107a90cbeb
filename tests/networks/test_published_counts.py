"""Every network of configs/ has exactly the number of parameters that was published, and trains a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.train.prepare import fit_constants
from cnncli.train.step import (
    LearningRate,
    TrainData,
    init_state,
    init_weights,
    make_model,
    make_optimizer,
    make_train_steps,
)

PUBLISHED = {
    "perceptron": 3,  # two weights and a bias
    "xor": 9,  # 2-2-1
    "mlp": 238_510,  # 784-300-10, LeCun et al. 1998
    "lenet5": 61_706,
    "lenet5-1998": 60_000,
    "alexnet": 60_965_224,  # the two-GPU network of 2012
    "googlenet": 6_998_552,  # main network, with biases, no batch norm
    "vgg16": 138_357_544,
    "resnet18": 11_689_512,
    "resnet20": 269_722,  # option A
    "resnet50": 25_557_032,
    "mobilenet": 4_231_976,  # width 1.0; Keras counts the same
    "allconv": 1_369_738,  # All-CNN-C: 9 convolutions with biases
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_textbook_network_has_the_published_parameter_count(name):
    assert load(bundled_configs()[name]).graph.trainable_params == PUBLISHED[name]


def test_textbook_lenet5_of_1998_layer_by_layer():
    graph = load(bundled_configs()["lenet5-1998"]).graph
    counts = {node.name: node.trainable_params for node in graph.nodes if node.trainable_params}
    assert counts == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}


def test_textbook_resnet110_by_changing_one_number():
    graph = load(bundled_configs()["resnet20"], ["model.layers[2].stages=17"]).graph
    assert sum(node.layer.kind in ("conv", "fc") for node in graph.nodes) == 110
    assert graph.params == 1_727_962


def test_googlenet_has_two_heads_in_training_and_none_in_the_totals():
    graph = load(bundled_configs()["googlenet"]).graph
    assert [head.weight for head in graph.heads] == [0.3, 0.3]
    assert not {node.name for node in graph.aux} & {node.name for node in graph.main}


HEAVY = {"vgg16", "resnet18", "resnet50", "googlenet", "alexnet", "mobilenet"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in bundled_configs()]
)
def test_every_bundled_config_is_loaded_shape_checked_and_trained_a_step(name):
    size = 2
    overrides = [f"train.batch_size={size}", "train.schedule=constant"]  # a warm-up begins with a rate of 0
    loaded = load(bundled_configs()[name], overrides)
    config, graph = loaded.config, loaded.graph
    model = make_model(loaded)
    classes = max(graph.output.shape[0], 2)
    optimizer = make_optimizer(config, model, LearningRate(config.train, 10, 10 * config.train.epochs))
    state = init_state(config, optimizer, init_weights(config, model))
    random = np.random.default_rng(0)
    shape = _stored_shape(config, graph.input_shape)
    pictures = random.integers(0, 255, (8, *shape)).astype(np.uint8)
    images = pictures if len(shape) == 3 else random.standard_normal((8, *shape)).astype(np.float32)
    labels = random.integers(0, classes, 8).astype(np.int32)
    from cnncli.data.splits import ArraySplit

    constants = fit_constants(config, ArraySplit(images, labels))
    run = jax.jit(make_train_steps(config, model, optimizer, classes))
    rows = jnp.arange(size, dtype=jnp.int32)[None]
    before = {key: np.asarray(array) for key, array in state.params.items()}
    state, out = run(state, TrainData(jnp.asarray(images), jnp.asarray(labels), constants), rows)
    assert np.isfinite(out["loss"]).all()
    assert any((np.asarray(state.params[key]) != before[key]).any() for key in before)


def _stored_shape(config, wanted):
    """What pixel steps make of images, before augmentation crops them."""
    crops = [step for step in config.data.augment if step.kind in ("random_crop", "random_resized_crop")]
    return (256, 256, 3) if crops else wanted
