"""``cnn init``: a first config to change."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cnncli.bundled import bundled_configs
from cnncli.config.json_schema import json_schema
from cnncli.config.reader import scalar
from cnncli.config.schema import RUN_NAME
from cnncli.errors import ConfigError, MachineError, Place
from cnncli.runs.files import replace_file

SCHEMA = ".cnn-schema.json"  # beside the config, for its first line
STARTER = """\
# yaml-language-server: $schema=.cnn-schema.json
# (with the line above, an editor that speaks YAML completes and checks what you type)
#
# A small convolutional network on the digits that come with cnncli.
#   cnn inspect {name}.yaml      shapes and costs          cnn layers conv    every field of a layer
#   cnn train {name}.yaml        trains it                 cnn train {name}.yaml train.epochs=3    with a change
name: {word}
seed: 0                             # every random choice follows from it

data:
  source: digits                    # or mnist, cifar10, folder: {{path: my_pictures, size: [64, 64]}}, ...
  validation: 0.1                   # share of the training images kept aside to choose by
  preprocess: [standardize]         # fitted on training images only
  augment: [{{random_shift: 1}}]      # random changes, training only

model:
  input: [8, 8, 1]                  # height, width, channels
  layers:
    - conv: {{filters: 32, kernel: 3, padding: same}}
    - batch_norm
    - relu
    - conv: {{filters: 64, kernel: 3, padding: same}}
    - batch_norm
    - relu
    - max_pool: 2
    - dropout: 0.3
    - fc: 10                        # one output per class
    - softmax

train:
  epochs: 20
  batch_size: 32
  optimizer: {{sgd: {{lr: 0.02, momentum: 0.9, weight_decay: 0.0005}}}}
  schedule: cosine
"""


def write_starter(name: str) -> Path:
    """Write NAME.yaml here, never over a file that is there, and the schema that editors check it by."""
    name = name.removesuffix(".yaml")
    if not re.fullmatch(RUN_NAME, name):
        raise ConfigError.of(f"'{name}' is not a name for a config", "Use letters, digits, '.', '_' and '-'.")
    known, path = bundled_configs(), Path(f"{name}.yaml")
    if name in known:
        text = known[name].read_text(encoding="utf-8").replace("$schema=schema.json", f"$schema={SCHEMA}", 1)
    else:
        text = STARTER.format(name=name, word=name if scalar(name) == name else f"'{name}'")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        replace_file(Path(SCHEMA), json.dumps(json_schema(), indent=1).encode())
    except FileExistsError:
        raise ConfigError.of("is there already", "Choose another name, or move it away.", Place(str(path))) from None
    except OSError as error:
        raise MachineError.of(f"cannot be written: {error.strerror}", place=Place(str(path))) from None
    return path
