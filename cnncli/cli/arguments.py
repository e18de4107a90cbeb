"""A config and overrides, in whatever order they are typed."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cnncli.errors import ConfigError


def config_and_overrides(words: Sequence[str], hint: str = "Write a YAML file or a name.") -> tuple[str, list[str]]:
    """The first word that is no override, and all others in their order. ConfigError for an option that is unknown."""
    require_overrides(words)
    config = next((word for word in words if not is_override(word)), None)
    if config is None:
        raise ConfigError.of("no config given", hint)
    others = list(words)
    others.remove(config)
    return config, others


def layer_names(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words that are no overrides, and those that are."""
    return [each for each in words if "=" not in each], [each for each in words if "=" in each]


def is_override(word: str) -> bool:
    """Whether a word is ``key=value``, not a file or a folder with such a name."""
    return "=" in word and not os.path.exists(word)


def require_overrides(words: Sequence[str]) -> None:
    """ConfigError for ``--epochs 3``, with the line to type."""
    for index, word in enumerate(words):
        if not word.startswith("-"):
            continue
        option, equals, value = word.partition("=")
        following = words[index + 1] if index + 1 < len(words) else ""
        raise ConfigError.of(f"No such option: {option}", _line(option.strip("-"), value if equals else following))


def _line(name: str, value: str) -> str:
    """What to write instead of an option: the override that sets the config's field of that name."""
    from cnncli.config.field_lookup import fields
    from cnncli.config.schema import Config, DataSettings, TrainSettings
    from cnncli.spec import nearest

    known = {"lr": "train.optimizer.sgd.lr", "learning_rate": "train.optimizer.sgd.lr"}
    for prefix, section in (("", Config), ("data.", DataSettings), ("train.", TrainSettings)):
        known |= {field: f"{prefix}{field}" for field in fields(section)}
    options = ("json", "resume", "watch", "runs", "quiet", "explain", "out", "help")
    known |= {option: f"--{option}" for option in options}
    found = known.get(nearest(name.replace("-", "_").rpartition(".")[2], list(known)) or "", "")
    if found.startswith("--"):
        return f"Did you mean {found}?"
    return f"Write {found}={value or '...'}." if found else "Write path.to.field=value, as in train.epochs=3."
