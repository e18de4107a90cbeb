"""Every mistake gets its place, what came, what was expected, and a hint. ``¦`` marks the place that must be named."""

import itertools
import re
import subprocess
import sys

import pytest
from pydantic import ValidationError

LAYERS = [
    # other frameworks' words for layers
    ("¦dense: 10", "[2]: unknown layer 'dense'. Did you mean fc?"),
    ("¦conv2d: 10", "[2]: unknown layer 'conv2d'. Did you mean conv?"),
    ("¦MaxPool2d: 2", "[2]: unknown layer 'MaxPool2d'. Did you mean max_pool?"),
    ("¦maxpool: 2", "[2]: unknown layer 'maxpool'. Did you mean max_pool?"),
    ("¦BatchNorm2d", "[2]: unknown layer 'BatchNorm2d'. Did you mean batch_norm?"),
    ("¦ReLU", "[2]: unknown layer 'ReLU'. Did you mean relu?"),
    ("¦cnov: 6", "[2]: unknown layer 'cnov'. Did you mean conv?"),
    ("linear: ¦10", "[2].linear: linear takes no bare value, got 10. Did you mean fc?"),
    ("linear: {¦out_features: 10}", "[2].linear: unknown key 'out_features'. Did you mean fc?"),
    # and for fields; what the wrong word stands for is not missing too
    ("conv: {¦out_channels: 6}", "[2].conv: unknown key 'out_channels'. Did you mean filters?"),
    ("conv: {filters: 6, ¦kernel_size: 3}", "[2].conv: unknown key 'kernel_size'. Did you mean kernel?"),
    ("conv: {filters: 6, ¦strides: 3}", "[2].conv: unknown key 'strides'. Did you mean stride?"),
    ("conv: {filters: 6, ¦kernel_initializer: zeros}", "[2].conv: unknown key 'kernel_initializer'. "
     "Did you mean init?"),
    ("conv: {filters: 6, ¦activation: relu}", "[2].conv: unknown key 'activation'. "
     "An activation is an entry of its own: - relu."),
    ("conv: {filters: 6, ¦activation: null}", "[2].conv: unknown key 'activation'. "
     "An activation is an entry of its own, after this one."),
    ("¦activation: relu", "[2]: unknown layer 'activation'. An activation is an entry of its own: - relu."),
    ("¦Activation: {activation: tanh}", "[2]: unknown layer 'Activation'. "
     "An activation is an entry of its own: - tanh."),
    ("conv: 6\n      ¦activation: relu", "[2]: unknown key 'activation' beside conv. "
     "An activation is an entry of its own: - relu."),
    # a layer as another framework writes it, name and fields in one go
    ("¦Conv2D: {kernel_size: 3, filters: 6}", "[2]: unknown layer 'Conv2D'. Write conv: {kernel: 3, filters: 6}."),
    ("¦Conv2d: {in_channels: 3, out_channels: 6, kernel_size: (3, 3)}", "[2]: unknown layer 'Conv2d'. "
     "Write conv: {filters: 6, kernel: [3, 3]}."),
    ("¦Dense: {units: 10, activation: relu}", "[2]: unknown layer 'Dense'. Write fc: {units: 10}. "
     "An activation is an entry of its own: - relu."),
    ("¦Conv2D: {filters: 6, frobnicate: 3}", "[2]: unknown layer 'Conv2D'. Did you mean conv?"),
    ("¦Conv2D(32, 3)", "[2]: unknown layer 'Conv2D(32, 3)'. Did you mean conv?"),
    ("¦type: conv\n      filters: 3", "[2]: one entry holds one layer, got type, filters. Write conv: {filters: 3}."),
    ("¦type: ReLU", "[2]: unknown layer 'type'. Write - relu."),
    # a sign that is missing
    ("¦fc:10", "[2]: unknown layer 'fc:10'. Write fc: 10."),
    ("¦fc 10", "[2]: unknown layer 'fc 10'. Write fc: 10."),
    ("conv: {filters: 6, kernel: ¦(3, 3)}", "[2].conv.kernel: expected a whole number or a list, got text '(3'. "
     "Write kernel: [3, 3]."),
    ("conv:\n        filters: 6\n        kernel: ¦(3, 3)", "[2].conv.kernel: expected a whole number or a list, "
     "got text '(3, 3)'. Write [3, 3]."),
    # of many words a few
    ("¦zebra", "[2]: unknown layer 'zebra'. Known: branches, linear, repeat, residual, subsample and 44 more. "
     "`cnn layers` lists all."),
    ("conv: {filters: 6, ¦in_channels: 4}", "[2].conv: unknown key 'in_channels'. "
     "It follows from the layer before."),
    ("fc: {¦out_features: 3}", "[2].fc: unknown key 'out_features'. Did you mean units?"),
    ("max_pool: {¦pool_size: 2}", "[2].max_pool: unknown key 'pool_size'. Did you mean kernel?"),
    ("relu: {¦x: 3}", "[2].relu: unknown key 'x'. It takes none."),
    # wrong values
    ("conv: {filters: ¦true}", "[2].conv.filters: expected a whole number, got true"),
    ("conv: {filters: ¦0}", "[2].conv.filters: expected more than 0, got 0"),
    ("conv: {filters: ¦-1}", "[2].conv.filters: expected more than 0, got -1"),
    ("conv: {filters: ¦2.5}", "[2].conv.filters: expected a whole number, got 2.5"),
    ("conv: {filters: ¦4.0}", "[2].conv.filters: expected a whole number, got 4.0. Write 4."),
    ("conv: {filters: ¦1e12}", "[2].conv.filters: expected a whole number, got 1000000000000.0. "
     "Write 1000000000000."),
    ("conv: {filters: ¦1000000000000}", "[2].conv.filters: expected at most 1048576, got 1000000000000"),
    ("conv: {filters: ¦'6'}", "[2].conv.filters: expected a whole number, got text '6'. "
     "Write 6, without quotes."),
    ("conv: ¦1_000", "[2].conv: expected a whole number, got text '1_000'. Write 1000."),
    ("conv: ¦0x10", "[2].conv: expected a whole number, got text '0x10'. Write 16."),
    ("conv: ¦0x_", "[2].conv: expected a whole number, got text '0x_'"),
    ("conv: ¦010", "[2].conv: expected a whole number, got text '010'"),
    ("conv: ¦2024-13-45", "[2].conv: expected a whole number, got text '2024-13-45'"),
    ("conv: ¦[1, 2]", "[2].conv: expected a whole number, got a list"),
    ("conv: {filters: ¦.nan}", "[2].conv.filters: expected a whole number, got nan"),
    ("conv: ¦$width", "[2].conv: expected a whole number, got text '$width'. "
     "A $parameter stands only inside a block."),
    ("conv: {filters: 6, bias: ¦no}", "[2].conv.bias: expected true or false, got text 'no'. Write false."),
    ("conv: {filters: 6, bias: ¦1}", "[2].conv.bias: expected true or false, got 1"),
    ("dropout: ¦1.5", "[2].dropout: expected less than 1, got 1.5"),
    ("dropout: ¦.nan", "[2].dropout: expected a finite number, got nan"),
    ("dropout: {rate: ¦-.inf}", "[2].dropout.rate: expected a finite number, got -inf"),
    ("dropout: ¦true", "[2].dropout: expected a number, got true"),
    ("conv: {filters: 6, init: {normal: ¦-1}}", "[2].conv.init.normal: expected more than 0, got -1"),
    ("conv: {filters: 6, init: ¦kaiming}", "[2].conv.init: unknown initializer 'kaiming'. "
     "Did you mean he_normal?"),
    # values of several types: one error, of the type that was meant
    ("conv: {filters: 6, kernel: ¦0}", "[2].conv.kernel: expected more than 0, got 0"),
    ("conv: {filters: 6, kernel: [3, ¦true]}", "[2].conv.kernel[1]: expected a whole number, got true"),
    ("conv: {filters: 6, kernel: ¦[3, 3, 3]}", "[2].conv.kernel: expected a list of at most 2, got 3"),
    ("conv: {filters: 6, kernel: ¦abc}", "[2].conv.kernel: expected a whole number or a list, got text 'abc'"),
    ("conv: {filters: 6, padding: ¦-1}", "[2].conv.padding: expected at least 0, got -1"),
    # entries
    ("¦conv", "[2]: needs filters (number of kernels, which is the number of output channels)"),
    ("conv:¦", "[2].conv: needs filters (number of kernels, which is the number of output channels)"),
    ("¦5", "[2]: expected one layer: name, name: value or name: {field: value}, got 5"),
    ("¦[conv, 3]", "[2]: expected one layer: name, name: value or name: {field: value}, got a list"),
    ("¦{}", "[2]: expected one layer: name, name: value or name: {field: value}, got an empty mapping"),
    ("{relu: , ¦tanh: }", "[2]: one entry holds one layer, got relu, tanh. Begin each with its own -."),
    ("conv:\n      ¦filters: 3", "[2]: unknown key 'filters' beside conv. "
     "Indent it further, to stand under conv."),
    ("relu:\n      ¦nmae: x", "[2]: unknown key 'nmae' beside relu. Did you mean name?"),
    ("conv: {filters: 3, ¦name: x}", "[2]: name stands beside conv, not inside it. "
     "Write {conv: {...}, name: ...}."),
    ("name: x\n      ¦dense: 3", "[2]: unknown layer 'dense'. Did you mean fc?"),
    ("relu:\n      name: ¦3", "[2].name: expected text, got 3. In quotes it is text: '3'."),
    ("relu:\n      name: ¦3a", "[2].name: expected a name of letters, digits, _ and -, beginning with a "
     "letter, got text '3a'"),
    ("relu:\n      from: ¦3", "[2].from: expected a list, got 3. Write [3]."),
    # what does not fit
    ("¦conv: {filters: 3, kernel: 7}", "[2].conv: kernel 7x7 does not fit the 6x6x4 input (padding: valid). "
     "Try padding: same, or kernel: 6."),
    ("¦conv: {filters: 6, groups: 3}", "[2].conv: groups 3 does not divide the 4 input channels. "
     "Try groups: 2."),
    ("name: stem\n      ¦conv: {filters: 3, kernel: 7}", "[2].conv: kernel 7x7 does not fit the 6x6x4 input "
     "(padding: valid). Try padding: same, or kernel: 6."),
    ("¦add", "[2]: add joins several inputs, got none. Give it from: [a, b]."),
    ("relu:\n      from: ¦nowhere", "[2].relu: from: there is no earlier layer 'nowhere'. "
     "Known: conv1, input, relu1."),
    ("relu:\n      from: ¦fc1", "[2].relu: from: there is no earlier layer 'fc1'. "
     "Known: conv1, input, relu1."),
    ("¦conv: {filters: 6, groups: 3}", "[2].conv: groups 3 does not divide the 4 input channels. Try groups: 2."),
    ("{relu: , name: a}\n    - {relu: , name: ¦a}", "[3].relu: the name 'a' is taken in this list. "
     "Give each layer its own."),
    ("¦branches: [[{conv: {filters: 3, kernel: 3}}], [{conv: {filters: 3, kernel: 1}}]]", "[2].branches: "
     "cannot join 4x4x3, 6x6x3: their heights and widths differ. Check strides and padding."),
    ("residual: [¦conv: {filters: 4, kernel: 7}]", "[2].residual[0].conv: kernel 7x7 does not fit the 6x6x4 "
     "input (padding: valid). Try padding: same, or kernel: 6."),
    ("residual: {layers: [relu], shortcut: [¦dense: 3]}", "[2].residual.shortcut[0]: unknown layer 'dense'. "
     "Did you mean fc?"),
    ("branches: [[relu], [¦dense: 3]]", "[2].branches[1][0]: unknown layer 'dense'. Did you mean fc?"),
    ("branches: [¦conv: 3]", "[2].branches[0]: expected a list of layers, got a mapping with conv"),
    ("aux: {layers: [flatten, ¦fc: 7, softmax]}", "[2].aux.layers[1].fc: digits has 10 classes, the network "
     "gives 7 outputs. Try 10."),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "message"), LAYERS, ids=[layer for layer, _ in LAYERS])
def test_layer(refused_at, base, layer, message):
    assert refused_at(base.replace("- relu\n", f"- relu\n    - {layer}\n")) == f"model.layers{message}"


OTHERS = [
    # (what stands in the base, what stands there instead, the message)
    ("epochs: 3", "¦n_epochs: 3", "train: unknown key 'n_epochs'. Did you mean epochs?"),
    ("epochs: 3", "¦lr: 0.1", "train: unknown key 'lr'. It belongs in train.optimizer."),
    ("epochs: 3", "¦warmup: 1 epoch", "train: unknown key 'warmup'. It belongs in train.schedule."),
    ("epochs: 3", "¦shuffle: true", "train: unknown key 'shuffle'. Training images are always shuffled, by the seed."),
    ("epochs: 3", "epochs: ¦0", "train.epochs: expected more than 0, got 0"),
    ("epochs: 3", "epochs: ¦1e3", "train.epochs: expected a whole number, got 1000.0. Write 1000."),
    ("epochs: 3", "epochs: ¦1e400", "train.epochs: 1e400 is out of range"),
    ("epochs: 3", "epochs: ¦" + "9" * 5000, "train.epochs: a whole number of 5000 digits is out of range"),
    ("epochs: 3", "log_every: ¦5", "train.log_every: expected a length of training, got 5. "
     "Write 5 epochs, 5 steps or 5 %."),
    ("epochs: 3", "log_every: ¦0 steps", "train.log_every: expected more than 0, got text '0 steps'"),
    ("epochs: 3", "max_time: ¦30", "train.max_time: expected a time, got 30. Write 90 s, 30 min or 2 h."),
    ("epochs: 3", "precision: ¦bf16", "train.precision: expected 'float32', 'bfloat16' or 'auto', got text 'bf16'. "
     "Did you mean bfloat16?"),
    ("epochs: 3", "early_stop: ¦5", "train.early_stop: expected a mapping, got 5. Write early_stop: {patience: 3}."),
    ("epochs: 3", "ema: ¦true", "train.ema: expected a number, got true. Write ema: 0.999."),
    ("epochs: 3", "early_stop: {¦paitence: 5}", "train.early_stop: unknown key 'paitence'. Did you mean patience?"),
    ("epochs: 3", "ema: ¦1", "train.ema: expected less than 1, got 1"),
    ("epochs: 3", "class_weights: [1, ¦0]", "train.class_weights[1]: expected more than 0, got 0"),
    ("epochs: 3", "class_weights: ¦[1, 2]", "train.class_weights: expected 10 numbers, one for each class of digits, "
     "got 2"),
    ("epochs: 3", "class_weights: ¦equal", "train.class_weights: expected 'balanced' or a list, got text 'equal'"),
    ("epochs: 3", "loss: ¦crossentropy", "train.loss: unknown loss 'crossentropy'. Did you mean cross_entropy?"),
    ("epochs: 3", "loss: {cross_entropy: {label_smoothing: ¦1}}",
     "train.loss.cross_entropy.label_smoothing: expected less than 1, got 1"),
    ("epochs: 3", "schedule: ¦cosin", "train.schedule: unknown schedule 'cosin'. Did you mean cosine?"),
    ("epochs: 3", "schedule: {cosine: {warmup: ¦3}}", "train.schedule.cosine.warmup: expected a length of training, "
     "got 3. Write 3 epochs, 3 steps or 3 %."),
    ("lr: 0.1", "lr: ¦-1", "train.optimizer.sgd.lr: expected more than 0, got -1"),
    ("lr: 0.1", "lr: ¦.inf", "train.optimizer.sgd.lr: expected a finite number, got inf"),
    ("lr: 0.1", "lr: ¦'0.1'", "train.optimizer.sgd.lr: expected a number, got text '0.1'. Write 0.1, without quotes."),
    ("lr: 0.1", "¦learning_rate: 0.1", "train.optimizer.sgd: unknown key 'learning_rate'. Did you mean lr?"),
    ("{sgd: {lr: 0.1}}", "¦adam", "train.optimizer: needs lr (learning rate; the schedule changes it over time)"),
    ("{sgd: {lr: 0.1}}", "{sgd: 0.1, ¦adam: 0.1}", "train.optimizer: expected one optimizer: name, name: value or "
     "name: {field: value}, got a mapping with sgd, adam. Keep one."),
    ("source: digits", "source: ¦MNIST", "data.source: unknown data source 'MNIST'. Did you mean mnist?"),
    ("source: digits", "source: {mnist: {mirrors: [¦'ftp://x']}}", "data.source.mnist.mirrors[0]: expected an address "
     "that begins with http:// or https://, got text 'ftp://x'"),
    ("source: digits", "source: {folder: {¦pth: x}}", "data.source.folder: unknown key 'pth'. Did you mean path?"),
    ("source: digits", "source: digits\n  augment: [{random_resized_crop: {size: 8, ¦scale: [0.08, 1]}}]",
     "data.augment[0].random_resized_crop: unknown key 'scale'. Write area: 0.08 for a scale of 0.08 to 1."),
    ("source: digits", "source: digits\n  augment: [{random_resized_crop: {size: 8, ¦ratio: [0.75, 1.33]}}]",
     "data.augment[0].random_resized_crop: unknown key 'ratio'. Write aspect: 1.33 for a ratio of 3/4 to 4/3."),
    ("lr: 0.1}", "lr: 0.1}, ¦momentum: 0.9", "train.optimizer: expected one optimizer: name, name: value or name: "
     "{field: value}, got a mapping with sgd, momentum. Write sgd: {..., momentum: 0.9}."),
    ("source: digits", "source: digits\n  validation: ¦1", "data.validation: expected less than 1, got 1"),
    ("source: digits", "source: digits\n  dir: ¦''", "data.dir: expected a path, got an empty text"),
    ("[standardize]", "¦standardize", "data.preprocess: expected a list, got text 'standardize'. Write [standardize]."),
    ("[standardize]", "[{¦crop: 9}]", "data.preprocess[0]: cannot crop 8x8 to 9x9. Try pad or resize."),
    ("[8, 8, 1]", "¦[9, 8, 1]", "model.input: the input is 9x8x1, but digits gives 8x8x1 after preprocessing. "
     "Try input: [8, 8, 1]."),
    ("[8, 8, 1]", "¦8", "model.input: expected a list, got 8. Write [8]."),
    ("[8, 8, 1]", "[¦0, 8, 1]", "model.input[0]: expected more than 0, got 0"),
    ("[8, 8, 1]", "[¦true, 8, 1]", "model.input[0]: expected a whole number, got true"),
    ("fc: 10", "¦fc: 7", "model.layers[2].fc: digits has 10 classes, the network gives 7 outputs. Try 10."),
    ("name: broken\n", "name: broken\n¦trian: 3\n", "unknown key 'trian'. Did you mean train?"),
    ("name: broken\n", "name: broken\n¦epochs: 3\n", "unknown key 'epochs'. It belongs in train."),
    ("train:", "¦training:", "unknown key 'training'. Did you mean train?"),
    ("data:", "seed: ¦-1\ndata:", "seed: expected at least 0, got -1"),
]  # fmt: skip


@pytest.mark.parametrize(("was", "now", "message"), OTHERS, ids=[other[1][:40] for other in OTHERS])
def test_elsewhere(refused_at, base, was, now, message):
    assert was in base
    assert refused_at(base.replace(was, now)) == message


OUTSIDE = ["../../etc/x", "/etc/x", "a/b", "..", ".x", "-x", "''", '"a\\nb"', '"\\e[31m"', "a" * 101, "é" * 51]


@pytest.mark.parametrize("name", OUTSIDE)
def test_run_name_outside(refused, base, name):
    (error,) = refused(base.replace("name: broken", f"name: {name}"))
    assert error.startswith("x.yaml:1:7  name: not a name for a run: text ")
    assert error.endswith("Use letters, digits, '.', '_' and '-', beginning with a letter or digit: it names a folder.")
    assert "\x1b" not in error


@pytest.mark.parametrize("name", ["a", "Größe-2", "网络", "x.y_z-1", "1e5", "no", "007"])
def test_run_name_inside(cnn, base, tmp_path, name):
    quoted = f"'{name}'" if name == "1e5" else name
    (tmp_path / "x.yaml").write_text(base.replace("broken", quoted), encoding="utf-8")
    assert cnn("inspect", "x.yaml", "--json").code == 0


def test_all_at_once(refused, base):
    """Words, values, shapes of layers above the first wrong one, and the data, in the order of the file."""
    text = base.replace("epochs: 3", "epochs: 0").replace("lr: 0.1", "learning_rate: 0.1").replace("- relu", "- Relu")
    text = text.replace("kernel: 3", "kernel: 9").replace("[8, 8, 1]", "[8, 8]").replace("name:", "nam:")
    text = text.replace("standardize", "standardise")
    assert [error.partition("  ")[0] for error in refused(text)] == [
        "x.yaml:1:1", "x.yaml:4:16", "x.yaml:8:7", "x.yaml:9:7", "x.yaml:13:11", "x.yaml:14:21",
    ]  # fmt: skip
    assert [error.partition("  ")[0] for error in refused(text.replace("standardise", "standardize"))] == [
        "x.yaml:1:1", "x.yaml:6:10", "x.yaml:8:7", "x.yaml:9:7", "x.yaml:13:11", "x.yaml:14:21",
    ]  # fmt: skip


def test_every_layer_wrong(refused, base):
    """A list whose items are all wrong is not empty as well."""
    text = base.replace("conv: {filters: 4, kernel: 3}", "convv").replace("- relu", "- rel").replace("fc:", "fcc:")
    errors = refused(text.replace("- softmax", "- smax"))
    assert [error.partition("  ")[0] for error in errors] == [f"x.yaml:{line}:7" for line in (8, 9, 10, 11)]


def test_inline_rows_for_a_map_of_one_channel(refused, base):
    rows = "[[0, 1], [1, 0]]"
    text = base.replace("source: digits", f"source: {{inline: {{inputs: [{rows}, {rows}], labels: [0, 1]}}}}")
    text = text.replace("[8, 8, 1]", "[2, 2, 1]").replace("kernel: 3", "kernel: 1").replace("fc: 10", "fc: 2")
    assert refused(text) == [
        "x.yaml:6:10  model.input: the input is 2x2x1, but inline gives 2x2 after preprocessing. Write each number as "
        "[number], for one channel; input: [2, 2] is length x channels."
    ]


def test_shapes_above_a_wrong_layer(refused, base):
    text = base.replace("kernel: 3", "kernel: 9").replace("- fc: 10", "- dense: 10")
    assert refused(text) == [
        "x.yaml:8:7  model.layers[0].conv: kernel 9x9 does not fit the 8x8x1 input (padding: valid). "
        "Try padding: same, or kernel: 8.",
        "x.yaml:10:7  model.layers[2]: unknown layer 'dense'. Did you mean fc?",
    ]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("model:", "x.yaml:5:7  model: expected a mapping, got nothing"),
        ("model: []", "x.yaml:5:8  model: expected a mapping, got a list"),
        ("model: {input: [8, 8, 1]}", "x.yaml:5:8  model: needs layers (the layers in order)"),
        ("model: {input: [8, 8, 1], layers: }", "x.yaml:5:34  model.layers: expected a list of layers, got nothing"),
        ("model: {input: [8, 8, 1], layers: {fc: 10}}",
         "x.yaml:5:35  model.layers: expected a list of layers, got a mapping with fc"),
        ("model: {input: [8, 8, 1], layers: []}", "x.yaml:5:35  model.layers: expected a list of at least 1, got 0"),
        ("model: {layers: [{fc: 10}]}",
         "x.yaml:5:8  model: needs input ([height, width, channels], [length, channels] or [units])"),
        ("", "x.yaml:1:1  needs model"),
    ],
)  # fmt: skip
def test_missing(refused, base, section, expected):
    text = base[: base.index("model:")] + section + "\n" + base[base.index("train:") :]
    assert refused(text) == [expected]


def test_many_are_one_screen(refused, base):
    errors = refused(base.replace("- relu", "\n    - ".join(["- relu", *["dense: 3"] * 100])))
    assert len(errors) == 21
    assert errors[-1] == "and 80 more problems"


def test_too_many_parameters_for_this_machine(refused, base):
    wide = "- relu\n    - fc: 16777216\n    - fc: 16777216"
    (error,) = refused(base.replace("- relu", wide))
    assert re.fullmatch(r"x.yaml:8:5  model.layers: [\d,]+ parameters need [\d,]+ GiB to train, this machine has "
                        r"[\d,]+ GiB. `cnn inspect` shows which layers hold them.", error)  # fmt: skip


@pytest.mark.parametrize("command", ["inspect", "train", "data"])
def test_every_command_refuses(refused, base, command):
    (error,) = refused(base.replace("epochs", "epoch"), command=command)
    assert error.startswith("x.yaml:13:3  train: unknown key")


def test_as_a_process(base, tmp_path):
    """The same by the program itself; and a tag that would run a command does not."""
    cases = {
        "word": (base.replace("fc:", "dense:"), "error: x.yaml:10:7  model.layers[2]: unknown layer 'dense'."),
        "tag": ("a: !!python/object/apply:os.system ['touch canary']\n", "error: x.yaml:1:4  tags are not read"),
        "bytes": (b"\xff\xfea\0", "error: x.yaml:1:1  is not UTF-8 text"),
    }
    for content, expected in cases.values():
        (tmp_path / "x.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        command = [sys.executable, "-m", "cnncli", "train", "x.yaml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, done
        assert done.stderr.startswith(expected)
        assert "Traceback" not in done.stderr
        assert not done.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_debug_shows_where(cnn, tmp_path, monkeypatch):
    monkeypatch.setenv("CNN_DEBUG", "1")
    outcome = cnn("inspect", "nowhere.yaml")
    assert outcome.code == 2
    assert "Traceback" in outcome.err


WRONG = [
    None, True, 0, -1, 2.5, 1e30, float("nan"), float("inf"), "abc", "", "5 epochs", [], [[]], [None], [1, 2, 3], {},
    {"a": 1},
]  # fmt: skip


def wrong_values():
    """(class, field, value, what pydantic says of it) of every spec there is."""
    from cnncli.config.field_lookup import choices, fields
    from cnncli.config.schema import DataSettings, TrainSettings
    from cnncli.layers import LAYERS, Entry
    from cnncli.layers.initializers import INITIALIZERS

    infos = [info for section in (DataSettings, TrainSettings) for info in fields(section).values()]
    members = [member for info in infos for family in choices(info) for member in family.members.values()]
    for model in [*LAYERS, *INITIALIZERS, *members, DataSettings, TrainSettings, Entry]:
        for name, value in itertools.product(fields(model), WRONG):
            try:
                model.model_validate({name: value})
            except ValidationError as error:
                yield model.__name__, name, value, error.errors(include_url=False)


def test_every_field_refuses_in_words(foreign):
    """Values of every kind for every field: whatever pydantic says, we say it in our words."""
    from cnncli.config import messages
    from cnncli.config.problems import _one_per_union

    refused = 0
    for *what, errors in wrong_values():
        told = [each for each in _one_per_union(errors) if each["type"] not in ("missing", "extra_forbidden")]
        words = " ".join(f"{messages.message(each)} {messages.hint(each)}" for each in told)
        assert not foreign.search(words), (what, words)
        assert not re.search("does not fit here|should", words), (what, words)
        refused += len(told)
    assert refused > 1000
