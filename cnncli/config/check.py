"""Validation errors to problems at their place in the file."""

import re
from typing import Any

from pydantic_core import ErrorDetails

from cnncli.config import wording
from cnncli.config.blocks import NOTE
from cnncli.config.classes import Location, choices, class_at, fields
from cnncli.config.reader import Node
from cnncli.config.schema import Config, DataSettings, ModelSettings, TrainSettings
from cnncli.errors import Place, Problem
from cnncli.layers import Entry
from cnncli.spec import FIELD_WORDS, NO_FIELD, OTHERWISE, Spec, did_you_mean, nearest

_UNION = re.compile(r"int|float|str|bool|.*[\[(-].*")  # how pydantic calls a member of a union of plain types
WORDED = 100  # errors put in words, each a search for what was meant; a screen shows fewer, the others are counted
_ENTRY = ("name", "from")  # what may stand beside a layer


def problems_of(errors: list[ErrorDetails], root: Node) -> list[Problem]:
    """Each error once, in the order of the file. A missing field that a wrong word stands for is one error, not two."""
    errors = sorted(_one_per_union(errors), key=lambda error: _position(root.find(error["loc"]).place))
    errors, others = errors[:WORDED], [root.find(error["loc"]) for error in errors[WORDED:]]
    unknown = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
    meant = {(*loc[:-1], nearest(str(loc[-1]), _known(loc), FIELD_WORDS)) for loc in unknown}
    left = [error for error in errors if error["type"] != "missing" or error["loc"] not in meant]
    counted = [Problem("is wrong too", node.place, node.path) for node in others]
    return in_order([*(problem for error in left for problem in _problems(error, root)), *counted])


def in_order(problems: list[Problem]) -> list[Problem]:
    """As in the file, those of the command line first; what is wrong in a block once, whoever uses it."""
    first: dict[tuple[Place, str, str], Problem] = {}
    for problem in problems:
        place = problem.place or Place("")
        first.setdefault((place, problem.path, problem.message.partition(NOTE)[0]), problem)
    return [first[key] for key in sorted(first, key=lambda key: _position(key[0]))]


def _position(place: Place) -> tuple[int, int]:
    return place.line or 0, place.column or 0


def _problems(error: ErrorDetails, root: Node) -> list[Problem]:
    kind, location = error["type"], error["loc"]
    node, place = root.find(location), None
    if kind == "extra_forbidden":
        return [_unknown_key(location, root)]
    if kind == "missing":
        return [_missing(location, root)]
    if kind == "two_layers":
        return _two_layers(node)
    if kind == "unknown_kind":
        place = node.keys.get(error["ctx"]["kind"])
    elif kind == "inner_name":
        place = node.value[error["ctx"]["kind"]].keys.get(error["ctx"]["word"])
    elif kind == "not_a_spec" and len(node.keys) > 1:
        return [_two_specs(error, node)]
    return [_problem(node, wording.message(error), wording.hint(error), place)]


def _problem(node: Node, message: str, hint: str = "", place: Place | None = None) -> Problem:
    return Problem(message + node.note, place or node.place, node.path, hint)


def _known(location: Location) -> list[str]:
    """The keys that may stand where the last step of ``location`` does."""
    owner = class_at(Config, location[:-1])
    return list(fields(owner)) if owner else []


def _unknown_key(location: Location, root: Node) -> Problem:
    parent, key, owner = root.find(location[:-1]), str(location[-1]), class_at(Config, location[:-1])
    known = _known(location)
    hint = did_you_mean(key, known, FIELD_WORDS) or "It takes none."
    if not nearest(key, known, FIELD_WORDS):
        if owner and not issubclass(owner, Spec) and (home := _home(key)):
            hint = f"It belongs in {home}."
        elif instead := OTHERWISE.get(getattr(owner, "kind", "")):
            hint = f"Did you mean {instead}?"
        hint = NO_FIELD.get(key, hint)
    return _problem(parent, f"unknown key '{key}'", hint, parent.keys.get(key))


def _home(key: str) -> str | None:
    """Where a field called ``key``, here or elsewhere, stands: in a section, or in a choice of the training's."""
    words = {key, *FIELD_WORDS.get(key, "").split()}
    for name, section in (("data", DataSettings), ("model", ModelSettings), ("train", TrainSettings)):
        if words & set(fields(section)):
            return name
    for name, info in fields(TrainSettings).items():
        for family in choices(info):
            if any(words & set(fields(member)) for member in family.members.values()):
                return f"train.{name}"
    return None


def _missing(location: Location, root: Node) -> Problem:
    owner = class_at(Config, location[:-1])
    info = fields(owner).get(str(location[-1])) if owner else None
    meaning = f" ({info.description})" if info and info.description else ""
    return _problem(root.find(location[:-1]), f"needs {location[-1]}{meaning}")


def _two_specs(error: ErrorDetails, node: Node) -> Problem:
    """Two keys where one is due, which an override may have brought."""
    second = list(node.keys)[1]
    added = next((key for key, place in node.keys.items() if place.line is None), None)
    hint = f"Write {node.path}={{{added}: ...}} to replace the other." if added else "Keep one."
    return _problem(node, wording.message(error), hint, node.keys[added or second])


def _two_layers(node: Node) -> list[Problem]:
    """An entry with more than one key: two layers, or a word beside the layer that belongs under it."""
    members = choices(fields(Entry)["layer"])[0].members
    block = node.find(("block", "of")).value if "block" in node.value else None  # written out: as the user calls it
    words = [block if isinstance(block, str) and key == "block" else key for key in node.value if key not in _ENTRY]
    layers = [key for key in words if key in members or key == block]
    if len(layers) != 1:
        message = f"one entry holds one layer, got {', '.join(words)}"
        return [_problem(node, message, "Begin each with its own -.", node.keys.get(words[1]))]
    found, inner = [], list(fields(members[layers[0]])) if layers[0] in members else []
    for word in (word for word in words if word not in layers):
        if nearest(word, inner, FIELD_WORDS):
            hint = f"Indent it further, to stand under {layers[0]}."
        else:
            near = nearest(word, _ENTRY)
            hint = f"Did you mean {near}?" if near else "An entry is one layer, and its name and from."
        found.append(_problem(node, f"unknown key '{word}' beside {layers[0]}", hint, node.keys.get(word)))
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
    right = [each for each in members if each[0]["type"] not in wording.WRONG_TYPE or len(each[0]["loc"]) > depth]
    if right:
        return min(right, key=_distance)
    every = " or ".join(dict.fromkeys(wording.expected(each[0]) for each in members))
    return [{**members[0][0], "type": "literal_error", "ctx": {"expected": every}}]


def _distance(errors: list[ErrorDetails]) -> tuple[bool, int, int, int]:
    """Lists of the right length first, then few errors, then deep ones."""
    lengths = [error["ctx"]["max_length"] for error in errors if error["type"] == "too_long"]
    return bool(lengths), len(errors), -max(len(error["loc"]) for error in errors), -max(lengths, default=0)
