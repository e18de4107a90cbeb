"""What is within the reader's limits can be trained: the file with every default filled in reads back."""

import pytest

from cnncli.config import blocks, reader, writer
from cnncli.config.field_lookup import choices, fields
from cnncli.config.load import load
from cnncli.config.reader import RESOLVED, RESOLVED_DEPTH, RESOLVED_GROWTH, read_value
from cnncli.config.schema import DataSettings, TrainSettings
from cnncli.config.writer import to_yaml
from cnncli.errors import ConfigError
from cnncli.layers import LAYERS
from cnncli.layers.initializers import INITIALIZERS

CONFIG = """\
data: {source: SOURCE}
blocks: {ten: {layers: [TEN]}, hundred: {layers: [HUNDRED]}, deep: {layers: [DEEP]}}
model: {input: INPUT, layers: [LAYERS, {fc: 10}]}
train: {optimizer: {sgd: 0.1}}
"""


def config(source="digits", size="[8, 8, 1]", layers="relu", ten=10):
    """A config of ``layers``, which may be blocks of ten and a hundred convolutions, or one of 20 nested residuals."""
    ten = ", ".join(["{conv: {filters: 1, padding: same}}"] * ten)
    text = CONFIG.replace("TEN", ten).replace("HUNDRED", ", ".join(["ten"] * 10)).replace("DEEP", nested(20))
    return text.replace("SOURCE", source).replace("INPUT", size).replace("LAYERS", layers)


def nested(depth, inner="{conv: {filters: 1, padding: same, init: {constant: 0.1}}}"):
    return "{residual: [" * depth + inner + "]}" * depth


def values(value):
    """How many marks of YAML a value is: what the reader counts."""
    if isinstance(value, dict):
        return 2 + sum(1 + values(item) for item in value.values())
    return 2 + sum(map(values, value)) if isinstance(value, list) else 1


def depth(value):
    """How many lists and mappings stand inside each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


CASES = {
    "4,940 inputs": config(
        f"{{inline: {{inputs: [{'[0], [1], ' * 2470}], labels: [{'0, 9, ' * 2470}]}}}}",
        "[1]",
        ", ".join(["{fc: 9}"] * 8),
        ten=1,
    ),
    "700 convolutions": config(layers=", ".join(["hundred"] * 7)),
    "20 residuals": config(layers=nested(20)),
    "as deep as is read": config(layers=nested(29)),
    "deeper, by a block": config(layers=nested(18, "deep")),
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_what_is_read_can_be_resolved_and_read_again(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    loaded = load(tmp_path / "x.yaml")
    resolved = loaded.config.to_yaml()
    assert values(resolved) > reader.MAX_VALUES or depth(resolved) > reader.MAX_DEPTH  # of what people write
    (tmp_path / RESOLVED).write_text(to_yaml(resolved))
    assert load(tmp_path / RESOLVED).config == loaded.config


def test_no_word_grows_beyond_the_limit():
    """The bare form of every spec, one value, becomes fewer than the factor; ``kind: value`` is two."""
    infos = [info for section in (DataSettings, TrainSettings) for info in fields(section).values()]
    members = [member for info in infos for family in choices(info) for member in family.members.values()]
    grown = {}
    for member in [*LAYERS, *INITIALIZERS, *members]:
        for size, written in ((1, member.kind), (2, {member.kind: 3}), (2, {member.kind: 0.5})):
            try:
                grown[member] = values(member.from_yaml(written).to_yaml()) / size
            except ValueError:
                continue
            break
    assert len(grown) > 60
    assert max(grown.values()) < RESOLVED_GROWTH
    assert blocks.MAX_VALUES == reader.MAX_VALUES


def test_the_deepest_stays_within_the_limit(tmp_path):
    """Each written level becomes at most one and a half: ``residual: [...]`` is ``residual: {layers: [...]}``."""
    (tmp_path / "x.yaml").write_text(config(layers=nested(29)))
    root = load(tmp_path / "x.yaml").root.plain()
    resolved = load(tmp_path / "x.yaml").config.to_yaml()
    assert depth(resolved) <= 1.5 * depth(root) + 8
    assert 1.5 * blocks.MAX_DEPTH + 8 < RESOLVED_DEPTH


def test_what_would_not_be_read_again_is_not_written(monkeypatch):
    monkeypatch.setattr(writer, "MAX_BYTES", 100)
    with pytest.raises(ConfigError, match="every default filled in"):
        to_yaml(["x" * 90] * RESOLVED_GROWTH * 2)
    assert len(to_yaml(["x" * 90] * RESOLVED_GROWTH)) < 100 * RESOLVED_GROWTH


def test_a_resolved_file_has_limits_too(tmp_path):
    for text in ("a: [" + "[" * 300 + "]" * 300 + "]", "a: {" + "b: {" * 300 + "}" * 300 + "}"):
        with pytest.raises(ConfigError, match="nested more than 256 deep"):
            read_value(text, RESOLVED)


def test_a_block_of_thousands_used_thousands_of_times_is_refused_at_once(tmp_path):
    text = CONFIG.replace("TEN", ", ".join(["relu"] * 6000)).replace("HUNDRED", "relu").replace("DEEP", "relu")
    text = text.replace("SOURCE", "digits").replace("INPUT", "[8, 8, 1]").replace("LAYERS", ", ".join(["ten"] * 6000))
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match="the blocks write out to over 20,000 values"):
        load(tmp_path / "x.yaml")


def test_thousands_of_layers_that_do_not_fit(tmp_path):
    """Looking for what was meant by each of 2,500 unknown names among 2,500 takes minutes."""
    wrong = ", ".join(f"{{relu: , name: a{i}}}, {{relu: , from: z{i}}}" for i in range(1200))
    (tmp_path / "x.yaml").write_text(config(layers=wrong))
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "x.yaml")
    assert len(error.value.problems) == 21
