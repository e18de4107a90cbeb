"""From a path and overrides to a checked config with its graph, or every problem at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cnncli.config.blocks import expand_blocks
from cnncli.config.check import problems_of
from cnncli.config.overrides import apply_overrides
from cnncli.config.reader import Node, read_file
from cnncli.config.schema import Config, DataSettings, ModelSettings
from cnncli.data.augment import augmented_shape
from cnncli.data.preprocess import shape_after
from cnncli.errors import ConfigError, Problem, ShapeError
from cnncli.graph import Graph, GraphError, build
from cnncli.layers.base import times

PARAMETER_BYTES = 12  # a float32 weight, its gradient and one optimizer slot


@dataclass(frozen=True)
class Loaded:
    """A checked config, its graph, and where each value stands (``root``)."""

    config: Config
    graph: Graph
    root: Node
    path: Path
    text: str

    def line(self, location: tuple[int | str, ...]) -> int | None:
        """The line of a layer's entry, given its location in the list of layers."""
        return self.root.find(("model", "layers", *location)).place.line


def load(path: Path, overrides: Sequence[str] = ()) -> Loaded:
    """Read, override, write blocks out, validate and wire. ConfigError (exit 2) lists every problem at its place."""
    root = apply_overrides(_named(read_file(path), path), overrides)
    root, problems = expand_blocks(root)
    if problems:
        raise ConfigError(problems)
    config, problems = _validate(Config, root, root)
    model = config.model if config else _part(ModelSettings, root, "model")
    graph, misfits = _wire(model, root) if model else (None, [])
    problems += misfits
    if config and graph:
        problems += _static_problems(config, graph, root)
    if problems:
        raise ConfigError(problems)
    assert config
    assert graph
    return Loaded(config, graph, root, path, path.read_text(encoding="utf-8-sig"))


def _named(root: Node, path: Path) -> Node:
    """The file's name for a missing ``name:``."""
    if "name" in root.value:
        return root
    name = re.sub(r"[^\w.-]+|^[\W_]+", "-", path.stem).strip("-") or "run"
    return replace(root, value={**root.value, "name": Node(name, root.place, "name")})


def _validate(model: type[BaseModel], node: Node, root: Node) -> tuple[Any, list[Problem]]:
    try:
        return model.model_validate(node.plain()), []
    except ValidationError as error:
        return None, problems_of(error.errors(include_url=False), node, model)


def _part(model: type[BaseModel], root: Node, section: str) -> Any:
    """One section by itself, so that its shapes can be checked while another section is wrong."""
    node = root.value.get(section)
    return _validate(model, node, root)[0] if node else None


def _wire(model: ModelSettings, root: Node) -> tuple[Graph | None, list[Problem]]:
    try:
        return build(model.layers, model.input), []
    except GraphError as error:
        return None, [_misfit(root, each.location, each.message, each.hint) for each in error.misfits]


def _misfit(root: Node, location: tuple[int | str, ...], message: str, hint: str) -> Problem:
    node = root.find(("model", "layers", *location))
    kind = next((key for key in node.value if key not in ("name", "from")), "") if isinstance(node.value, dict) else ""
    path = f"{node.path}.{kind}" if kind else node.path
    return Problem(message + node.note, node.place, path, hint)


def _static_problems(config: Config, graph: Graph, root: Node) -> Iterator[Problem]:
    """What is known to be wrong before any data is read."""
    yield from _data_problems(config.data, config.model.input, root)
    yield from _output_problems(config, graph, root)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if graph.params * PARAMETER_BYTES > memory:
        node = root.find(("model", "layers"))
        need, have = graph.params * PARAMETER_BYTES / 2**30, memory / 2**30
        yield Problem(f"{graph.params:,} parameters need {need:,.0f} GiB to train, this machine has {have:,.0f} GiB",
                      node.place, node.path, "`cnn inspect` shows which layers hold them.")  # fmt: skip


def _data_problems(data: DataSettings, wanted: tuple[int, ...], root: Node) -> Iterator[Problem]:
    shape = data.source.image_shape()
    if shape is None:
        return
    steps = [("preprocess", index, step) for index, step in enumerate(data.preprocess)]
    steps += [("augment", index, step) for index, step in enumerate(data.augment)]  # type: ignore[misc]
    for section, index, step in steps:
        try:
            shape = step.out_shape(shape)
        except ShapeError as error:
            node = root.find(("data", section, index))
            yield Problem(str(error) + node.note, node.place, node.path, error.hint)
            return
    if shape != wanted:
        node = root.find(("model", "input"))
        steps_said = " after preprocessing" if steps else ""
        yield Problem(f"{data.source.kind} gives {times(shape)}{steps_said}, got {times(wanted)}",
                      node.place, node.path, f"Try input: {list(shape)}.")  # fmt: skip


def _output_problems(config: Config, graph: Graph, root: Node) -> Iterator[Problem]:
    shape, classes = graph.output.shape, config.data.source.class_count()
    location = graph.output.location
    if len(shape) != 1:
        yield _misfit(root, location, f"the network ends in {times(shape)}, a classifier needs one number per class",
                      "End with flatten or global_avg_pool, then fc.")  # fmt: skip
    elif classes and shape[0] not in config.train.loss.widths(classes):
        at = _last_width(graph)
        yield _misfit(root, at, f"{config.data.source.kind} has {classes} classes, the network gives {shape[0]} outputs",
                      f"Try {classes}.")  # fmt: skip


def _last_width(graph: Graph) -> tuple[int | str, ...]:
    """The last layer that decides the number of outputs."""
    return next((node.location for node in reversed(graph.nodes) if node.params), graph.output.location)


def final_shape(data: DataSettings, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a stored image as the network sees it."""
    return augmented_shape(data.augment, shape_after(data.preprocess, shape))
