"""``cnn time``: what it measures and how it says so. No figure is judged: machines are noisy."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cnncli import timing
from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.report.timing import rendered
from cnncli.train.events import Events
from tests.helpers.networks import network

PROMISED = {"images_per_second", "step_ms", "compile_seconds", "kernels", "precision", "layers"}
BRANCHED = """[{conv: {filters: 4, kernel: 3, trainable: false}}, {conv: 4, name: first},
  {residual: [{conv: {filters: 4, kernel: 3, padding: same}}, batch_norm, relu]},
  {branches: [[{conv: 2}], [{max_pool: {kernel: 3, stride: 1}}]]},
  {aux: {weight: 0.3, layers: [{fc: 3}, softmax]}}, {dropout: 0.5}, {fc: 3}, softmax]"""


class Said(Events):
    """What was told, in order."""

    def __init__(self):
        self.lines = []

    def device(self, device):
        self.lines.append(f"device {device}")

    def loading(self, what, done, total):
        assert 0 <= done <= total
        self.lines.append(what)


@pytest.fixture(scope="module")
def branched(tmp_path_factory):
    loaded, _ = network(tmp_path_factory.mktemp("time"), BRANCHED, "optimizer: {sgd: 0.1}", "[10, 10, 1]")
    said = Said()
    return loaded.graph, timing.measure(loaded, said), said.lines


def test_every_layer_of_a_branched_network_is_timed_and_the_device_named_first(branched):
    graph, document, said = branched
    assert set(document) >= PROMISED
    assert [layer["name"] for layer in document["layers"]] == [node.name for node in graph.nodes]
    assert all(layer["forward_ms"] > 0 for layer in document["layers"])
    assert min(*document["images_per_second"].values(), document["step_ms"], document["peak_gflops"]) > 0
    assert document["images_per_second"]["train"] == pytest.approx(1e3 * document["batch_size"] / document["step_ms"])
    assert said[0].startswith("device cpu")
    assert {f"timing {node.name}" for node in graph.nodes} <= set(said)


def test_gradients_go_back_to_trained_weights_only(branched):
    graph, document, _ = branched
    backward = {layer["name"]: layer["backward_ms"] for layer in document["layers"]}
    assert backward["conv1"] == 0  # frozen, and before it only the image
    assert backward[graph.output.name] == 0  # softmax: the loss trains on what goes into it
    assert "conv1" not in timing._taught(graph)
    assert {"first", "residual1.relu1", "fc1"} <= timing._taught(graph)


def test_operations_count_the_gradients_that_are_needed(branched):
    graph, document, _ = branched
    macs = {node.name: node.macs for node in graph.nodes}
    layers = {layer["name"]: layer for layer in document["layers"]}
    for name, products in (("conv1", 1), ("first", 2), ("residual1.conv1", 3), ("fc1", 3)):
        seconds = (layers[name]["forward_ms"] + layers[name]["backward_ms"]) / 1e3
        done = layers[name]["gflops"] * 1e9 * seconds
        assert done == pytest.approx(2 * products * macs[name] * document["batch_size"])
    assert layers["residual1.relu1"]["gflops"] is None


def test_the_table_has_a_row_per_layer_at_any_width(branched):
    graph, document, _ = branched
    for width in (20, 100):
        file = io.StringIO()
        Console(file=file, width=width).print(rendered(document))
    text = file.getvalue()
    assert all(any(line.startswith(node.name) for line in text.splitlines()) for node in graph.nodes)
    assert "timed alone" in text


def test_the_shape_that_cropping_gets_is_the_stored_one():
    loaded = load(bundled_configs()["alexnet"])
    assert timing.stored_shape(loaded.config, loaded.graph) == (256, 256, 3)
    loaded = load(bundled_configs()["lenet5"])
    assert timing.stored_shape(loaded.config, loaded.graph) == (32, 32, 1)


QUICK = ("perceptron", "xor")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in bundled_configs()]
)
def test_every_bundled_config_is_timed_without_its_data(name, monkeypatch):
    monkeypatch.setattr(timing, "BYTES", 1 << 22)
    size = [] if name in QUICK else ["train.batch_size=2"]
    document = timing.measure(load(bundled_configs()[name], [*size, "data.dir=/nowhere"]), Events())
    assert json.loads(json.dumps(document)) == document
    assert document["images_per_second"]["train"] > 0


def test_the_command_names_the_device_first_and_the_next_command_last(tmp_path):
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "20"}
    command = [sys.executable, "-m", "cnncli", "time", "perceptron"]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=tmp_path, env=variables | {"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("device  cpu")
    assert lines[-1] == "next    cnn train perceptron"
    assert not list(tmp_path.iterdir())
