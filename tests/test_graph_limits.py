"""A network too large to wire is refused at once."""

import pytest

from cnncli.config.load import load
from cnncli.errors import ConfigError


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
