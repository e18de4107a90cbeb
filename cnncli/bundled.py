"""The configs that come with the package, by name."""

from __future__ import annotations

import os
from pathlib import Path

from cnncli.errors import ConfigError, Place
from cnncli.spec import did_you_mean


def bundled_configs() -> dict[str, Path]:
    """Name -> path of every bundled config."""
    package = Path(__file__).parent  # installed: cnncli/configs; in a checkout: configs beside cnncli
    folder = next(each for each in (package / "configs", package.parent / "configs") if each.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_config(text: str) -> Path:
    """A config's path: the file itself, with or without .yaml, a run's config, or a bundled config by its name."""
    path = Path(text)
    if os.path.isfile(path / "resolved.yaml"):  # os.path: a name too long is no file, not an error
        return path / "resolved.yaml"
    if not os.path.isfile(path) and os.path.isfile(f"{text}.yaml"):
        return Path(f"{text}.yaml")
    if os.path.exists(path) or path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        return path
    known = bundled_configs()
    if text not in known:
        raise ConfigError.of("no such file, run or bundled config", did_you_mean(text, list(known)), Place(text))
    return known[text]
