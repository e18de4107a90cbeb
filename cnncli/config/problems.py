"""Turns pydantic's validation errors into problems with a place in the file."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import ErrorDetails

from cnncli.config import messages, suggest
from cnncli.config.field_lookup import choices, class_at, fields, fields_at
from cnncli.config.reader import YamlNode
from cnncli.config.schema import Config, TrainSettings
from cnncli.config.writer import value_text
from cnncli.errors import Location, Place, Problem
from cnncli.layers import Entry, Layer
from cnncli.layers.entry import BESIDE
from cnncli.spec import FIELD_WORDS, NO_FIELD, OTHERWISE, Spec, did_you_mean, nearest

_UNION = re.compile(r"int|float|str|bool|.*[\[(-].*")  # how pydantic calls a member of a union of plain types
MAX_EXPLAINED = 100  # each takes a search for a hint; the other errors are only counted
_LAYERS = choices(fields(Entry)["layer"])[0].members


def problems_of(errors: list[ErrorDetails], root: YamlNode) -> list[Problem]:
    """Each error once, in the order of the file. A missing field that a wrong word stands for is one error, not two."""
    errors = sorted(_one_per_union(errors), key=lambda error: _position(root.find(error["loc"]).place))
    errors, others = errors[:MAX_EXPLAINED], [root.find(error["loc"]) for error in errors[MAX_EXPLAINED:]]
    unknown = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
    meant = {(*loc[:-1], nearest(str(loc[-1]), list(fields_at(Config, loc[:-1])), FIELD_WORDS)) for loc in unknown}
    inner = {error["loc"][:steps] for error in errors for steps in range(1, len(error["loc"]))}
    torn = {_field(error["loc"])[:-1] for error in errors if str(error["input"]).startswith("(")}
    left = [error for error in errors if not (
        (error["type"] == "missing" and error["loc"] in meant)
        or (error["type"] == "too_short" and error["loc"] in inner)  # what is wrong in a list counts as not there
        or (error["type"] == "extra_forbidden" and str(error["loc"][-1]).endswith(")") and error["loc"][:-1] in torn)
    )]  # fmt: skip
    counted = [Problem("is wrong too", node.place, node.path) for node in others]
    return in_order([*(problem for error in left for problem in _problems(error, root)), *counted])


def in_order(problems: list[Problem]) -> list[Problem]:
    """As in the file, those of the command line first; what is wrong in a block once, whoever uses it."""
    first: dict[tuple[Place, str, str], Problem] = {}
    for problem in problems:
        place = problem.place or Place("")
        first.setdefault((place, problem.path, problem.message), problem)
    return [first[key] for key in sorted(first, key=lambda key: _position(key[0]))]


def _position(place: Place) -> tuple[int, int]:
    return place.line or 0, place.column or 0


def _problems(error: ErrorDetails, root: YamlNode) -> list[Problem]:
    kind, location = error["type"], error["loc"]
    node, place = root.find(location), None
    if kind == "extra_forbidden":
        return [_unknown_key(location, root)]
    if kind == "missing":
        return [_missing(location, root)]
    if kind == "two_layers":
        return _two_layers(node)
    if kind == "unknown_kind":
        return [_unknown_kind(error, node, root)]
    elif kind == "inner_name":
        place = node.value[error["ctx"]["kind"]].keys.get(error["ctx"]["word"])
    elif kind == "not_a_spec" and len(node.keys) > 1:
        return [_two_specs(error, node)]
    return [node.problem(messages.message(error), messages.hint(error) or _example(error, root), place)]


def _example(error: ErrorDetails, root: YamlNode) -> str:
    """A value that was right, as it is written: of a list in round brackets, or a field's own example."""
    location = _field(error["loc"])
    values, name = root.find(location[:-1]).plain(), str(location[-1])
    torn = suggest.torn_list(values, name) if isinstance(values, dict) and name in values else ""
    info = fields_at(Config, location[:-1]).get(name)
    if not torn and info and info.examples and error["type"] in messages.WRONG_TYPE:
        torn = value_text(info.examples[0])
    return f"Write {name}: {torn}." if torn else ""


def _field(location: Location) -> Location:
    """A location without pydantic's names for the types that a field's value may have."""
    cut = next((i for i, step in enumerate(location) if isinstance(step, str) and _UNION.fullmatch(step)), None)
    return location[:cut]


def _unknown_kind(error: ErrorDetails, node: YamlNode, root: YamlNode) -> Problem:
    kind, choice = error["ctx"]["kind"], error["ctx"]["choice"]
    place = node.keys.get(kind)
    hint = ""
    if place and place.line is None:
        hint = suggest.override(kind, node.value[kind], root)
    elif choice.family == Layer.family:
        hint = suggest.entry(node.plain() if node.keys else {kind: None}, choice.members)
    return node.problem(messages.message(error), hint or messages.hint(error), place)


def _unknown_key(location: Location, root: YamlNode) -> Problem:
    parent, key, owner = root.find(location[:-1]), str(location[-1]), class_at(Config, location[:-1])
    known = list(fields_at(Config, location[:-1]))
    hint = did_you_mean(key, known, FIELD_WORDS) or "It takes none."
    if not nearest(key, known, FIELD_WORDS):
        if owner and not issubclass(owner, Spec) and (home := _home(key)):
            hint = f"It belongs in {home}."
        elif instead := OTHERWISE.get(getattr(owner, "kind", "")):
            hint = f"Did you mean {instead}?"
        hint = NO_FIELD.get(key) or NO_FIELD.get(f"{getattr(owner, 'kind', '')}.{key}") or hint
        if owner and issubclass(owner, Layer) and key in suggest.ACTIVATION:
            hint = suggest.activation(parent.value[key].plain(), _LAYERS)
    place = parent.keys.get(key)
    if place and place.line is None and not nearest(key, known, FIELD_WORDS):
        hint = suggest.override(key, parent.value[key], root) or hint
    return parent.problem(f"unknown key '{key}'", hint, place)


def _home(key: str) -> str | None:
    """Where a field called ``key``, here or elsewhere, stands: in a section, or in a choice of the training's."""
    words = {key, *FIELD_WORDS.get(key, "").split()}
    for name, section in suggest.SECTIONS.items():
        if words & set(fields(section)):
            return name
    for name, info in fields(TrainSettings).items():
        for family in choices(info):
            if any(words & set(fields(member)) for member in family.members.values()):
                return f"train.{name}"
    return None


def _missing(location: Location, root: YamlNode) -> Problem:
    info = fields_at(Config, location[:-1]).get(str(location[-1]))
    meaning = f" ({info.description})" if info and info.description else ""
    return root.find(location[:-1]).problem(f"needs {location[-1]}{meaning}")


def _two_specs(error: ErrorDetails, node: YamlNode) -> Problem:
    """Two keys where one is due, which an override may have brought."""
    second = list(node.keys)[1]
    added = next((key for key, place in node.keys.items() if place.line is None), None)
    hint = f"Write {node.path}={{{added}: ...}} to replace the other." if added else "Keep one."
    members = choices(fields_at(Config, error["loc"][:-1])[str(error["loc"][-1])])[0].members
    kind, wrong = next((key for key in node.value if key in members), None), added or second
    if kind and wrong not in members and (near := nearest(wrong, list(fields(members[kind])), FIELD_WORDS)):
        value = value_text(node.value[wrong].plain())
        hint = f"Write {node.path}.{kind}.{near}={value}." if added else f"Write {kind}: {{..., {near}: {value}}}."
    return node.problem(messages.message(error), hint, node.keys[added or second])


def _two_layers(node: YamlNode) -> list[Problem]:
    """An entry with more than one key: two layers, or a word beside the layer that belongs under it."""
    members = _LAYERS
    block = node.find(("block", "of")).value if "block" in node.value else None  # written out: as the user calls it
    words = [block if isinstance(block, str) and key == "block" else key for key in node.value if key not in BESIDE]
    layers = [key for key in words if key in members or key == block]
    if not layers and (hint := suggest.entry(node.plain(), members)):
        return [node.problem(f"one entry holds one layer, got {', '.join(words)}", hint)]
    if len(layers) != 1:
        message = f"one entry holds one layer, got {', '.join(words)}"
        return [node.problem(message, "Begin each with its own -.", node.keys.get(words[1]))]
    found, inner = [], list(fields(members[layers[0]])) if layers[0] in members else []
    for word in (word for word in words if word not in layers):
        if nearest(word, inner, FIELD_WORDS):
            hint = f"Indent it further, to stand under {layers[0]}."
        elif word in suggest.ACTIVATION:
            hint = suggest.activation(node.value[word].plain(), members)
        else:
            near = nearest(word, BESIDE)
            hint = f"Did you mean {near}?" if near else "An entry is one layer, and its name and from."
        found.append(node.problem(f"unknown key '{word}' beside {layers[0]}", hint, node.keys.get(word)))
    return found


def _one_per_union(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Where a value may be of several types, the errors of the type that it is nearest to."""
    groups: dict[Location, dict[str, list[ErrorDetails]]] = {}
    for number, error in enumerate(errors):
        location: Any = error["loc"]
        steps = [i for i, step in enumerate(location) if isinstance(step, str) and _UNION.fullmatch(step)]
        if steps and error["type"] != "extra_forbidden":
            groups.setdefault(location[: steps[0]], {}).setdefault(location[steps[0]], []).append(error)
        else:
            groups[(*location, "", number)] = {"": [error]}
    return [error for members in groups.values() for error in _nearest_member(list(members.values()))]


def _nearest_member(members: list[list[ErrorDetails]]) -> list[ErrorDetails]:
    if len(members) == 1:
        return members[0]
    depth = min(len(errors[0]["loc"]) for errors in members)
    right = [each for each in members if each[0]["type"] not in messages.WRONG_TYPE or len(each[0]["loc"]) > depth]
    if right:
        return min(right, key=_distance)
    every = " or ".join(dict.fromkeys(messages.expected(each[0]) for each in members))
    return [{**members[0][0], "type": "literal_error", "ctx": {"expected": every}}]


def _distance(errors: list[ErrorDetails]) -> tuple[bool, int, int, int]:
    """Lists of the right length first, then few errors, then deep ones."""
    lengths = [error["ctx"]["max_length"] for error in errors if error["type"] == "too_long"]
    return bool(lengths), len(errors), -max(len(error["loc"]) for error in errors), -max(lengths, default=0)
