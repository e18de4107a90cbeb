"""``cnn inspect``'s tables, held as files. To renew them: CNN_GOLDEN=write python -m pytest tests/cli/test_golden.py"""

import os
from pathlib import Path

import pytest
from rich.console import Console

from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.report.explain import document as explained
from cnncli.report.explain import rendered
from cnncli.report.inspect import document
from cnncli.report.tables import inspect_table

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
    hold(name, text_of(inspect_table(document(load(bundled_configs()[name])))))


def test_explain():
    hold("lenet5-explain", text_of(rendered(explained(load(bundled_configs()["lenet5"]), None))))
