"""A config with every default written out is the same config; no change to a file brings anything but words."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnncli.bundled import bundled_configs
from cnncli.config.field_lookup import fields
from cnncli.config.load import load
from cnncli.config.reader import read_text, read_value
from cnncli.config.schema import Config, DataSettings, EarlyStop, ModelSettings, TrainSettings
from cnncli.config.writer import to_yaml
from cnncli.data.sources import SOURCES
from cnncli.data.transforms.augment import AUGMENTATIONS
from cnncli.data.transforms.preprocess import STEPS
from cnncli.errors import ConfigError
from cnncli.layers import LAYERS
from cnncli.layers.initializers import INITIALIZERS
from cnncli.losses import LOSSES
from cnncli.optimizers import Sgd
from cnncli.schedules import SCHEDULES
from cnncli.spec import FIELD_WORDS, NO_FIELD, OTHERWISE

FAMILIES = [LAYERS, SOURCES, STEPS, AUGMENTATIONS, LOSSES, SCHEDULES, INITIALIZERS, (Sgd,)]
EXAMPLES = [
    example
    for layer in LAYERS
    for example in re.findall(r"Example: `(.*?)`", layer.__doc__)
    if "from" not in example
]  # fmt: skip


@pytest.mark.parametrize("path", bundled_configs().values(), ids=lambda path: path.stem)
def test_bundled_configs_read_back(path, tmp_path):
    config = load(path).config
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(to_yaml(config.to_yaml()), encoding="utf-8")
    assert load(resolved).config == config


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(EXAMPLES), st.none() | st.sampled_from(["stem", "a-b", "Größe", "no", "e5"])),
                min_size=1, max_size=6))  # fmt: skip
def test_random_layers_read_back(layers):
    entries = []
    for example, name in layers:
        entry = read_value(example, "x").plain()
        entry = {entry: None} if isinstance(entry, str) else entry
        entries.append(entry | ({"name": name} if name else {}))
    model = ModelSettings.model_validate({"input": [8, 8, 3], "layers": entries})
    again = read_text(to_yaml(model.to_yaml()), "x").plain()
    assert ModelSettings.model_validate(again) == model
    assert ModelSettings.model_validate(again).to_yaml() == model.to_yaml()


def test_every_field_is_explained():
    for section in (DataSettings, ModelSettings, TrainSettings, EarlyStop):
        assert all(info.description for info in section.model_fields.values()), section
    for family in FAMILIES:
        for member in family:
            assert member.__doc__, member
            assert member.shorthand is None or member.shorthand in fields(member), member


def test_words_of_others():
    """No word of another framework is one of ours in the same family; each that is translated has its translation."""
    for family in FAMILIES:
        kinds = [member.kind for member in family]
        words = [word for member in family for word in member.aliases]
        assert len(set(kinds)) == len(kinds)
        assert not set(kinds) & set(words) - set(OTHERWISE), family[0].family
        assert len(set(words)) == len(words), sorted(word for word in words if words.count(word) > 1)
        assert all(word == word.lower() for word in words)
    known = {name for family in FAMILIES for member in family for name in fields(member)}
    known |= {name for section in (Config, DataSettings, ModelSettings, TrainSettings) for name in fields(section)}
    known |= {"b1", "b2", "eps"}  # Optax's
    for word, names in FIELD_WORDS.items():
        assert set(names.split()) & known, word
    assert not set(NO_FIELD) & set(FIELD_WORDS)
    assert all(name in {layer.kind for layer in LAYERS} for name in OTHERWISE.values())


def test_name_follows_the_file(tmp_path, base):
    text = base.replace("name: broken\n", "")
    for stem, name in [("lenet-5.v2", "lenet-5.v2"), ("my net", "my-net"), ("-x", "x"), ("...", "run"),
                       ("é" * 80, "é" * 50), ("1e5", "1e5"), ("网络", "网络")]:  # fmt: skip
        path = tmp_path / f"{stem}.yaml"
        path.write_text(text)
        config = load(path).config
        assert config.name == name
        assert read_text(to_yaml(config.to_yaml()), "x").plain()["name"] == name


def test_the_given_text_is_kept(tmp_path, base):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf# mine\r\n" + base.replace("\n", "\r\n").encode())
    loaded = load(tmp_path / "x.yaml")
    assert loaded.text == "# mine\r\n" + base.replace("\n", "\r\n")
    assert loaded.line((0,)) == 9


WORDS = st.sampled_from(
    ["conv", "fc: 3", "dense", "{}", "[]", "[1, 2]", "{a: 1}", "null", "true", "-1", "0", "1e400", "1e-3", ".nan", "''",
     "from", "name", "blocks:", "layers", "&a", "*a", "!t", "\t", "- ", ": ", "\n", "\0", "é", "\u2028", "9" * 30, "$x",
     "x" * 200]
)  # fmt: skip
BLOCKS = "blocks:\n  b:\n    params: [w, v: 2]\n    layers: [{conv: {filters: $w, padding: same}}, {fc: $v}]\n"


@st.composite
def changed(draw, text):
    """``text`` with characters cut out, words put in, lines moved."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 8)))
        kind = draw(st.sampled_from(["cut", "put", "move"]))
        if kind == "move":
            lines = text.splitlines(keepends=True) or [""]
            line = lines.pop(draw(st.integers(0, len(lines) - 1)))
            lines.insert(draw(st.integers(0, len(lines))), line)
            text = "".join(lines)
        else:
            text = text[:start] + (draw(WORDS) if kind == "put" else "") + text[end:]
    return text


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_is_read_or_refused_in_words(tmp_path, base, foreign, data):
    """A config, or a list of problems, each with a line of the file."""
    text = BLOCKS + base.replace("- relu", "- b: 4\n    - branches: [[relu], [{conv: 3}]]\n    - {b: 3, name: x}")
    text = data.draw(changed(text))
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    problems = []
    try:
        load(path)
    except ConfigError as error:
        problems = error.problems
    assert not foreign.search("\n".join(map(str, problems)))
    assert all(problem.place and (problem.place.line or 1) <= text.count("\n") + 1 for problem in problems[:20])
