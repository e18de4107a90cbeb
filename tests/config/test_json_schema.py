"""The JSON Schema for editors: bundled configs pass, typical mistakes do not, and the copy in configs/ is current."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from cnncli.bundled import bundled_configs
from cnncli.config.json_schema import json_schema
from cnncli.config.reader import file_text, read_text
from cnncli.layers import LAYERS
from cnncli.optimizers import optax_table

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def schema():
    return json_schema()


@pytest.fixture(scope="module")
def valid(schema):
    """Whether a text, read by our reader, passes."""
    validator = jsonschema.Draft202012Validator(schema)
    return lambda text: validator.is_valid(read_text(text, "x").plain())


def test_is_a_schema_that_needs_nothing_else(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(schema)))
    for reference in references:
        found = schema
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


@pytest.mark.parametrize("path", bundled_configs().values(), ids=lambda path: path.stem)
def test_bundled_configs_pass(schema, path):
    jsonschema.Draft202012Validator(schema).validate(read_text(file_text(path), path.name).plain())


def test_the_bundled_copy_is_current(schema):
    """``cnn schema > configs/schema.json`` writes it. With another Optax, only its optimizers may differ."""
    copy = json.loads((CONFIGS / "schema.json").read_text(encoding="utf-8"))
    if copy["$comment"] != schema["$comment"]:
        for each in (copy, schema := json.loads(json.dumps(schema))):
            each["$comment"] = ""
            each["$defs"] = {key: value for key, value in each["$defs"].items() if not key.startswith("optimizer")}
    assert copy == schema, "run: cnn schema > configs/schema.json"


def test_the_command_prints_it(cnn, schema):
    from cnncli.cli.schema import command

    assert command.__doc__
    outcome = cnn("schema")
    assert outcome.code == 0
    assert json.loads(outcome.out) == schema


@pytest.mark.parametrize("name", ["digits", "lenet5"])
def test_configs_say_where_it_is(name):
    first = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


def test_init_brings_it_along(cnn, tmp_path, schema):
    for name in ("mynet", "1e5", "lenet5"):
        assert cnn("init", name).code == 0
        first = (tmp_path / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        beside = tmp_path / first.removeprefix("# yaml-language-server: $schema=")
        assert json.loads(beside.read_text(encoding="utf-8")) == schema
        assert cnn("inspect", f"{name}.yaml", "--json").code == 0


def test_everything_is_described(schema):
    entry = schema["$defs"]["Entry"]["anyOf"][1]["properties"]
    assert set(entry) == {layer.kind for layer in LAYERS} | {"name", "from"}
    assert all(form["description"] for form in entry.values())
    optimizers = schema["$defs"]["optimizer"]["anyOf"][1]["properties"]
    assert set(optimizers) == {"sgd", *optax_table()["optimizers"]}
    assert schema["$defs"]["optimizer.adam"]["properties"]["b1"]["default"] == 0.9
    assert "moment" in schema["$defs"]["optimizer.adam"]["properties"]["b1"]["description"]
    assert schema["$defs"]["layer.conv"]["properties"]["init"]["default"] == "he_normal"
    assert schema["$defs"]["layer.conv"]["required"] == ["filters"]
    assert '"title"' not in json.dumps(schema["$defs"])


@pytest.mark.parametrize(
    "entry",
    ["relu", "relu:", "relu: {}", "conv: 6", "conv: {filters: 6, kernel: [3, 5], padding: [[1, 0], [0, 1]]}", "fc: 3",
     "{conv: 6, name: stem}", "{add: , from: [a, b]}", "{relu: , from: a, name: b}", "residual: [{conv: 6}, relu]",
     "residual: {layers: [relu], shortcut: []}", "branches: [[relu], []]", "conv: {filters: 3, init: {normal: 0.1}}",
     "conv: {filters: 3, init: zeros}", "repeat: {times: 2, layers: [relu]}", "{relu: , name: Größe}"],
)  # fmt: skip
def test_entries_pass(valid, base, entry):
    assert valid(base.replace("- relu", f"- {entry}"))


@pytest.mark.parametrize(
    "entry",
    ["dense: 3", "cnov: 6", "conv", "conv:", "conv: {}", "conv: {out_channels: 6}", "conv: {filters: 0}",
     "conv: true", "conv: {filters: 2.5}", "conv: abc", "conv: {filters: 6, padding: sam}",
     "conv: {filters: 6, kernel: 0}", "conv: {filters: 6, init: kaiming}", "conv: {filters: 6, init: {normal: -1}}",
     "conv: $width", "relu: 3", "3", "[]", "{}", "{conv: 6, relu: }", "{conv: 6, nmae: x}", "{name: x}",
     "{name: x, from: y}", "{conv: 6, name: 3}",
     "dropout: 1.5", "residual: {layers: [dense: 3]}", "residual: [dense: 3]", "branches: [[relu], [dense]]",
     "linear: 10"],
)  # fmt: skip
def test_wrong_entries_do_not_pass(valid, base, entry):
    assert not valid(base.replace("- relu", f"- {entry}"))


@pytest.mark.parametrize(
    ("was", "now", "passes"),
    [
        ("name: broken\n", "", True), ("name: broken", "name: 网络", True), ("name: broken", "name: ../x", False),
        ("epochs: 3", "n_epochs: 3", False), ("epochs: 3", "epochs: 0", False), ("epochs: 3", "epochs: '3'", False),
        ("epochs: 3", "max_time: 30 min", True), ("epochs: 3", "max_time: 30", False),
        ("epochs: 3", "log_every: 5 %", True), ("epochs: 3", "log_every: 5", False),
        ("epochs: 3", "loss: mse", True), ("epochs: 3", "loss: l2", False),
        ("epochs: 3", "loss: {cross_entropy: {label_smoothing: 0.1}}", True),
        ("epochs: 3", "schedule: {cosine: {warmup: 5 %}}", True),
        ("epochs: 3", "schedule: {cosine: {warmup: 5}}", False),
        ("epochs: 3", "early_stop: {patience: 3}", True), ("epochs: 3", "early_stop: 3", False),
        ("epochs: 3", "class_weights: balanced", True), ("epochs: 3", "class_weights: [1, 2]", True),
        ("{sgd: {lr: 0.1}}", "{sgd: 0.1}", True), ("{sgd: {lr: 0.1}}", "adam", False),
        ("{sgd: {lr: 0.1}}", "{adam: {lr: 0.1, b1: 0.8}}", True),
        ("{sgd: {lr: 0.1}}", "{adam: {lr: 0.1, b1: 2}}", False),
        ("{sgd: {lr: 0.1}}", "{adam: {lr: 0.1, beta1: 0.8}}", False), ("{sgd: {lr: 0.1}}", "{sgd: 1, adam: 1}", False),
        ("source: digits", "source: {folder: {path: x}}", True), ("source: digits", "source: {folder: {}}", False),
        ("source: digits", "source: imagenet", False), ("[standardize]", "[{pad: 2}, standardize]", True),
        ("[standardize]", "standardize", False), ("[8, 8, 1]", "[8, 8, 1, 1]", False), ("train:", "trian:", False),
    ],
)  # fmt: skip
def test_sections(valid, base, was, now, passes):
    assert was in base
    assert valid(base.replace(was, now)) is passes


BLOCK = """\
blocks:
  mine:
    params: [width, stride: 1]
    layers: [{conv: {filters: $width, stride: $stride}}, relu]
"""


def test_files_with_blocks(valid, base):
    """There an entry may be any word and a field a parameter; what is known of a layer is held to all the same."""
    assert valid(BLOCK + base.replace("- relu", "- mine: {width: 3}\n    - mine: 3\n    - {mine: 3, name: x}"))
    inner = "[mine, {conv: {filters: 3, kernel: [$a, 3], init: {normal: $std}}}, {conv"
    assert valid(BLOCK.replace("[{conv", inner) + base)
    assert not valid(BLOCK.replace("stride: $stride", "strides: $stride") + base)
    assert not valid(BLOCK.replace("stride: $stride", "stride: abc") + base)
    assert not valid(BLOCK.replace("params", "parms") + base)
    assert not valid(BLOCK + base.replace("filters: 4", "out_channels: 4"))
    assert not valid(base.replace("- relu", "- mine: 3"))
