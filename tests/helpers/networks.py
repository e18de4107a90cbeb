"""A small network from YAML, without data; and a ``jit`` that compiles quickly."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax

from cnncli.config.load import Loaded, load
from cnncli.model import Model

# Compiles several times as fast; the programs are slower.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

YAML = """\
data: {{source: {{npz: none.npz}}}}
model: {{input: {input}, layers: {layers}}}
train: {{batch_size: 4, {train}}}
"""


def network(
    folder: Path, layers: str, train: str = "optimizer: {sgd: 0.1}", input: str = "[4]"
) -> tuple[Loaded, Model]:
    """``network(tmp_path, "[{fc: 3}, softmax]", "loss: mse, optimizer: {sgd: 0.1}")``."""
    file = folder / "network.yaml"
    file.write_text(YAML.format(input=input, layers=layers, train=train), encoding="utf-8")
    loaded = load(file)
    return loaded, Model(loaded.graph)
