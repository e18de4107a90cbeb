"""What was measured, as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.throughput import CONTENDERS

COLOURS = {"torch-eager": "#d95f02", "torch-compiled": "#7570b3", "keras": "#1b9e77", "lax": "#666666"}


def text(document: dict[str, Any]) -> str:
    """Three tables: rates, ratios with their goals, and what surrounds the step."""
    parts = [
        f"{document['machine']}\n",
        _rates(document["races"]),
        _ratios(document["races"]),
        _memory(document["races"]),
    ]
    parts += [_around("cnn train over the bare step", document["pipeline"])]
    parts += [_around("second start over the first", document["start_up"])]
    load = max((race["load_average"] for race in document["races"]), default=0)
    parts += [f"Load average before a network, at most: {load:.1f} (0: nothing else ran)\n"] if load else []
    skipped = {f"{name}: {why}" for race in document["races"] for name, why in race["skipped"].items()}
    return "\n".join([part for part in parts if part] + [f"skipped: {each}" for each in sorted(skipped)])


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        + "\n"
        for row in [head, *rows]
    )


def _spread(figures: dict[str, Any]) -> str:
    return f"±{(figures['most'] - figures['least']) / 2 / figures['median']:.0%}"


def _name(found: dict[str, Any]) -> str:
    return f"{found['case']} {found['precision']}"


def _names(races: list[dict[str, Any]]) -> list[str]:
    return [name for name in CONTENDERS if any(name in race["contenders"] for race in races)]


def _rates(races: list[dict[str, Any]]) -> str:
    names = _names(races)

    def cell(race: dict[str, Any], name: str) -> str:
        figures = race["contenders"].get(name, {}).get("images_per_second")
        return f"{figures['median']:,.0f} {_spread(figures)}" if figures else "-"

    rows = [[_name(race), *(cell(race, name) for name in names)] for race in races]
    return _table(["images/s in training", *names], rows) if rows else ""


def _ratios(races: list[dict[str, Any]]) -> str:
    names = [name for name in _names(races) if name != "ours"]

    def cell(race: dict[str, Any], name: str) -> str:
        if name not in race["ratios"]:
            return "-"
        figures, goal = race["ratios"][name], race["goals"].get(name)
        reached = "" if goal is None else f" (goal {goal}{'' if figures['median'] >= goal else ', not reached'})"
        return f"{figures['median']:.2f}{reached}"

    rows = [[_name(race), *(cell(race, name) for name in names)] for race in races if race["ratios"]]
    return _table(["ours is faster by", *names], rows) if rows else ""


def _memory(races: list[dict[str, Any]]) -> str:
    names = _names(races)
    rows = [
        [_name(race), *(f"{race['contenders'][n]['peak_mib']:,.0f}" if n in race["contenders"] else "-" for n in names)]
        for race in races
    ]
    return _table(["peak memory, MiB", *names], rows) if rows else ""


def _around(what: str, found: list[dict[str, Any]]) -> str:
    rows = [
        [_name(each), f"{each['ratio']['median']:.2f}", _spread(each["ratio"]), str(each["goal"])] for each in found
    ]
    return _table([what, "median", "spread", "goal"], rows) if rows else ""


def picture(document: dict[str, Any], path: Path) -> None:
    """Bars of ours over theirs, a group for each network; whiskers from the least repeat to the most."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    races = [race for race in document["races"] if race["ratios"]]
    names = [name for name in _names(races) if name != "ours"]
    figure, axes = pyplot.subplots(
        figsize=(8, 1 + 0.2 * len(names) * len(races) + 0.3 * len(races)), layout="constrained"
    )
    for index, name in enumerate(names):
        for group, race in enumerate(races):
            if figures := race["ratios"].get(name):
                middle, at = figures["median"], group + 0.8 * (index - (len(names) - 1) / 2) / len(names)
                reach = [[middle - figures["least"]], [figures["most"] - middle]]
                axes.barh(
                    at, middle - 1, 0.8 / len(names), left=1, xerr=reach, color=COLOURS[name],
                    label=name if not group else None,
                )  # fmt: skip
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")  # twice as fast is as far from 1 as half as fast
    axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.set_yticks(range(len(races)), [_name(race) for race in races])
    axes.invert_yaxis()
    axes.set_xlabel("training images per second, ours / theirs")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
