"""The tables of ``cnn inspect``, kept as files.

To write them anew: CNN_GOLDEN=write python -m pytest tests/report/test_golden.py
"""

import os
from pathlib import Path

import pytest
from rich.console import Console

from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.report import explain, inspect

GOLDEN = Path(__file__).parent / "golden"


def text_of(*parts):
    console = Console(width=160, file=None, force_terminal=False, color_system=None)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def hold(name, text):
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("CNN_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(bundled_configs()))
def test_inspect(name):
    hold(name, text_of(inspect.rendered(inspect.document(load(bundled_configs()[name]))).renderables[0]))


def test_explain():
    hold("lenet5-explain", text_of(explain.rendered(explain.document(load(bundled_configs()["lenet5"]), None))))
