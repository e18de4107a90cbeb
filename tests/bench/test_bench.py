"""The benchmark itself: all contenders train one function, and what is reported is what was measured."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnncli.native import library
from cnncli.native.library import Backend, built
from cnncli.train.step import Targets, make_loss_fn
from tests.bench import lax_peer, report
from tests.bench.__main__ import arguments, require_kernels
from tests.bench.networks import CASES, GOALS, images_and_labels
from tests.bench.throughput import CONTENDERS, ratios, spread
from tests.helpers.networks import jit, network

ROOT = Path(__file__).parents[2]

EVERY_KIND = """[{conv: {filters: 8, kernel: 3, stride: 2, padding: 1}}, relu, lrn,
  {max_pool: {kernel: 3, stride: 2, rounding: ceil}},
  {conv: {filters: 8, kernel: 3, padding: 1, groups: 8, bias: false}},
  batch_norm, tanh, {branches: [[{conv: 4}], [{max_pool: {kernel: 3, stride: 1}}]]},
  {aux: {weight: 0.3, layers: [{fc: 5}, softmax]}},
  {residual: {layers: [{conv: {filters: 16, kernel: 3, padding: 1, stride: 2}}],
  shortcut: [{max_pool: {kernel: 1, stride: 2}}, {pad_channels: 16}]}}, relu, {avg_pool: {kernel: 2, stride: 1}},
  {conv: {filters: 6, kernel: 1}}, global_avg_pool, {fc: 5}, softmax]"""
TRAIN = "optimizer: {sgd: 0.1}"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A network with every kind of layer that is raced (dropout left out), a batch, and our loss on it."""
    loaded, model = network(tmp_path_factory.mktemp("bench"), EVERY_KIND, TRAIN, "[33, 33, 3]")
    images, labels = images_and_labels(loaded.graph, 4, 1)
    params, state = lax_peer.split(loaded.graph)
    objective = jit(make_loss_fn(loaded.config, model, 5))
    ours, _ = objective(params, state, jnp.asarray(images), Targets(jnp.asarray(labels)), jax.random.key(0))
    return loaded.graph, images, labels, float(ours)


def test_plain_lax_computes_our_loss(small):
    graph, images, labels, ours = small
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        loss = jit(lax_peer.make_loss(graph, jnp.float32))
        found, _ = loss(*lax_peer.split(graph), jnp.asarray(images), jnp.asarray(labels), jax.random.key(0))
    assert float(found) == pytest.approx(ours, rel=1e-4)


def test_pytorch_computes_our_loss(small, torch):
    from tests.bench import torch_peer
    from tests.bench.networks import ends

    graph, images, labels, ours = small
    net = torch_peer.Net(graph).to(memory_format=torch.channels_last)
    outputs = net(torch.from_numpy(images).permute(0, 3, 1, 2))
    found = torch_peer.loss_of(outputs, torch.from_numpy(labels).long(), list(ends(graph).values()))
    found.backward()  # what works in place must not overwrite what a gradient needs
    assert found.item() == pytest.approx(ours, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_network_has_our_parameters_in_keras_and_pytorch(name, torch):
    if importlib.util.find_spec("keras") is None:  # imported, it would want TensorFlow
        pytest.skip("pip install keras")
    from tests.bench import keras_peer, torch_peer

    graph = CASES[name].loaded("float32").graph
    wanted = sum(node.trainable_params for node in graph.nodes)
    assert sum(int(np.prod(w.shape)) for w in keras_peer.model_of(graph).trainable_weights) == wanted
    assert sum(each.numel() for each in torch_peer.Net(graph).parameters()) == wanted
    assert sum(array.size for array in lax_peer.split(graph)[0].values()) == wanted


def test_the_networks_are_those_of_the_goals_at_the_sizes_asked_for():
    assert {case for case, _ in GOALS} <= set(CASES)
    assert all(set(goals) == set(CONTENDERS) - {"ours"} for goals in GOALS.values())
    config = CASES["vgg16"].loaded("bfloat16").config
    assert (config.model.input, config.train.batch_size, config.train.precision) == ((64, 64, 3), 32, "bfloat16")
    kinds = [node.layer.kind for node in CASES["lenet5-relu"].loaded("float32").graph.nodes]
    assert kinds.count("relu") == 4
    assert kinds.count("max_pool") == 2


def test_ratios_are_formed_within_a_turn():
    contenders = {name: {"images_per_second": spread(rates)} for name, rates in
                  (("ours", [100.0, 50.0, 300.0]), ("lax", [50.0, 25.0, 100.0]))}  # fmt: skip
    assert ratios(contenders)["lax"] == {"median": 2.0, "least": 2.0, "most": 3.0, "all": [2.0, 2.0, 3.0]}
    assert ratios({"lax": contenders["lax"]}) == {}


def test_the_report_names_ratios_goals_and_what_was_skipped(tmp_path):
    contenders = {name: {"images_per_second": spread([rate, rate]), "peak_mib": 100.0} for name, rate in
                  (("ours", 3000.0), ("lax", 1000.0))}  # fmt: skip
    race = {"case": "lenet5", "precision": "float32", "contenders": contenders, "ratios": ratios(contenders),
            "goals": {"lax": 5.0}, "skipped": {"keras": "keras is not installed"}, "load_average": 0.5}  # fmt: skip
    start = {"case": "lenet5", "precision": "float32", "ratio": spread([0.3, 0.5]), "goal": 0.4}
    document = {"machine": "a machine", "races": [race], "pipeline": [], "start_up": [start]}
    said = report.text(document)
    assert "3.00 (goal 5.0, not reached)" in said
    assert "skipped: keras: keras is not installed" in said
    assert "0.40" in said
    report.picture(document, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 1000


def test_quick_is_a_default_that_can_be_overridden():
    assert arguments([]).repeats == 5
    assert arguments(["--quick"]).repeats == 2
    assert arguments(["--quick", "--networks", "alexnet"]).networks == ["alexnet"]


def test_plain_xla_is_raced_only_where_that_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(library, "kernels", lambda: Backend("xla", "the kernels were not built"))
    with pytest.raises(SystemExit, match="add --without-kernels"):
        require_kernels(arguments([]).without_kernels)
    assert "kernels: xla (the kernels were not built), of " in capsys.readouterr().out
    require_kernels(arguments(["--without-kernels"]).without_kernels)
    monkeypatch.setattr(library, "kernels", lambda: Backend("onednn", "oneDNN 3.2.0"))
    require_kernels(False)


@pytest.mark.slow
def test_the_command_races_ours_against_plain_jax(tmp_path):
    command = [sys.executable, "-m", "tests.bench", "--quick", "--networks", "lenet5", "--contenders", "ours", "lax",
               "--repeats", "1", "--seconds", "0.01", "--out", str(tmp_path)]  # fmt: skip
    command += [] if built() else ["--without-kernels"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "bench.json").read_text())
    (race,) = document["races"]
    assert set(race["contenders"]) == {"ours", "lax"}
    assert race["ratios"]["lax"]["median"] > 0
    assert document["pipeline"][0]["ratio"]["median"] > 0
    assert document["start_up"][0]["ratio"]["median"] > 0


def test_the_readme_shows_what_was_measured():
    """Each line of its table of rates, from the figures that lie beside this file."""
    races = json.loads(Path(__file__).with_name("measured.json").read_text(encoding="utf-8"))["races"]
    lines = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if ", batch " in line]
    assert len(table) == len(races) == 8
    for row, race in zip(table, races, strict=True):
        assert re.sub(r"[^a-z0-9]", "", row[0].split(",")[0].split(" at ")[0].lower()) == race["case"].replace("-", "")
        assert row[0].endswith(f"batch {CASES[race['case']].batch_size}")
        assert ("bfloat16" in row[0]) == (race["precision"] == "bfloat16")
        for cell, name in zip(row[1:6], CONTENDERS, strict=True):
            found = race["contenders"].get(name)
            assert cell == (f"{found['images_per_second']['median']:,.0f}" if found else "")
        ratios = [f"{race['ratios'][name]['median']:.2f}" for name in CONTENDERS[1:]]
        assert row[6] == ", ".join(ratios)
