"""A network too large to wire is refused at once, and a deep one is shown within a second or two."""

import io

import pytest
from rich.console import Console

from cnncli.config.load import load
from cnncli.errors import ConfigError
from cnncli.report.inspect import document, rendered


def test_repeats_inside_repeats_end(tmp_path):
    (tmp_path / "bomb.yaml").write_text("""\
data: {source: digits}
model:
  input: [8, 8, 1]
  layers: [{repeat: {times: 10000, layers: [{repeat: {times: 10000, layers: [relu]}}]}}, {fc: 10}]
train: {optimizer: {sgd: 0.1}}
""")
    with pytest.raises(ConfigError, match=r"bomb\.yaml:4.*more than 20,000 layers"):
        load(tmp_path / "bomb.yaml")


def test_the_table_of_a_deep_network_is_short(tmp_path):
    """Its head, its end and the sum; 19,000 layers took 10 s to draw."""
    (tmp_path / "deep.yaml").write_text("""\
data: {source: digits}
model: {input: [8, 8, 1], layers: [{repeat: {times: 9500, layers: [relu, tanh]}}, {fc: 10}]}
train: {optimizer: {sgd: 0.1}}
""")
    found = document(load(tmp_path / "deep.yaml"))
    assert len(found["layers"]) == 19_001
    console = Console(width=120, file=io.StringIO())
    console.print(rendered(found))
    lines = console.file.getvalue().splitlines()
    assert len(lines) < 1_010
    assert "18,001 more: --json has all" in lines[503]
    assert lines[502].startswith("repeat1.250.tanh1")
    assert lines[504].startswith("repeat1.9251.tanh1")
    assert lines[-2].split() == ["total", "650", "640", "4.6", "MiB"]
