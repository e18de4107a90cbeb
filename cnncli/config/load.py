"""From a path and overrides to a checked config with its graph, or every problem at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cnncli.config.blocks import expand_blocks
from cnncli.config.overrides import apply_overrides
from cnncli.config.problems import in_order, problems_of
from cnncli.config.reader import RESOLVED, YamlNode, file_text, read_text
from cnncli.config.schema import MAX_NAME, Config, DataSettings, ModelSettings
from cnncli.errors import ConfigError, Location, Place, Problem, ShapeError
from cnncli.graph import Graph, GraphError, Misfit, build
from cnncli.layers.base import times
from cnncli.layers.entry import BESIDE
from cnncli.paths import located

PARAMETER_BYTES = 12  # a float32 weight, its gradient and one optimizer slot
MAX_PROBLEMS = 20  # shown at once: one screen


@dataclass(frozen=True)
class Loaded:
    """A checked config, its graph, and where each value stands (``root``). ``text``: the file as it was."""

    config: Config
    graph: Graph
    root: YamlNode
    path: Path
    text: str

    def line(self, location: Location) -> int | None:
        """The line of a layer's entry, given its location in the list of layers."""
        return self.root.find(("model", "layers", *location)).place.line


def load(path: Path, overrides: Sequence[str] = ()) -> Loaded:
    """Read, override, write blocks out, validate and wire. ConfigError (exit 2) lists every problem at its place."""
    text = file_text(path)
    root = _with_run_name(read_text(text, str(path)), path)
    root = apply_overrides(_with_old_rules(root, path), overrides)
    root, problems = expand_blocks(root)
    if problems:  # with blocks half written out, errors of the model may not be the user's
        root = root.having({**root.value, "model": root.having({})})
    config, errors = _validate(Config, root.plain())
    if problems:
        raise _refused([*problems, *problems_of([each for each in errors if each["loc"][0] != "model"], root)])
    model = config.model if config else _valid_layers(root, errors)
    data = config.data if config else _validate(DataSettings, root.find(("data",)).plain())[0]
    graph, misfits = _wire(model, root) if model else (None, [])
    problems = [*problems_of(errors, root), *misfits, *(_data_misfits(data, root, errors) if data else ())]
    if graph:
        problems += [*(_output_misfits(config, graph, root) if config else ()), *_too_large(graph, root)]
    if problems or not config or not graph:
        raise _refused(problems)
    return Loaded(_located(config, root, path), graph, root, path, text)


def _validate(model: type[BaseModel], value: Any) -> tuple[Any, list[ErrorDetails]]:
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _valid_layers(root: YamlNode, errors: list[ErrorDetails]) -> ModelSettings | None:
    """Of a model with ``errors``, the layers above the first wrong one, if the input is right."""
    section = root.find(("model",)).plain()
    wrong = [error["loc"][2] for error in errors if error["loc"][:2] == ("model", "layers") and error["loc"][2:]]
    if wrong:
        section["layers"] = section["layers"][: min(each for each in wrong if isinstance(each, int))]
    return _validate(ModelSettings, section)[0]


def _wire(model: ModelSettings, root: YamlNode) -> tuple[Graph | None, list[Problem]]:
    """The graph, or what does not fit."""
    try:
        return build(model.layers, model.input), []
    except GraphError as error:
        return None, [_misfit(root, misfit) for misfit in error.misfits]


def _located(config: Config, root: YamlNode, path: Path) -> Config:
    """Relative paths are relative to the config's folder, those of overrides to the current one.

    So are those of an old run, whose resolved.yaml may hold relative ones.
    """
    folder = Path() if path.name == RESOLVED else path.parent

    def of(location: Location) -> Path:
        return Path() if root.find(("data", *location)).place.line is None else folder

    return config.model_copy(update={"data": located(config.data, of)})


def _refused(problems: list[Problem]) -> ConfigError:
    problems = in_order(problems)
    if len(problems) > MAX_PROBLEMS:
        more = f"and {len(problems) - MAX_PROBLEMS} more problems"
        problems = [*problems[:MAX_PROBLEMS], Problem(more)]
    return ConfigError(problems)


def _with_run_name(root: YamlNode, path: Path) -> YamlNode:
    """The file's name for a missing ``name:``."""
    if "name" in root.value:
        return root
    name = re.sub(r"[^\w.-]+", "-", path.stem).lstrip("-._")
    name = name.encode()[:MAX_NAME].decode(errors="ignore") or "run"
    return root.having({**root.value, "name": YamlNode(name, Place(root.place.file), "name")})


def _with_old_rules(root: YamlNode, path: Path) -> YamlNode:
    """The config of a run, with the older rules by which its data was split where it names none."""
    data = root.value.get("data")
    if path.name != RESOLVED or data is None or not isinstance(data.value, dict):
        return root
    rounding = YamlNode("half_to_even", Place(str(path)), "data.validation_rounding")
    changed = {"validation_rounding": rounding, **data.value}
    source = data.find(("source", "folder"))
    if source.path == "data.source.folder" and isinstance(source.value, dict):
        fields = {"any_case": YamlNode(False, Place(str(path)), f"{source.path}.any_case"), **source.value}
        changed["source"] = data.value["source"].having({"folder": source.having(fields)})
    return root.having({**root.value, "data": data.having(changed)})


def _misfit(root: YamlNode, misfit: Misfit) -> Problem:
    """A problem of a layer's entry, or of its from or name. An override that changed the entry is its place."""
    node = root.find(("model", "layers", *misfit.location))
    entry = node.value if isinstance(node.value, dict) else {}
    kind = next((key for key in entry if key not in BESIDE), "")
    part = entry.get(misfit.part)
    place = _overridden(node) or (part.place if part else node.keys.get(kind, node.place))
    return Problem(misfit.message, place, f"{node.path}.{kind}" if kind else node.path, misfit.hint, node.note)


def _overridden(node: YamlNode) -> Place | None:
    """The override that set something in ``node``."""
    if node.place.line is None:
        return node.place
    return next((place for child in node.children() if (place := _overridden(child))), None)


def _data_misfits(data: DataSettings, root: YamlNode, errors: list[ErrorDetails]) -> Iterator[Problem]:
    """Images that do not fit the input, as far as is known before any data is read."""
    shape = data.source.image_shape()
    if shape is None:
        return
    for section in ("preprocess", "augment"):
        for index, step in enumerate(getattr(data, section)):
            try:
                shape = step.out_shape(shape)
            except ShapeError as error:
                node = root.find(("data", section, index))
                place = _overridden(node) or node.keys.get(step.kind, node.place)
                yield node.problem(str(error), error.hint, place)
                return
    node = root.find(("model", "input"))
    wrong = any(error["loc"][:2] == ("model", "input") or error["loc"] == ("model",) for error in errors)
    if not wrong and shape != (wanted := tuple(node.plain())):
        steps = " after preprocessing" if data.preprocess or data.augment else ""
        hint = f"Try input: {list(shape)}."
        if data.source.kind == "inline" and wanted == (*shape, 1):
            hint = f"Write each number as [number], for one channel; input: {list(shape)} is length x channels."
        yield node.problem(f"the input is {times(wanted)}, but {data.source.kind} gives {times(shape)}{steps}", hint)


def _output_misfits(config: Config, graph: Graph, root: YamlNode) -> Iterator[Problem]:
    """Outputs and class weights that are not one number per class."""
    classes = config.data.source.class_count()
    for shape, location, widths in _outputs(graph):
        if len(shape) != 1:
            what = f"the network ends in {times(shape)}, a classifier needs one number per class"
            yield _misfit(root, Misfit(location, what, "End with flatten or global_avg_pool, then fc."))
        elif classes and shape[0] not in config.train.loss.widths(classes):
            what = f"{config.data.source.kind} has {classes} classes, the network gives {shape[0]} outputs"
            yield _misfit(root, Misfit(widths, what, f"Try {classes}."))
    weights, node = config.train.class_weights, root.find(("train", "class_weights"))
    if classes and isinstance(weights, tuple) and len(weights) != classes:
        what = f"expected {classes} numbers, one for each class of {config.data.source.kind}, got {len(weights)}"
        yield node.problem(what)


def _too_large(graph: Graph, root: YamlNode) -> Iterator[Problem]:
    """More parameters than this machine could train."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if graph.params * PARAMETER_BYTES > memory:
        need, have = graph.params * PARAMETER_BYTES // 2**30, memory // 2**30
        what = f"{graph.params:,} parameters need {need:,} GiB to train, this machine has {have:,} GiB"
        yield root.find(("model", "layers")).problem(what, "`cnn inspect` shows which layers hold them.")


def _outputs(graph: Graph) -> Iterator[tuple[tuple[int, ...], Location, Location]]:
    """Of the network and each auxiliary head: its shape, the last layer, the last layer that decides the width."""
    by_name = {node.name: node for node in graph.nodes}
    heads = [[by_name[name] for name in head.nodes] for head in graph.heads]
    for nodes in [list(graph.main), *heads]:
        widest = next((node.location for node in reversed(nodes) if node.params), nodes[-1].location)
        yield nodes[-1].shape, nodes[-1].location, widest
