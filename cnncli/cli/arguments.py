"""Reads a config and overrides, in whatever order they are typed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from cnncli.errors import ConfigError
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import bundled, spec
    from cnncli.config import field_lookup, load, schema

if TYPE_CHECKING:
    from cnncli.config.load import Loaded

OPTIONS = ("json", "resume", "watch", "runs", "quiet", "explain", "out", "help")


def load_config(words: Sequence[str], hint: str = "Write a YAML file or a name.") -> tuple[str, Loaded]:
    """The config as it is typed, and loaded with the overrides."""
    config, overrides = config_and_overrides(words, hint)
    return config, load.load(bundled.find_config(config), overrides)


def config_and_overrides(words: Sequence[str], hint: str = "Write a YAML file or a name.") -> tuple[str, list[str]]:
    """The first word that is no override, and all others in their order. ConfigError for an unknown option."""
    require_overrides(words)
    config = next((word for word in words if not is_override(word)), None)
    if config is None:
        raise ConfigError.of("no config given", hint)
    others = list(words)
    others.remove(config)
    return config, others


def is_override(word: str) -> bool:
    """Whether a word is ``key=value`` and not a file or a folder with such a name."""
    return "=" in word and not os.path.exists(word)


def require_overrides(words: Sequence[str]) -> None:
    """ConfigError for ``--epochs 3``, with the override to type instead."""
    for word, following in pairwise([*words, ""]):
        if word.startswith("-"):
            option, equals, value = word.partition("=")
            hint = _override_for(option.strip("-"), value if equals else following)
            raise ConfigError.of(f"No such option: {option}", hint)


def _override_for(name: str, value: str) -> str:
    """The override that sets the field ``name``, or the option of nearly that name, as a hint."""
    fields = {"lr": "train.optimizer.sgd.lr", "learning_rate": "train.optimizer.sgd.lr"}
    for prefix, section in (("", schema.Config), ("data.", schema.DataSettings), ("train.", schema.TrainSettings)):
        fields |= {field: f"{prefix}{field}" for field in field_lookup.fields(section)}
    nearest = spec.nearest(name.replace("-", "_").rpartition(".")[2], [*fields, *OPTIONS])
    if nearest in OPTIONS:
        return f"Did you mean --{nearest}?"
    if nearest:
        return f"Write {fields[nearest]}={value or '...'}."
    return "Write path.to.field=value, as in train.epochs=3."
