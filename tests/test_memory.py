"""What a training takes: the estimate against the compiled program's own figure, the warning, the automatic batch."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import yaml

from cnncli import memory
from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.data.splits import ArraySplit, Dataset
from cnncli.errors import MachineError
from cnncli.memory import Estimate, estimate
from cnncli.train import resolve
from cnncli.train.events import Events
from cnncli.train.prepare import Data, fit_constants
from cnncli.train.setup import Setup
from cnncli.train.trainer import resume, train

FACTOR = 2  # within which the estimate is right; measured: 0.7 to 1.5


class Heard(Events):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def data_for(loaded, count=512):
    """Random images that need no preprocessing."""
    shape, classes = loaded.graph.input_shape, loaded.graph.output.shape[0]
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    split = ArraySplit(images, (np.arange(count) % classes).astype(np.int32))
    return Data(Dataset(tuple(map(str, range(classes))), split), "", shape)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("lenet5", ["train.batch_size=64"]),
        ("conv1d", ["train.batch_size=64"]),
        ("mlp", ["train.batch_size=32", "train.optimizer={adam: 0.1}", "train.ema=0.9"]),
        pytest.param("digits", ["train.batch_size=256"], marks=pytest.mark.slow),
        pytest.param("lenet5", ["train.batch_size=512"], marks=pytest.mark.slow),
        pytest.param("mlp", ["train.batch_size=128"], marks=pytest.mark.slow),
        pytest.param("chain", ["train.batch_size=64"], marks=pytest.mark.slow),
        pytest.param("resnet20", ["train.batch_size=64"], marks=pytest.mark.slow),
        pytest.param("allconv", ["train.batch_size=32"], marks=pytest.mark.slow),
        pytest.param("alexnet", ["train.batch_size=8"], marks=pytest.mark.slow),
    ],
)
def test_the_estimate_is_within_its_factor_of_the_compiled_program(name, overrides):
    loaded = load(bundled_configs()[name], overrides)
    data = data_for(loaded)
    constants = fit_constants(loaded.config, data.dataset.train)
    setup = Setup(loaded, data, constants)
    setup.steps_per_call = 1
    took = memory.program_bytes(setup.compile(setup.init_state()))
    guess = setup.memory.of(setup.order.batch_size)
    assert took / FACTOR < guess < took * FACTOR


def test_need_by_hand(tmp_path):
    (tmp_path / "x.yaml").write_text("""\
data: {source: digits}
model: {input: [8, 8, 1], layers: [{conv: {filters: 4, kernel: 3}}, relu, {fc: 10}]}
train: {optimizer: {sgd: 0.1}}
""")
    graph = load(tmp_path / "x.yaml").graph
    params = 3 * 3 * 4 + 4 + 6 * 6 * 4 * 10 + 10
    numbers = 2 * 6 * 6 * 4 + 10  # conv, relu, fc
    expected = Estimate(1000 + 500 + 4 * params, 4 * numbers + 4 * 64, 2000 + 500 + 4 * params)
    assert estimate(graph, 1000, 500) == expected
    assert estimate(graph, 1000, 500, number=2, devices=2).per_image == (2 * numbers + 4 * 64) // 2


@pytest.mark.parametrize(("free", "fits"), [(99, 0), (100, 0), (109, 0), (110, 1), (139, 2), (140, 4), (1000, 64)])
def test_largest_is_a_power_of_two_that_fits(free, fits):
    found = Estimate(100, 10).largest(free)
    assert found == fits
    assert not found or Estimate(100, 10).of(found) <= free


@pytest.mark.parametrize(("fits", "images", "says"), [
    (64, 128, "train.batch_size=64."), (512, 128, "train.batch_size=64."), (512, 100, "train.batch_size=64."),
    (1, 2, "train.batch_size=1."), (0, 128, "smaller"), (8, 1, "smaller"),
])  # fmt: skip
def test_advice_is_always_less(fits, images, says):
    assert says in memory.advice(fits, images)


def test_what_evaluation_holds_counts():
    """With one image a step, reading the best checkpoint takes more than the training."""
    assert Estimate(100, 10, 150).of(1) == 150
    assert Estimate(100, 10, 150).of(10) == 200
    assert memory.warning(Estimate(100, 10, 150), 1, 140).startswith("this needs about 150 bytes")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")]
)
def test_out_of_memory_in_words(error):
    says = r"out of memory with 64 images a step\. Try train\.batch_size=16"
    with pytest.raises(MachineError, match=says), memory.guard(Estimate(100, 10), 64, 300, print):
        raise error


def test_other_errors_stay():
    with pytest.raises(RuntimeError, match="INTERNAL"), memory.guard(Estimate(1, 1), 64, 300, print):
        raise RuntimeError("INTERNAL: a bug")


CONFIG = """\
data: {source: digits}
model: {input: [8, 8, 1], layers: [{conv: 2}, {fc: 10}, softmax]}
train: {epochs: 1, batch_size: 1024, optimizer: {sgd: 0.001}}
"""


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    return lambda *overrides: load(tmp_path / "tiny.yaml", overrides)


def test_a_training_that_will_not_fit_is_warned_of(tiny, tmp_path, monkeypatch):
    heard = Heard()
    monkeypatch.setattr(memory, "available_memory", lambda: 600_000)
    train(tiny(), tmp_path / "runs", heard)
    (said,) = [note for note in heard.notes if "of memory" in note]
    assert "0.6 MB are free" in said
    assert "Try train.batch_size=" in said
    heard.notes.clear()
    monkeypatch.setattr(memory, "available_memory", lambda: 600_000_000)
    train(tiny(), tmp_path / "runs", heard)
    assert not [note for note in heard.notes if "of memory" in note]


def test_auto_is_the_largest_power_of_two_recorded_and_used_by_resume(tiny, tmp_path, monkeypatch):
    heard = Heard()
    run = train(tiny("train.batch_size=auto"), tmp_path / "runs", heard).run
    (said,) = [note for note in heard.notes if note.startswith("batch_size: auto is 16: ")]
    assert said.endswith("82 steps an epoch")  # of 1,299 images
    assert yaml.safe_load((run / "resolved.yaml").read_text())["train"]["batch_size"] == 16
    given = train(tiny("train.batch_size=16"), tmp_path / "runs", Events()).run
    last = sorted((run / "checkpoints").iterdir())[-1].name
    for file in ("params.safetensors", "state.json"):
        assert (run / "checkpoints" / last / file).read_bytes() == (given / "checkpoints" / last / file).read_bytes()
    monkeypatch.setattr(memory, "available_memory", lambda: 600_000)
    assert resume(run, ["train.epochs=2"], Events()).steps == 2 * 82


@pytest.mark.parametrize(
    ("images", "size"), [(4, 4), (20, 16), (799, 16), (1600, 32), (50_000, 512), (60_000, 1024), (10**6, 1024)]
)
def test_auto_leaves_an_epoch_its_steps(tiny, monkeypatch, images, size):
    loaded, heard = tiny("train.batch_size=auto"), Heard()
    split = ArraySplit(np.zeros((images, 8, 8, 1), np.uint8), np.zeros(images, np.int32))
    monkeypatch.setattr(resolve, "_program_bytes", lambda setup: 0)
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 40)
    data = Data(Dataset(tuple(map(str, range(10))), split), "", (8, 8, 1))
    assert resolve.resolve_batch_size(loaded, partial(Setup, data=data, constants={}), heard) == size
    assert f"{-(-images // size):,} steps an epoch" in heard.notes[0]


def test_auto_is_less_where_less_is_free_and_halved_where_the_program_takes_more(tiny, monkeypatch):
    loaded, heard = tiny("train.batch_size=auto"), Heard()
    data = data_for(loaded, 1299)
    monkeypatch.setattr(memory, "available_memory", lambda: 1_200_000)
    monkeypatch.setattr(resolve, "_program_bytes", lambda setup: 1000 * setup.config.train.batch_size)
    monkeypatch.setattr(resolve, "EPOCH_STEPS", 1)
    may = memory.CPU_SHARE * 1_200_000
    guess = Setup(resolve.with_train(loaded, batch_size=1), data, {}).memory.largest(int(may))
    assert 64 <= guess < 1024
    chosen = resolve.resolve_batch_size(loaded, partial(Setup, data=data, constants={}), heard)
    assert chosen == min(guess, 1 << int(may / 1000).bit_length() - 1)
    monkeypatch.setattr(resolve, "_program_bytes", lambda setup: 5000 * setup.config.train.batch_size)
    assert resolve.resolve_batch_size(loaded, partial(Setup, data=data, constants={}), heard) == 64
    assert any(note.startswith("batch_size: 128 would take 0.6 MB") for note in heard.notes)


def test_auto_where_not_even_one_image_fits(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(MachineError, match="not one image a step fits into memory"):
        train(tiny("train.batch_size=auto"), tmp_path / "runs", Events())
    assert not (tmp_path / "runs").exists()


PROGRAM = """\
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))
sys.argv = ["cnn", "train", "tiny.yaml", "model.layers[0]={conv: {filters: 1048576, kernel: 1}}",
            "model.layers[1]=global_avg_pool", "model.layers[2]={fc: 10}"]
from cnncli.cli.main import main
main()
"""


def test_memory_that_runs_out_in_truth(tiny, tmp_path):
    """A batch of 256 GiB where 64 GiB of addresses may be used."""
    tiny()
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 4, done.stderr
    assert "error: out of memory with 1024 images a step. Try train.batch_size=" in done.stderr
    assert "Traceback" not in done.stderr
