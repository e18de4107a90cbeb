"""On the real MNIST and CIFAR-10, where they are."""

import tarfile
from statistics import mean, stdev

import pytest

from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.train.events import Events
from cnncli.train.trainer import train


def test_an_mlp_learns_mnist_in_an_epoch(shared_data, tmp_path):
    config = load(bundled_configs()["mlp"], ["train.epochs=1", f"data.dir={shared_data}"])
    assert train(config, tmp_path / "runs", Events()).test["accuracy"] > 0.94


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lenet5_reaches_99_percent_on_mnist(shared_data, tmp_path, seed):
    config = load(bundled_configs()["lenet5"], [f"seed={seed}", f"data.dir={shared_data}"])
    assert train(config, tmp_path / "runs", Events()).test["accuracy"] >= 0.992  # under 0.8 % error


@pytest.mark.slow
def test_lenet5_of_1998_reaches_its_published_error(shared_data, tmp_path):
    config = load(bundled_configs()["lenet5-1998"], [f"data.dir={shared_data}"])
    assert train(config, tmp_path / "runs", Events()).test["accuracy"] >= 0.988  # under 1.2 % error


@pytest.fixture(scope="module")
def cifar10(shared_data, tmp_path_factory):
    """Folders of one JPEG per image."""
    archive, folder = shared_data / "cifar10-jpeg.tar.xz", tmp_path_factory.mktemp("cifar10")
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def accuracies(name, precision, seeds, overrides, runs):
    """On the test split, one per seed."""
    each = [[f"seed={seed}", f"train.precision={precision}", *overrides] for seed in seeds]
    return [train(load(bundled_configs()[name], some), runs / precision, Events()).test["accuracy"] for some in each]


def within_noise(of):
    """bfloat16 no worse than float32 by more than two standard errors of the difference of the means."""
    full, half = of("float32"), of("bfloat16")
    print(f"float32 {mean(full):.4f} +- {stdev(full):.4f}, bfloat16 {mean(half):.4f} +- {stdev(half):.4f}")
    return mean(half) >= mean(full) - 2 * ((stdev(full) ** 2 + stdev(half) ** 2) / len(full)) ** 0.5


@pytest.mark.slow
def test_bfloat16_is_as_accurate_on_mnist(shared_data, tmp_path):
    overrides = [f"data.dir={shared_data}", "train.epochs=5"]
    assert within_noise(lambda precision: accuracies("lenet5", precision, range(5), overrides, tmp_path))


@pytest.mark.slow
def test_bfloat16_is_as_accurate_on_cifar10(cifar10, tmp_path):
    overrides = [f"data.source={{folder: {cifar10}}}", "train.epochs=3", "train.schedule=cosine"]
    assert within_noise(lambda precision: accuracies("resnet20", precision, range(3), overrides, tmp_path))
