"""The commands as a user types them: what they print, their JSON, their exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def cnn(*arguments, cwd, check=0, **environment):
    """Run ``cnn`` in its own process."""
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    command = [sys.executable, "-m", "cnncli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which digits were trained for two epochs, and the JSON that training printed."""
    folder = tmp_path_factory.mktemp("cli")
    done = cnn("train", "digits", "train.epochs=2", "--json", cwd=folder)
    return folder, json.loads(done.stdout), done.stderr


def test_train_prints_the_device_first_a_row_per_epoch_and_the_next_command(trained):
    lines = trained[2].splitlines()
    assert lines[0].startswith("device  cpu")
    assert lines[1] == "run     runs/digits-1"
    assert any(line.startswith("compiled in") for line in lines)
    assert sum("1/2" in line or "2/2" in line for line in lines) == 2
    assert lines[-1] == "next    cnn eval runs/digits-1"


def test_train_json_has_the_promised_keys(trained):
    document = trained[1]
    assert set(document) == {"run", "epochs", "steps", "seconds", "compile_seconds", "images_per_second", "val", "test"}
    assert document["epochs"] == 2
    assert set(document["val"]) == set(document["test"]) == {"loss", "accuracy"}


def test_eval_json_gives_the_numbers_of_the_end_of_training(trained):
    folder, end, _ = trained
    document = json.loads(cnn("eval", folder / "runs/digits-1", "--json", cwd="/").stdout)
    assert set(document) == {"checkpoint", "split", "same_data", "examples", "loss", "accuracy", "balanced_accuracy",
                             "macro_f1", "top5_accuracy", "per_class", "confusion"}  # fmt: skip
    assert (document["loss"], document["accuracy"]) == (end["test"]["loss"], end["test"]["accuracy"])
    assert document["examples"] == 355 == np.sum(document["confusion"])
    assert set(document["per_class"][0]) == {"class", "precision", "recall", "f1", "support"}
    assert all(isinstance(count, int) for row in document["confusion"] for count in row)


def test_eval_of_one_checkpoint_and_of_another_split(trained):
    folder = trained[0]
    checkpoint = next((folder / "runs/digits-1/checkpoints").glob("step-*"))
    document = json.loads(cnn("eval", checkpoint, "--split", "val", "--json", cwd=folder).stdout)
    assert document["split"] == "val"
    assert document["examples"] == 143
    assert document["checkpoint"] == str(checkpoint)


def test_predict_json_and_table(trained):
    from PIL import Image

    folder = trained[0]
    digit = np.zeros((8, 8), np.uint8)
    digit[1:7, 3:5] = 255
    Image.fromarray(digit).save(folder / "one.png")
    (document,) = json.loads(cnn("predict", "runs/digits-1", "one.png", "--json", cwd=folder).stdout)
    assert set(document) == {"file", "class", "probability", "probabilities"}
    assert document["class"] == "1"
    assert abs(sum(document["probabilities"].values()) - 1) < 1e-5
    assert "one.png" in cnn("predict", "runs/digits-1", "one.png", cwd=folder).stdout


def test_inspect_json_has_the_promised_keys(tmp_path):
    document = json.loads(cnn("inspect", "lenet5", "--json", cwd=tmp_path).stdout)
    assert set(document) == {"name", "input", "layers", "totals"}
    assert set(document["layers"][0]) == {"name", "kind", "line", "inputs", "output_shape", "params", "macs",
                                          "activation_bytes", "receptive_field", "jump"}  # fmt: skip
    assert set(document["totals"]) == {"params", "trainable_params", "macs", "activation_bytes"}
    text = (ROOT / "configs/lenet5.yaml").read_text().splitlines()
    assert "conv" in text[document["layers"][0]["line"] - 1]


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["train", "nothing.yaml"], 2, "no such file"),
    (["train"], 2, "no config given"),
    (["train", "digits", "train.epochs"], 2, "is not an override"),
    (["train", "digits", "train.epochs=many"], 2, "expected a whole number"),
    (["fly"], 2, "No such command"),
    (["inspect", "lenet5", "--explain", "conv9"], 2, "no layer 'conv9'"),
    (["layers", "conv2d"], 2, "Did you mean conv?"),
    (["eval", "runs/none-1"], 5, "no such run"),
    (["eval", "."], 5, "is not a run"),
    (["train", "mlp", "data.dir=nowhere"], 3, "nowhere"),
])  # fmt: skip
def test_mistakes_get_a_line_and_an_exit_code_and_leave_nothing(tmp_path, arguments, code, said):
    done = cnn(*arguments, cwd=tmp_path, check=code)
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_no_gpu_where_one_is_asked_for(tmp_path):
    done = cnn("train", "digits", cwd=tmp_path, check=4, JAX_PLATFORMS="cuda")
    assert "no device" in done.stderr


@pytest.mark.parametrize(
    "environment", [{"LANG": "C", "LC_ALL": "C"}, {"TERM": "dumb"}, {"COLUMNS": "20"}, {"NO_COLOR": "1"}]
)
def test_any_terminal_will_do(tmp_path, environment):
    assert "conv1" in cnn("inspect", "lenet5", cwd=tmp_path, **environment).stdout
    cnn("layers", "conv", cwd=tmp_path, **environment)


def test_init_writes_a_config_that_trains_and_never_overwrites(tmp_path):
    cnn("init", "mynet", cwd=tmp_path)
    document = json.loads(cnn("train", "mynet.yaml", "train.epochs=1", "--json", cwd=tmp_path).stdout)
    assert document["run"] == "runs/mynet-1"
    cnn("init", "mynet", cwd=tmp_path, check=2)


def test_data_counts_and_draws(tmp_path):
    document = json.loads(cnn("data", "digits", "--json", cwd=tmp_path).stdout)
    assert document["splits"] == {"train": 1299, "val": 143, "test": 355}
    assert list(document["splits"]) == ["train", "val", "test"]
    assert (tmp_path / document["picture"]).stat().st_size > 1000


def test_doctor_names_device_and_reason(tmp_path):
    document = json.loads(cnn("doctor", "--json", cwd=tmp_path).stdout)
    assert document["device"][0].startswith("cpu")
    assert document["why"]
