"""Every optimizer of the installed Optax: built from YAML, with its own arguments, defaults and bounds."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pydantic import ValidationError

from cnncli.optimizers import Optimizers, optax_table
from tests.helpers.optax_table import LEFT_OUT, TABLE, written_table

LISTED = optax_table()["optimizers"]
NAMES = sorted(LISTED)
PARAMS = {"kernel": jnp.arange(12.0).reshape(3, 4) / 6 - 1, "bias": jnp.zeros(4)}


def make(name, **fields):
    return Optimizers()[name].from_yaml({name: {"lr": 0.1, **fields}})


def decays(params):
    return {key: key == "kernel" for key in params}


def step(optimizer, gradient=1.0):
    """The parameters after one update, and the state."""
    return update(optimizer.build(lambda count: 0.1, decays), gradient)


def update(transform, gradient=1.0):
    gradients = jax.tree.map(lambda leaf: jnp.full_like(leaf, gradient), PARAMS)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # Optax's own
        updates, state = transform.update(gradients, transform.init(PARAMS), PARAMS)
        return optax.apply_updates(PARAMS, updates), state


def test_the_table_is_what_the_installed_optax_says():
    """If not: python -m tests.helpers.optax_table, then python -m cnncli schema > configs/schema.json."""
    assert TABLE.read_text(encoding="utf-8") == written_table()


def test_all_of_optax_are_there():
    """Whatever Optax's alias.py has that takes a schedule, except what is left out on purpose."""
    functions = inspect.getmembers(optax._src.alias, inspect.isfunction)
    public = {name for name, function in functions if function.__module__ == "optax._src.alias" and name[0] != "_"}
    public |= {name for name, _ in inspect.getmembers(optax._src.alias, lambda member: isinstance(member, partial))}
    rates = {name: inspect.signature(getattr(optax, name)).parameters.get("learning_rate") for name in public}
    theirs = {name for name, rate in rates.items() if rate and "Callable" in str(rate.annotation)}
    assert theirs - set(NAMES) == set(LEFT_OUT)
    assert {"adam", "adamw", "nadam", "nadamw", "rmsprop", "lion", "adagrad", "lamb"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_optaxs_own(name):
    parameters = inspect.signature(getattr(optax, name)).parameters
    for key, argument in LISTED[name]["arguments"].items():
        assert ("default" not in argument) is (parameters[key].default is inspect.Parameter.empty)
        assert "default" not in argument or argument["default"] == parameters[key].default
        assert make(name).to_yaml()[name][key] == argument["default"]


@pytest.mark.parametrize("name", NAMES)
def test_one_update(name):
    after, state = step(make(name))
    for key, before in PARAMS.items():
        assert np.isfinite(after[key]).all()
        assert (after[key] != before).any(), key
    assert all(np.asarray(leaf).dtype != object for leaf in jax.tree.leaves(state))  # a checkpoint can hold it


@pytest.mark.parametrize("name", NAMES)
def test_reads_back(name):
    optimizer = make(name)
    assert Optimizers()[name].from_yaml(optimizer.to_yaml()) == optimizer
    assert Optimizers()[name].from_yaml({name: 0.1}) == optimizer
    assert optimizer.kind == name


MASKED = [name for name in NAMES if LISTED[name]["masks"]]


@pytest.mark.parametrize("name", MASKED)
def test_weight_decay_leaves_biases_alone(name):
    field = next(key for key in LISTED[name]["arguments"] if key.startswith("weight_decay"))
    with_decay, without = (step(make(name, **{field: rate}), gradient=0.5)[0] for rate in (0.3, 0.0))
    np.testing.assert_array_equal(with_decay["bias"], without["bias"])
    assert (with_decay["kernel"] != without["kernel"]).any()


def test_arguments_arrive():
    ours, _ = step(make("adam", b1=0.5, eps=0.01, nesterov=True))
    theirs, _ = update(optax.adam(0.1, b1=0.5, eps=0.01, nesterov=True))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("adam", {"b1": 1.0}), ("adam", {"b1": -0.1}), ("adam", {"eps": -1.0}), ("adam", {"b1": "0.9"}),
     ("adam", {"b1": True}), ("adam", {"nesterov": 1}), ("adam", {"mu_dtype": "float16"}),
     ("adamw", {"weight_decay": -1.0}), ("adamw", {"mask": 1}),
     ("rmsprop", {"momentum": 1.0}), ("adam", {"lr": 0.0}), ("adam", {"b1": float("nan")}),
     ("adam", {"b1": None}), ("adafactor", {"min_dim_size_to_factor": 1.5})],
)  # fmt: skip
def test_refused(name, fields):
    with pytest.raises(ValidationError):
        make(name, **fields)


def test_nothing_where_optax_takes_nothing():
    assert make("rmsprop", momentum=None).momentum is None
    assert make("adafactor", clipping_threshold=None).clipping_threshold is None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{¦Adam: 0.1}", "train.optimizer: unknown optimizer 'Adam'. Did you mean adam?"),
        ("{¦admw: 0.1}", "train.optimizer: unknown optimizer 'admw'. Did you mean adamw?"),
        ("{¦momentum: 0.1}", "train.optimizer: unknown optimizer 'momentum'. Did you mean sgd?"),
        ("{adam: ¦-1}", "train.optimizer.adam: expected more than 0, got -1"),
        ("{adam:¦ }", "train.optimizer.adam: needs lr (learning rate; the schedule changes it over time)"),
        ("{adam: {¦learning_rate: 0.1}}", "train.optimizer.adam: unknown key 'learning_rate'. Did you mean lr?"),
        ("{adam: {lr: 0.1, ¦beta1: 0.9}}", "train.optimizer.adam: unknown key 'beta1'. Did you mean b1?"),
        ("{adam: {lr: 0.1, ¦epsilon: 0.9}}", "train.optimizer.adam: unknown key 'epsilon'. Did you mean eps?"),
        ("{adam: {lr: 0.1, b1: ¦1}}", "train.optimizer.adam.b1: expected less than 1, got 1"),
        ("{adam: {lr: 0.1, b1: ¦.nan}}", "train.optimizer.adam.b1: expected a finite number, got nan"),
        ("{adam: {lr: 0.1, nesterov: ¦yes}}", "train.optimizer.adam.nesterov: expected true or false, got text 'yes'. "
         "Write true."),
        ("{adamw: {lr: 0.1, ¦mask: 3}}", "train.optimizer.adamw: unknown key 'mask'. Known: b1, b2, eps, eps_root, lr, "
         "nesterov, weight_decay."),
    ],
)  # fmt: skip
def test_wrong_words(refused_at, base, written, message):
    assert refused_at(base.replace("{sgd: {lr: 0.1}}", written)).rstrip() == message
