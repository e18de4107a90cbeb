"""Each row of the README's textbook table has its test; and the rows that belong to no other file."""

import re
from pathlib import Path

import pytest

from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.runs.directory import Run
from cnncli.train.events import Events
from cnncli.train.trainer import train

ROOT = Path(__file__).resolve().parents[1]
NAMED = sorted(set(re.findall(r"`(test_textbook_\w+)`", (ROOT / "README.md").read_text(encoding="utf-8"))))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("name", NAMED)
def test_every_row_of_the_readme_has_its_test(name):
    assert re.search(rf"def {name}\w*\(", SOURCE)


def accuracy(tmp_path, config, *overrides):
    """Training accuracy after training a bundled config of the truth tables."""
    run = train(load(bundled_configs()[config], overrides), tmp_path / "runs", Events()).run
    return [line for line in Run(run).metric_lines() if line["kind"] == "epoch"][-1]["train"]["accuracy"]


AND, OR, XOR = "[0, 0, 0, 1]", "[0, 1, 1, 1]", "[0, 1, 1, 0]"
NOT = (
    "data.source.inline.inputs=[[0], [1]]",
    "data.source.inline.labels=[1, 0]",
    "model.input=[1]",
    "train.batch_size=2",
)


@pytest.mark.parametrize(
    "overrides", [(f"data.source.inline.labels={AND}",), (f"data.source.inline.labels={OR}",), NOT]
)
def test_textbook_perceptron_learns_and_or_not(tmp_path, overrides):
    assert accuracy(tmp_path, "perceptron", *overrides) == 1


def test_textbook_perceptron_cannot_learn_xor_and_the_mlp_can(tmp_path):
    assert accuracy(tmp_path, "perceptron", f"data.source.inline.labels={XOR}") <= 0.75
    assert accuracy(tmp_path, "xor") == 1


def test_textbook_bias_a_perceptron_without_it_cannot_map_the_origin_to_one(tmp_path):
    labels = "data.source.inline.labels=[1, 0, 0, 0]"
    assert accuracy(tmp_path, "perceptron", labels) == 1
    assert accuracy(tmp_path, "perceptron", labels, "model.layers[0].fc={units: 1, bias: false}") < 1


def test_textbook_health_records_every_layer_before_every_epoch(tmp_path):
    overrides = ("train.watch=true", "train.epochs=2")
    run = Run(train(load(bundled_configs()["digits"], overrides), tmp_path / "runs", Events()).run)
    lines = [line for line in run.metric_lines() if line["kind"] == "health"]
    assert [line["epoch"] for line in lines] == [1, 2]
    conv, relu = lines[0]["layers"]["conv1"], lines[0]["layers"]["relu1"]
    assert conv["activation"] > 0
    assert conv["gradient"] > 0
    assert conv["update"] > 0
    assert 0 <= relu["dead"] <= relu["saturated"] <= 1
