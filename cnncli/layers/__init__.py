"""Every layer of the language, in one list. A layer is added by its class and one word here."""

from __future__ import annotations

from cnncli.layers import activation, conv, dense, entry, joins, norm, pool, rbf, reshape, upsample
from cnncli.layers.base import Call, Layer, Resolved, Shape, Weight, Window
from cnncli.layers.composites import Aux, Block, Branches, Composite, Repeat, Residual
from cnncli.layers.dropout import Dropout
from cnncli.layers.entry import AnyLayer, Entries, Entry, Name, Paths

LAYERS: tuple[type[Layer], ...] = (
    conv.Conv, conv.LocallyConnected, dense.FullyConnected,
    pool.MaxPool, pool.AvgPool, pool.L2Pool, pool.StochasticPool, pool.Subsample, pool.GlobalAvgPool,
    pool.GlobalMaxPool, upsample.ConvTranspose, upsample.Upsample, upsample.MaxUnpool,
    norm.BatchNorm, norm.LayerNorm, norm.GroupNorm, norm.RmsNorm, norm.Lrn, Dropout,
    activation.LinearActivation, activation.Sign, activation.Hardlim, activation.Sigmoid, activation.HardSigmoid,
    activation.Tanh, activation.HardTanh, activation.ScaledTanh, activation.Softmax, activation.Relu,
    activation.LeakyRelu, activation.Prelu, activation.Elu, activation.Selu, activation.Softplus, activation.Gelu,
    activation.Swish, activation.HardSwish, activation.Maxout, rbf.Rbf,
    reshape.Flatten, reshape.PadChannels, joins.Add, joins.Multiply, joins.Concat,
    Block, Repeat, Residual, Branches, Aux,
)  # fmt: skip

entry.KINDS.update({layer.kind: layer for layer in LAYERS})

__all__ = [
    "LAYERS", "AnyLayer", "Call", "Composite", "Entries", "Entry", "Layer", "Name", "Paths", "Resolved", "Shape",
    "Weight", "Window",
]  # fmt: skip
