"""``key=value`` on the command line: as if the file had been edited, with the same messages."""

import copy
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cnncli.config.load import load
from cnncli.config.reader import read_text
from cnncli.config.writer import to_yaml
from cnncli.errors import ConfigError


@pytest.fixture
def resolved(tmp_path, base):
    """The config with overrides, as plain data with every default filled in."""
    (tmp_path / "x.yaml").write_text(base)
    return lambda *overrides: load(tmp_path / "x.yaml", overrides).config.to_yaml()


@pytest.mark.parametrize(
    ("overrides", "path", "value"),
    [
        (["train.epochs=5"], ("train", "epochs"), 5),
        (["train.epochs=5", "train.epochs=7"], ("train", "epochs"), 7),
        ([" train.epochs = 5"], ("train", "epochs"), 5),
        (["train.optimizer.sgd.lr=1e-3"], ("train", "optimizer", "sgd", "lr"), 0.001),
        (["train.optimizer={adam: {lr: 0.1}}"], ("train", "optimizer", "adam", "lr"), 0.1),
        (["train.optimizer=adam: 0.1"], ("train", "optimizer", "adam", "b1"), 0.9),
        (["train.early_stop.patience=2"], ("train", "early_stop", "patience"), 2),
        (["train.schedule=cosine", "train.schedule.cosine.end=0.5"], ("train", "schedule", "cosine", "end"), 0.5),
        (["train.max_time=30 min"], ("train", "max_time"), "30 min"),
        (["name=Größe"], ("name",), "Größe"),
        (["seed=3"], ("seed",), 3),
        (["data.validation=0"], ("data", "validation"), 0),
        (["data.preprocess=[]"], ("data", "preprocess"), []),
        (["data.preprocess[0]={scale: 255}"], ("data", "preprocess", 0, "scale", "by"), 255),
        (["data.preprocess[0].standardize.per=pixel"], ("data", "preprocess", 0, "standardize", "per"), "pixel"),
        (["model.layers[0].conv.filters=7"], ("model", "layers", 0, "conv", "filters"), 7),
        (["model.layers[1]=tanh"], ("model", "layers", 1), {"tanh": {}}),
        (["model.layers[1].name=act"], ("model", "layers", 1, "name"), "act"),
        # a short form opened: what it said stays
        (["model.layers[2].fc.bias=false"], ("model", "layers", 2, "fc", "units"), 10),
        (["model.layers[2].fc.units=10"], ("model", "layers", 2, "fc", "units"), 10),
        (["train.optimizer={sgd: 0.2}", "train.optimizer.sgd.momentum=0.5"], ("train", "optimizer", "sgd", "lr"), 0.2),
        (["model.layers[1]={max_pool: 3}", "model.layers[1].max_pool.stride=1"],
         ("model", "layers", 1, "max_pool", "kernel"), 3),
        (["model.layers[1]={residual: [relu]}", "model.layers[1].residual.shortcut=[tanh]"],
         ("model", "layers", 1, "residual", "layers"), [{"relu": {}}]),
        (["model.layers[1]={residual: [{conv: {filters: 4, padding: same}}]}",
          "model.layers[1].residual[0].conv.kernel=1"],
         ("model", "layers", 1, "residual", "layers", 0, "conv", "kernel"), 1),
    ],
)  # fmt: skip
def test_sets(resolved, overrides, path, value):
    found = resolved(*overrides)
    for step in path:
        found = found[step]
    assert found == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", None),
        ("=3", "is not an override. Write path.to.field=value, as in train.epochs=3."),
        ("train..epochs=3", "is not an override. Write path.to.field=value, as in train.epochs=3."),
        ("train.epochs[x]=3", "is not an override. Write path.to.field=value, as in train.epochs=3."),
        ("[0]=3", "is not an override. Write path.to.field=value, as in train.epochs=3."),
        ("train.\udcff=3", "is not an override. Write path.to.field=value, as in train.epochs=3."),
        ("train.epochs=abc", "train.epochs: expected a whole number, got text 'abc'"),
        ("train.epochs=", "train.epochs: expected a whole number, got nothing"),
        ("train.epochs==3", "train.epochs: expected a whole number, got text '=3'"),
        ("train.epochs=[1", "not YAML: expected ',' or ']', but got the end of the text"),
        ("train.epochs=&a 3", "anchors and aliases are not read (got &a). Use blocks: for what repeats."),
        ("train.epochs=!!python/object/apply:os.system [x]", "tags are not read (got "
         "tag:yaml.org,2002:python/object/apply:os.system). Write the plain value."),
        ("train.epochs=1e400", "train.epochs: 1e400 is out of range"),
        ("train.epoch=3", "train: unknown key 'epoch'. Did you mean epochs?"),
        ("trian.epochs=3", "unknown key 'trian'. Did you mean train?"),
        # shortcuts: the line to type
        ("epochs=3", "unknown key 'epochs'. Write train.epochs=3."),
        ("batch_size=32", "unknown key 'batch_size'. Write train.batch_size=32."),
        ("lr=0.1", "unknown key 'lr'. Write train.optimizer.sgd.lr=0.1."),
        ("train.learning_rate=0.1", "train: unknown key 'learning_rate'. Write train.optimizer.sgd.lr=0.1."),
        ("train.momentum=0.9", "train: unknown key 'momentum'. Write train.optimizer.sgd.momentum=0.9."),
        ("optimizer.lr=0.1", "unknown key 'optimizer'. Write train.optimizer.sgd.lr=0.1."),
        ("optimizer={adam: 0.1}", "unknown key 'optimizer'. Write train.optimizer={adam: 0.1}."),
        ("adam.lr=0.1", "unknown key 'adam'. Write train.optimizer={adam: {lr: 0.1}}."),
        ("warmup=1 epoch", "unknown key 'warmup'. Write train.schedule.constant.warmup=1 epoch."),
        ("train.schedule.warmup=3 %", "train.schedule: unknown schedule 'warmup'. "
         "Write train.schedule.constant.warmup=3 %."),
        ("layers[2].fc=3", "layers stands in model. Write model.layers[2].fc=3."),
        ("b1=0.9", "unknown key 'b1'. It belongs in train.optimizer."),
        ("train.optimizer.lr=0.1", "train.optimizer: expected one optimizer: name, name: value or name: "
         "{field: value}, got a mapping with sgd, lr. Write train.optimizer.sgd.lr=0.1."),
        ("name=../x", "name: not a name for a run: text '../x'. Use letters, digits, '.', '_' and '-', beginning with "
         "a letter or digit: it names a folder."),
        ("train.epochs[0]=3", "there is no train.epochs[0]: it is not a list. Items count from 0."),
        ("model.layers[9].fc=3", "there is no model.layers[9]: it has 4 items. Items count from 0."),
        ("model.layers.fc=3", "model.layers is a list. Write model.layers[0] for its first item."),
        ("train.epochs.x=3", "train.epochs is 3, which has no x. Write train.epochs=... to replace it."),
        ("model.layers[1].dropout.rate=3", "model.layers[1] is text 'relu', which has no dropout. "
         "Write model.layers[1]=... to replace it."),
        ("train.optimizer=adam", "train.optimizer: needs lr (learning rate; the schedule changes it over time)"),
        ("train.optimizer.adam.lr=0.1", "train.optimizer: expected one optimizer: name, name: value or name: "
         "{field: value}, got a mapping with sgd, adam. Write train.optimizer={adam: ...} to replace the other."),
        ("model.layers[2].conv=3",
         "model.layers[2]: one entry holds one layer, got fc, conv. Begin each with its own -."),
        ("model.layers[0].conv.kernel=9", "model.layers[0].conv: kernel 9x9 does not fit the 8x8x1 input "
         "(padding: valid). Try padding: same, or kernel: 8."),
        ("model.layers[2].fc=7", "model.layers[2].fc: digits has 10 classes, the network gives 7 outputs. Try 10."),
        ("data.preprocess[0]={crop: 9}", "data.preprocess[0]: cannot crop 8x8 to 9x9. Try pad or resize."),
    ],
)  # fmt: skip
def test_refused(refused, base, override, message):
    (error,) = refused(base, override)
    if message:
        assert error == f"{override}  {message}".encode("ascii", "backslashreplace").decode()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs" + ".x" * 5000 + "=3", "names a place more than 64 deep"),
        ("train.epochs=" + "9" * 5000, "train.epochs: a whole number of 5000 digits is out of range"),
        ("model.layers[2].fc=" + "9" * 19, "model.layers[2].fc: expected at most 16777216, got 9999999999999999999"),
        ("train.class_weights=[" + "1," * 19000 + "1]", "train.class_weights: expected 10 numbers, one for each class "
         "of digits, got 19001"),
    ],
    ids=["dots", "digits", "width", "list"],
)  # fmt: skip
def test_refused_at_any_length(refused, base, override, message):
    assert refused(base, override) == [f"{override[:97]}...  {message}" if len(override) > 100 else
                                       f"{override}  {message}"]  # fmt: skip


def test_many_long_overrides_together(refused, base):
    text = base.replace("[standardize]", "[standardize, standardize, standardize]")
    lists = [f"data.preprocess[{index}]=[{'scale,' * 9000}]" for index in range(3)]
    (error,) = refused(text, *lists)
    assert error == "x.yaml:1:1  holds more than 20,000 values with its overrides. Keep data in files."


def test_a_field_of_a_schedule_that_is_a_word(refused, base):
    text = base.replace("epochs: 3", "epochs: 3\n  schedule: cosine")
    assert refused(text, "train.schedule.warmup=1 epoch") == [
        "train.schedule.warmup=1 epoch  warmup belongs to cosine. Write train.schedule.cosine.warmup=..."
    ]


def test_a_wrong_file_keeps_its_place(refused, base):
    errors = refused(base.replace("fc: 10", "dense: 10"), "train.epochs=0", "train.keep=x")
    assert [error.partition("  ")[0] for error in errors] == ["train.epochs=0", "train.keep=x", "x.yaml:10:7"]


def test_all_malformed_ones_at_once(refused, base):
    assert len(refused(base, "train.epochs.x=3", "a..b=3", "model.layers[9]=3")) == 3


LEAVES = [
    ("seed",), ("name",), ("data", "validation"), ("data", "source"), ("model", "input"),
    ("model", "layers", 0, "conv"), ("model", "layers", 0, "conv", "kernel"), ("model", "layers", 1),
    ("model", "layers", 2, "fc"), ("train", "epochs"), ("train", "optimizer"), ("train", "optimizer", "sgd", "lr"),
    ("train", "schedule"), ("train", "nothing"), ("data",),
]  # fmt: skip
VALUES = [
    0, 3, -1, 2.5, True, None, "abc", "", [], [3], {}, {"sgd": 0.1}, {"adam": {"lr": 0.1}}, "cosine", {"relu": None},
    {"conv": 6}, "mnist", [3, 3], {"filters": 2, "kernel": 1}, {"source": "digits"}, "../x",
]  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.sampled_from(LEAVES), st.sampled_from(VALUES)), min_size=1, max_size=3,
                unique_by=lambda pair: pair[0][:3]))  # fmt: skip
@example(changes=[(("data",), []), (("data", "validation"), 0)])
@example(changes=[(("train", "optimizer"), []), (("train", "optimizer", "sgd", "lr"), 0)])
def test_as_if_the_file_had_been_edited(tmp_path, base, changes):
    written = read_text(base, "x").plain()
    edited, overrides = copy.deepcopy(written), []
    for path, value in changes:
        place = edited
        for step in path[:-1]:
            if isinstance(place, list) != isinstance(step, int):
                return  # an earlier change left a list where keys are written
            if isinstance(place, dict) and not isinstance(place.get(step), (dict, list)):
                return  # or nothing to go through
            place = place[step]
        if isinstance(place, list) != isinstance(path[-1], int):
            return
        place[path[-1]] = copy.deepcopy(value)  # a later change may go inside
        words = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        overrides.append(f"{words[1:]}={json.dumps(value)}")
    (tmp_path / "x.yaml").write_text(base)
    (tmp_path / "edited.yaml").write_text(to_yaml(edited))
    assert outcome(tmp_path / "x.yaml", overrides) == outcome(tmp_path / "edited.yaml", [])


def outcome(path, overrides):
    """The config, or what is said of each problem wherever it stands."""
    try:
        return load(path, overrides).config
    except ConfigError as error:
        return sorted((problem.path, problem.message) for problem in error.problems)
