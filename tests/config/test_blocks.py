"""A user's own blocks: written out right, refused with the place in the block and the line of its use."""

import pytest

from cnncli.config.load import load

BLOCKS = """\
data: {source: digits}
blocks:
  basic:
    params: [width, stride: 1]
    layers:
      - conv: {filters: $width, stride: $stride, padding: same}
      - relu
model:
  input: [8, 8, 1]
  layers:
    - basic: 4
    - basic: {width: 5, stride: 2}
    - fc: 10
train: {optimizer: {sgd: 0.1}}
"""


def nodes(tmp_path, text, *overrides):
    (tmp_path / "x.yaml").write_text(text)
    loaded = load(tmp_path / "x.yaml", overrides)
    return {node.name: node.shape for node in loaded.graph.nodes}


def test_written_out(tmp_path):
    assert nodes(tmp_path, BLOCKS) == {
        "basic1.conv1": (8, 8, 4), "basic1.relu1": (8, 8, 4), "basic2.conv1": (4, 4, 5), "basic2.relu1": (4, 4, 5),
        "fc1": (10,),
    }  # fmt: skip


def with_layers(layers: str, blocks: str = BLOCKS) -> str:
    return blocks[: blocks.index("    - basic: 4")] + layers + "    - fc: 10\n" + blocks[blocks.index("train:") :]


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ("    - {basic: 4, name: stem}\n    - {relu: , from: stem}\n", ["stem.conv1", "stem.relu1", "relu1", "fc1"]),
        ("    - basic: {width: 1}\n    - {add: , from: [basic1, input]}\n",
         ["basic1.conv1", "basic1.relu1", "add1", "fc1"]),
        # a layer may be called as a block is: names in from are layers' names
        ("    - {basic: 1, name: basic}\n    - {add: , from: [basic, input]}\n",
         ["basic.conv1", "basic.relu1", "add1", "fc1"]),
        ("    - residual: [basic: 1]\n",
         ["residual1.basic1.conv1", "residual1.basic1.relu1", "residual1.add1", "fc1"]),
    ],
)  # fmt: skip
def test_used_like_a_layer(tmp_path, layers, names):
    assert list(nodes(tmp_path, with_layers(layers))) == names


def test_parameters_of_every_kind(tmp_path):
    """Numbers, lists, layers; defaults that speak of parameters before them; blocks in blocks."""
    text = """\
data: {source: digits}
blocks:
  inner:
    params: [width, wider: $width, kernel: [3, 1], path: [relu]]
    layers: [{conv: {filters: $width, kernel: $kernel, padding: same}}, {residual: $path}, {conv: $wider}]
  outer: {params: [width], layers: [inner: {width: $width}, inner: {width: $width, wider: 7, path: [tanh]}]}
model: {input: [8, 8, 1], layers: [outer: 2, fc: 10]}
train: {optimizer: {sgd: 0.1}}
"""
    assert nodes(tmp_path, text) == {
        "outer1.inner1.conv1": (8, 8, 2), "outer1.inner1.residual1.relu1": (8, 8, 2),
        "outer1.inner1.residual1.add1": (8, 8, 2), "outer1.inner1.conv2": (6, 6, 2),
        "outer1.inner2.conv1": (6, 6, 2), "outer1.inner2.residual1.tanh1": (6, 6, 2),
        "outer1.inner2.residual1.add1": (6, 6, 2), "outer1.inner2.conv2": (4, 4, 7), "fc1": (10,),
    }  # fmt: skip


def test_overrides_reach_into_blocks(tmp_path):
    found = nodes(tmp_path, BLOCKS, "blocks.basic.layers[0].conv.filters=3", "model.layers[1].basic.stride=1")
    assert found["basic1.conv1"] == (8, 8, 3)
    assert found["basic2.conv1"] == (8, 8, 3)


def test_a_run_needs_no_blocks(tmp_path):
    """The resolved config has them written out, and reads back to the same."""
    from cnncli.config.writer import to_yaml

    (tmp_path / "x.yaml").write_text(BLOCKS)
    config = load(tmp_path / "x.yaml").config
    assert nodes(tmp_path, to_yaml(config.to_yaml())) == nodes(tmp_path, BLOCKS)


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("- basic: 4", "- ¦basic", "model.layers[0]: basic needs width"),
        ("- basic: 4", "- basic: {width: 4, ¦strid: 2}", "model.layers[0].basic: basic has no parameter 'strid'. "
         "Did you mean stride?"),
        ("- basic: 4", "- basic: ¦abc", "model.layers[0].basic: expected a whole number, got text 'abc' (in basic, "
         "used on line 11)"),
        ("stride: 2", "stride: ¦0", "model.layers[1].basic.stride: expected more than 0, got 0 (in basic, used on "
         "line 12)"),
        ("conv:", "¦cnov:", "blocks.basic.layers[0]: unknown layer 'cnov' (in basic, used on line 11). "
         "Did you mean conv?"),
        ("stride: $stride", "¦strides: $stride", "blocks.basic.layers[0].conv: unknown key 'strides' (in basic, "
         "used on line 11). Did you mean stride?"),
        ("$stride", "¦$strid", "blocks.basic.layers[0].conv.stride: the block 'basic' has no parameter $strid. "
         "Did you mean stride?"),
        ("stride: 1]", "stride: ¦$missing]", "blocks.basic.params[1].stride: there is no parameter $missing before "
         "stride"),
        ("[width, stride: 1]", "[width, stride: 1, ¦width]",
         "blocks.basic.params[2]: not a new parameter's name: text 'width'"),
        ("[width, stride: 1]", "¦{width: 1, stride: 1}", "blocks.basic.params: expected a list of parameters, got a "
         "mapping with width, stride. Write params: [width, stride: 1]."),
        ("- relu", "- ¦basic: 3", "blocks.basic.layers[1]: the block 'basic' calls itself (basic > basic) (in basic, "
         "used on line 11)"),
        ("  basic:\n", "  ¦conv: {layers: [relu]}\n  basic:\n", "blocks.conv: 'conv' is a word of its own. "
         "Choose another name."),
        ("  basic:\n", "  ¦from: {layers: [relu]}\n  basic:\n", "blocks.from: 'from' is a word of its own. "
         "Choose another name."),
        ("  basic:\n", "  ¦3x: {layers: [relu]}\n  basic:\n", "blocks.3x: '3x' is not a name. Choose another name."),
        ("  basic:\n", "  ¦x: {params: [a]}\n  basic:\n", "blocks.x: a block needs layers. "
         "Write {params: [...], layers: [...]}."),
        ("    params:", "    ¦parms: []\n    params:", "blocks.basic: unknown key 'parms'. Did you mean params?"),
        ("- basic: 4", "- basic: 4\n      ¦relu:", "model.layers[0]: one entry holds one layer, got basic, relu. "
         "Begin each with its own -."),
        ("- basic: 4", "- conv: ¦$width", "model.layers[0].conv: expected a whole number, got text '$width'. "
         "A $parameter stands only inside a block."),
    ],
)  # fmt: skip
def test_refused(refused_at, was, now, message):
    assert was in BLOCKS
    assert refused_at(BLOCKS.replace(was, now, 1)) == message


def test_a_misfit_names_block_and_use(refused):
    errors = refused(BLOCKS.replace("padding: same", "kernel: 7"))
    assert errors == [
        "x.yaml:6:9  blocks.basic.layers[0].conv: kernel 7x7 does not fit the 2x2x4 input (padding: valid) "
        "(in basic, used on line 12). Try padding: same, or kernel: 2."
    ]


def test_problems_elsewhere_are_told_too(refused):
    errors = refused(BLOCKS.replace("- basic: 4", "- basic").replace("optimizer:", "optimiser:"))
    assert [error.partition("  ")[0] for error in errors] == ["x.yaml:11:7", "x.yaml:14:9"]


@pytest.mark.parametrize("blocks", ["", "[a]", "abc"])
def test_not_blocks(refused, blocks):
    rest = BLOCKS[BLOCKS.index("model:") :].replace("    - basic: 4\n    - basic: {width: 5, stride: 2}\n", "")
    (error,) = refused(f"data: {{source: digits}}\nblocks: {blocks}\n{rest}")
    assert "blocks: expected a mapping of blocks, got " in error


def test_two_that_call_each_other(refused):
    text = with_layers("    - a\n").replace("  basic:\n", "  a: {layers: [b]}\n  b: {layers: [a]}\n  basic:\n")
    assert "the block 'a' calls itself (a > b > a)" in refused(text)[0]


def chain(copies: int, times: int) -> str:
    """Blocks b0, b1, ... that each use the one before ``copies`` times, and a network of the last."""
    uses = [", ".join([f"b{i}"] * copies) for i in range(times)]
    blocks = "".join(f"  b{i}: {{layers: [{use}]}}\n" for i, use in enumerate(uses, 1))
    text = BLOCKS.replace("  basic:\n", "  b0: {layers: [relu]}\n" + blocks + "  basic:\n")
    return with_layers(f"    - b{times}\n", text)


def test_bombs_do_not_go_off(refused, monkeypatch):
    from cnncli.config import blocks

    (deep,) = refused(chain(1, 300))
    assert "the blocks write out to values nested more than 128 deep" in deep
    monkeypatch.setattr(blocks, "MAX_VALUES", 5000)
    (wide,) = refused(chain(10, 9))
    assert "the blocks write out to over 5,000 values" in wide
    doubling = "".join(f"  d{i}: {{params: [x], layers: [d{i - 1}: {{x: [$x, $x]}}]}}\n" for i in range(1, 40))
    text = BLOCKS.replace("  basic:\n", "  d0: {params: [x], layers: [{conv: $x}]}\n" + doubling + "  basic:\n")
    assert "the blocks write out to over 5,000 values" in refused(with_layers("    - d25: 3\n", text))[0]


def test_as_deep_as_allowed(tmp_path):
    assert len(nodes(tmp_path, chain(1, 40))) == 2
