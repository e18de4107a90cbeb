"""The same networks in PyTorch: channels_last, eager or compiled, bfloat16 by autocast."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnncli.config.load import Loaded
from cnncli.graph import INPUT, Graph, Node
from tests.bench.networks import MOMENTUM, RATE, arrays, ends, images_and_labels


class Slice(nn.Module):
    """Every ``stride``-th pixel: what a 1x1 pool amounts to."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]


class PadChannels(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.pads = (0, 0, 0, 0, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pads)


class Flat(nn.Module):
    """(B, C, H, W) -> (B, H*W*C): a view in channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Add(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Concat(nn.Module):
    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, 1)


class Net(nn.Module):
    """The graph's layers in order; gives the logits of every end, the network's first."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.nodes = [(node.name, node.inputs) for node in graph.nodes]
        self.ends = list(ends(graph))
        before = {node.name: node for node in graph.nodes}
        uses = [name for node in graph.nodes for name in node.inputs]
        self.layers = nn.ModuleList(module(node, before, uses) for node in graph.nodes)
        given = {name: torch.from_numpy(array) for name, array in arrays(graph).items()}
        for (name, _), layer in zip(self.nodes, self.layers, strict=True):
            carry(layer, name, given)

    def forward(self, x: Tensor) -> list[Tensor]:
        values = {INPUT: x}
        for (name, inputs), layer in zip(self.nodes, self.layers, strict=True):
            values[name] = layer(*[values[each] for each in inputs])
        return [values[name] for name in self.ends]


def module(node: Node, before: dict[str, Node], uses: list[str]) -> nn.Module:
    """One layer. A ReLU works in place where nothing else needs what it overwrites."""
    layer, channels, kind = node.layer, node.in_shapes[0][-1], node.layer.kind
    if kind == "conv":
        window = node.resolved.sliding
        padding = [first for first, last in window.padding if first == last]
        return nn.Conv2d(channels, layer.filters, window.size, window.stride, tuple(padding), window.dilation,
                         layer.groups, layer.bias)  # fmt: skip
    if kind in ("max_pool", "avg_pool"):
        window = node.resolved.sliding
        if window.size == (1, 1):
            return Slice(window.stride[0])
        padding, ceil = [first for first, _ in window.padding], layer.rounding == "ceil"
        if kind == "max_pool":
            return nn.MaxPool2d(window.size, window.stride, padding, ceil_mode=ceil)
        return nn.AvgPool2d(window.size, window.stride, padding, ceil, layer.count_padding)
    if kind == "relu":
        (source,) = node.inputs
        alone = uses.count(source) == 1 and source in before
        return nn.ReLU(alone and before[source].layer.kind in ("conv", "batch_norm", "fc", "add"))
    if kind == "fc":
        units = node.weights["kernel"].shape[-2]
        return nn.Sequential(Flat(), nn.Linear(units, layer.units, layer.bias))
    makers: dict[str, Callable[[], nn.Module]] = {
        "batch_norm": lambda: nn.BatchNorm2d(channels, layer.epsilon, 1 - layer.momentum),
        "lrn": lambda: nn.LocalResponseNorm(layer.n, layer.alpha, layer.beta, layer.k),
        "dropout": lambda: nn.Dropout(layer.rate),
        "tanh": nn.Tanh,
        "global_avg_pool": Mean,
        "pad_channels": lambda: PadChannels((layer.to - channels) // 2, -(-(layer.to - channels) // 2)),
        "add": Add,
        "concat": Concat,
        "softmax": nn.Identity,  # the loss has it
    }
    return makers[kind]()


def carry(layer: nn.Module, name: str, given: dict[str, Tensor]) -> None:
    """Our weights into one of PyTorch's layers."""
    target = layer[1] if isinstance(layer, nn.Sequential) else layer
    with torch.no_grad():
        if isinstance(target, nn.Conv2d):
            target.weight.copy_(given[f"{name}.kernel"].permute(3, 2, 0, 1))
        elif isinstance(target, nn.Linear):
            target.weight.copy_(given[f"{name}.kernel"].T)
        if getattr(target, "bias", None) is not None:
            target.bias.copy_(given[f"{name}.bias"])


def loss_of(outputs: list[Tensor], labels: Tensor, weights: list[float]) -> Tensor:
    """Cross-entropy of every end, weighted."""
    parts = [weight * F.cross_entropy(each, labels) for each, weight in zip(outputs, weights, strict=True)]
    return torch.stack(parts).sum() if len(parts) > 1 else parts[0]


def make(loaded: Loaded, compiled: bool) -> tuple[str, Callable[[int], None]]:
    """(what it is, ``run(steps)`` that returns when they are done)."""
    graph, size = loaded.graph, loaded.config.train.batch_size
    net = Net(graph).to(memory_format=torch.channels_last)
    forward = torch.compile(net) if compiled else net
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM)
    pictures, numbers = images_and_labels(graph, size)
    batches = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last).split(size)
    labels = torch.from_numpy(numbers).long().split(size)
    low, weights = loaded.config.train.precision == "bfloat16", list(ends(graph).values())

    def run(steps: int) -> None:
        for i in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = loss_of(forward(batches[i % len(batches)]), labels[i % len(batches)], weights)
            loss.backward()
            optimizer.step()

    return f"torch {torch.__version__}, {torch.get_num_threads()} threads", run
