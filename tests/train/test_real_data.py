"""On the real MNIST, where it is."""

import pytest

from cnncli.config.load import load
from cnncli.shipped import shipped
from cnncli.train.events import Events
from cnncli.train.start import train


def test_an_mlp_learns_mnist_in_an_epoch(shared_data, tmp_path):
    config = load(shipped()["mlp"], ["train.epochs=1", f"data.dir={shared_data}"])
    assert train(config, tmp_path / "runs", Events()).test["accuracy"] > 0.94


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lenet5_reaches_99_percent_on_mnist(shared_data, tmp_path, seed):
    config = load(shipped()["lenet5"], [f"seed={seed}", f"data.dir={shared_data}"])
    assert train(config, tmp_path / "runs", Events()).test["accuracy"] >= 0.992  # under 0.8 % error


@pytest.mark.slow
def test_lenet5_of_1998_reaches_its_published_error(shared_data, tmp_path):
    config = load(shipped()["lenet5-1998"], [f"data.dir={shared_data}"])
    assert train(config, tmp_path / "runs", Events()).test["accuracy"] >= 0.988  # under 1.2 % error
