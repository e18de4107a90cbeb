"""The first state: the bytes of one draw per layer, at a cost that does not grow faster than the depth."""

import time

import jax
import numpy as np
import pytest
from rich.console import Console

from cnncli import model as models
from cnncli.config.load import load
from cnncli.data.splits import ArraySplit, Dataset
from cnncli.layers.base import name_hash
from cnncli.model import Model
from cnncli.report import training
from cnncli.train.devices import PINNED, devices
from cnncli.train.prepare import Data
from cnncli.train.setup import Setup
from cnncli.train.step import INIT

CONFIG = """\
data: {{source: digits}}
model: {{input: [8, 8, 1], layers: [{{repeat: {{times: {depth}, layers: [{{conv: {{filters: 5, kernel: 3, padding: same,
  bias_init: {{normal: 0.1}}}}}}, batch_norm, relu]}}}}, {{fc: {{units: 7, init: orthogonal}}}}, relu,
  {{fc: {{units: 6, trainable: false}}}}, {{fc: 10}}, softmax]}}
train: {{epochs: 1, batch_size: 4, ema: 0.9, optimizer: {{adamw: 0.001}}}}
"""
QUICKLY = {"xla_backend_optimization_level": 0}


@pytest.fixture
def loaded(tmp_path):
    def of(depth):
        (tmp_path / "net.yaml").write_text(CONFIG.format(depth=depth))
        return load(tmp_path / "net.yaml")

    return of


def setup_of(loaded):
    split = ArraySplit(np.zeros((8, 8, 8, 1), np.uint8), np.zeros(8, np.int32))
    data = Data(Dataset(tuple(map(str, range(10))), split), "", (8, 8, 1))
    return Setup(loaded, data, {})


def test_the_first_state_is_what_each_layer_draws_by_itself(loaded):
    setup = setup_of(loaded(3))
    state = setup.init_state()
    assert setup.compile_seconds > 0
    graph, key = setup.model.graph, jax.random.fold_in(jax.random.key(setup.config.seed), INIT)

    def by_weight(key):
        return {
            f"{node}.{name}": weight.init.draw(
                jax.random.fold_in(jax.random.fold_in(key, name_hash(node)), name_hash(name)), weight.shape, weight.fans
            )
            for node, name, weight in graph.weights()
        }

    drawn = jax.jit(by_weight, compiler_options=QUICKLY)(key)
    for found, trained in ((state.params, True), (state.model_state, False), (state.ema_params, True)):
        names = [f"{node}.{name}" for node, name, weight in graph.weights() if weight.trained is trained]
        wanted = {name: drawn[name] for name in names}
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            assert np.asarray(found[name]).tobytes() == np.asarray(array).tobytes(), name
    assert "fc2.kernel" in state.model_state  # frozen


def test_a_deeper_network_needs_no_more_programs(loaded, monkeypatch):
    programs, real, counts = [], jax.jit, []
    monkeypatch.setattr(models.jax, "jit", lambda *a, **k: programs.append(a) or real(*a, **k))
    for depth in (3, 60):
        programs.clear()
        jax.eval_shape(Model(loaded(depth).graph).init, jax.random.key(0))
        counts.append(len(programs))
    assert counts[0] == counts[1] < 10


def test_a_long_compilation_is_told(monkeypatch, capsys):
    monkeypatch.setattr(training, "PLAIN_EVERY", 0.01)
    console = training.TrainingConsole(Console(width=80))
    console.compiling()
    console.compiling()  # the same one
    time.sleep(0.1)
    console.compiled(1.0)
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("compiling, ")]
    time.sleep(0.05)
    assert not capsys.readouterr().out


def test_what_random_numbers_follow_from_is_set(monkeypatch):
    before = {name: getattr(jax.config, name) for name in PINNED}
    other = {"jax_default_prng_impl": "rbg", "jax_threefry_partitionable": False, "jax_random_seed_offset": 3,
             "jax_enable_x64": True}  # fmt: skip
    assert other.keys() == PINNED.keys()
    try:
        for name, value in other.items():
            jax.config.update(name, value)
        devices()
        assert {name: getattr(jax.config, name) for name in PINNED} == PINNED
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
