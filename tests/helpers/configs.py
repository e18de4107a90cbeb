"""Configs of trainings that are over in a second or less."""

from __future__ import annotations

# A small convolutional network on the digits: 11 steps an epoch.
TINY = """\
name: tiny
data:
  source: digits
  preprocess: [standardize]
  augment: [{random_shift: 1}]
model:
  input: [8, 8, 1]
  layers:
    - conv: {filters: 4, kernel: 3}
    - batch_norm
    - relu
    - max_pool: 2
    - dropout: 0.2
    - fc: 10
    - softmax
train:
  epochs: 3
  batch_size: 128
  optimizer: {sgd: {lr: 0.05, momentum: 0.9, weight_decay: 0.0005}}
  schedule: cosine
  ema: 0.9
  log_every: 4 steps
"""

# A network on points in a plane: 16 to train on, 4 steps an epoch.
POINTS = """\
name: tiny
seed: 1
data:
  source:
    inline:
      inputs: [[0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [0, 1], [1, 1], [2, 1], [3, 1], [4, 1],
               [0, 2], [1, 2], [2, 2], [3, 2], [4, 2], [0, 3], [1, 3], [2, 3], [3, 3], [4, 3]]
      labels: [0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1]
  validation: 0.2
  preprocess: [standardize]
model:
  input: [2]
  layers: [{fc: 4}, batch_norm, tanh, {dropout: 0.1}, {fc: 2}, softmax]
train:
  epochs: 3
  batch_size: 4
  optimizer: {adamw: 0.05}
  schedule: cosine
  ema: 0.5
  log_every: 2 steps
  keep: 1
"""
