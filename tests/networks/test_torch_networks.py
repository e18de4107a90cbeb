"""Whole published networks against PyTorch ones with the same weights, carried across in reading order."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: no comparison with PyTorch")
from torch import nn  # noqa: E402

from cnncli.bundled import bundled_configs  # noqa: E402
from cnncli.config.load import load  # noqa: E402
from cnncli.model import Model, Weights  # noqa: E402


def conv(cin, cout, k, s=1, p=0, groups=1, bias=True):
    return nn.Conv2d(cin, cout, k, s, p, groups=groups, bias=bias)


class Basic(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.path = nn.Sequential(conv(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(),
                                  conv(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout))  # fmt: skip
        self.short = (
            nn.Sequential(conv(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))
            if cin != cout
            else nn.Identity()
        )

    def forward(self, x):
        return torch.relu(self.path(x) + self.short(x))


class Bottleneck(nn.Module):
    def __init__(self, cin, width, cout, stride):
        super().__init__()
        self.path = nn.Sequential(
            conv(cin, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            conv(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            conv(width, cout, 1, bias=False), nn.BatchNorm2d(cout),
        )  # fmt: skip
        self.short = (
            nn.Sequential(conv(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))
            if cin != cout
            else nn.Identity()
        )

    def forward(self, x):
        return torch.relu(self.path(x) + self.short(x))


def stem():
    return [conv(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]


def resnet18():
    blocks, cin = [], 64
    for i, width in enumerate((64, 128, 256, 512)):
        blocks += [Basic(cin, width, 2 if i else 1), Basic(width, width, 1)]
        cin = width
    return nn.Sequential(*stem(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def resnet50():
    blocks, cin = [], 64
    for i, (width, times) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for j in range(times):
            blocks.append(Bottleneck(cin, width, 4 * width, 2 if i and not j else 1))
            cin = 4 * width
    return nn.Sequential(*stem(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def mobilenet():
    def normed(*of, **options):
        return [conv(*of, **options, bias=False), nn.BatchNorm2d(of[1]), nn.ReLU()]

    layers, cin = normed(3, 32, 3, 2, 1), 32
    halving = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))
    for cout, stride in (*halving, *[(512, 1)] * 5, (1024, 2), (1024, 1)):
        layers += [*normed(cin, cin, 3, stride, 1, groups=cin), *normed(cin, cout, 1)]
        cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


class Hwc(nn.Module):
    """Flatten as we do, channels innermost, so that the first fully connected layer's weights agree."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def vgg16():
    layers, cin = [], 3
    for times, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(times):
            layers += [conv(cin, width, 3, 1, 1), nn.ReLU()]
            cin = width
        layers.append(nn.MaxPool2d(2))
    dense = [Hwc(), nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, *dense)


def alexnet():
    lrn, pool = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), nn.MaxPool2d(3, 2)
    return nn.Sequential(
        conv(3, 96, 11, 4), nn.ReLU(), lrn, pool, conv(96, 256, 5, 1, 2, groups=2), nn.ReLU(), lrn, pool,
        conv(256, 384, 3, 1, 1), nn.ReLU(), conv(384, 384, 3, 1, 1, groups=2), nn.ReLU(),
        conv(384, 256, 3, 1, 1, groups=2), nn.ReLU(), pool,
        Hwc(), nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
    )  # fmt: skip


class Inception(nn.Module):
    def __init__(self, cin, n1, r3, n3, r5, n5, pooled):
        super().__init__()
        self.paths = nn.ModuleList([
            nn.Sequential(conv(cin, n1, 1), nn.ReLU()),
            nn.Sequential(conv(cin, r3, 1), nn.ReLU(), conv(r3, n3, 3, 1, 1), nn.ReLU()),
            nn.Sequential(conv(cin, r5, 1), nn.ReLU(), conv(r5, n5, 5, 1, 2), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(cin, pooled, 1), nn.ReLU()),
        ])  # fmt: skip

    def forward(self, x):
        return torch.cat([path(x) for path in self.paths], 1)


def googlenet():
    lrn, pool = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(
        conv(3, 64, 7, 2, 3), nn.ReLU(), pool, lrn, conv(64, 64, 1), nn.ReLU(), conv(64, 192, 3, 1, 1), nn.ReLU(), lrn,
        pool,
        Inception(192, 64, 96, 128, 16, 32, 32), Inception(256, 128, 128, 192, 32, 96, 64), pool,
        Inception(480, 192, 96, 208, 16, 48, 64), Inception(512, 160, 112, 224, 24, 64, 64),
        Inception(512, 128, 128, 256, 24, 64, 64), Inception(512, 112, 144, 288, 32, 64, 64),
        Inception(528, 256, 160, 320, 32, 128, 128), pool, Inception(832, 256, 160, 320, 32, 128, 128),
        Inception(832, 384, 192, 384, 48, 128, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000),
    )  # fmt: skip


BUILT = {
    "resnet18": resnet18, "resnet50": resnet50, "alexnet": alexnet, "googlenet": googlenet, "vgg16": vgg16,
    "mobilenet": mobilenet,
}  # fmt: skip


def carried(net, graph):
    """PyTorch's arrays under our names: both list their layers in reading order."""
    modules = [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))]
    nodes = [node for node in graph.main if node.weights]
    assert len(modules) == len(nodes)
    params, state = {}, {}
    for module, node in zip(modules, nodes, strict=True):
        weight = module.weight.detach().numpy()
        if isinstance(module, nn.BatchNorm2d):
            params[f"{node.name}.scale"] = weight
            state |= {f"{node.name}.mean": module.running_mean.numpy(), f"{node.name}.var": module.running_var.numpy()}
        else:
            params[f"{node.name}.kernel"] = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        if module.bias is not None:
            params[f"{node.name}.bias"] = module.bias.detach().numpy()
    return Weights({k: jnp.asarray(v) for k, v in params.items()}, {k: jnp.asarray(v) for k, v in state.items()})


@pytest.mark.parametrize("name", BUILT)
def test_textbook_network_equals_pytorch(name):
    torch.manual_seed(0)
    net = BUILT[name]().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that are not trivial
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
    loaded = load(bundled_configs()[name], ["train.precision=float32"])
    weights = carried(net, loaded.graph)
    height, width, _ = loaded.graph.input_shape
    images = np.random.default_rng(0).standard_normal((1, height, width, 3)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    model = Model(loaded.graph)
    found = jax.jit(lambda w, x: model.apply(w, x, logits_of="softmax")[0])(weights, jnp.asarray(images))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    del net, weights
    gc.collect()
