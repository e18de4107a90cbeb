"""The process of a command: streams that are refused, odd environments, Ctrl-C, errors for scripts."""

import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cnncli.cli.app import app
from cnncli.cli.streams import open_streams
from cnncli.errors import MachineError
from cnncli.json_text import json_text
from cnncli.report.tables import make_table
from cnncli.report.training import MOST_ROWS, TrainingConsole
from cnncli.runs.directory import append_line, cut_lines, json_lines
from cnncli.runs.files import writing
from cnncli.train.events import EpochRow, Outcome
from tests.helpers.commands import runner

CNN = [sys.executable, "-m", "cnncli"]
ROOT = Path(__file__).resolve().parents[2]
LATIN = os.fsdecode(b"caf\xe9")  # a name that is not UTF-8


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys)


def shell(line, cwd, **environment):
    """A line for the shell in which ``cnn`` is the program; exit code and both streams."""
    variables = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), **environment}
    text = f'set -o pipefail; cnn() {{ "$PYTHON" -m cnncli "$@"; }}; {line}'
    done = subprocess.run(["bash", "-c", text], cwd=cwd, env=variables, capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("line", "code", "said"), [
    ("cnn schema | head -c 1", 0, b""),
    ("cnn schema >&-", 0, b""),
    ("cnn schema >/dev/full", 4, b"error: stdout  cannot be written: No space left on device\n"),
    ("cnn train perceptron train.epochs=1 >/dev/full", 0, b""),
    ("cnn inspect none.yaml 2>&-", 2, b""),
    ("cnn inspect none.yaml 2>/dev/full", 2, b""),
])  # fmt: skip
def test_streams_that_are_refused(tmp_path, line, code, said):
    if "/dev/full" in line and not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    assert shell(line, tmp_path)[::2] == (code, said)


@pytest.mark.parametrize(("encoding", "bar", "name"), [
    ("latin-1", "#>=·".encode("latin-1"), "ü".encode("latin-1")),
    ("ascii", b"#>=.", b"\\xfc"),
    ("utf-8", "█≥·".encode(), "ü".encode()),
])  # fmt: skip
def test_any_encoding_gets_what_it_can_show(tmp_path, monkeypatch, encoding, bar, name):
    with open(tmp_path / "out", "wb") as file:
        stream = io.TextIOWrapper(file, encoding)
        saved = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            for each in ("stdout", "__stdout__"):
                monkeypatch.setattr(sys, each, stream)
            open_streams()
            print("█≥·ü")
            sys.stdout.flush()
        finally:
            os.dup2(saved, 1)
            os.close(saved)
    assert (tmp_path / "out").read_bytes() == bar + name + b"\n"


def test_the_reference_in_latin_1(tmp_path):
    code, out, _ = shell("cnn layers conv", tmp_path, PYTHONIOENCODING="latin-1")
    assert code == 0
    assert b"whole number > 0, <= " in out


@pytest.mark.parametrize(("line", "environment", "said"), [
    ("mkdir gone; cd gone; rmdir ../gone; cnn inspect xor", {}, "the working folder is gone"),
    ("cnn layers", {"PYTHONOPTIMIZE": "2"}, "PYTHONOPTIMIZE"),
    ("cnn doctor", {"JAX_ENABLE_X64": "maybe"}, "invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'"),
    ("cnn doctor", {"JAX_NUM_CPU_DEVICES": "x"}, "jax_num_cpu_devices"),
    ("cnn time xor", {"JAX_DISABLE_JIT": "1"}, "JAX_DISABLE_JIT"),
])  # fmt: skip
def test_an_environment_in_which_nothing_can_work_gets_a_line(tmp_path, line, environment, said):
    code, out, err = shell(line, tmp_path, **environment)
    assert (code, out) == (4, b"")
    assert len(err.splitlines()) == 1
    assert said in err.decode()


def test_without_a_home_folder(run, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    left = run("layers")
    assert left.code == 4
    assert "HOME is not set" in left.err


def test_bytes_that_are_not_utf_8_in_a_path(run, tmp_path, monkeypatch):
    (tmp_path / f"{LATIN}.yaml").write_bytes((ROOT / "configs/perceptron.yaml").read_bytes())
    left = run("train", f"{LATIN}.yaml", "train.epochs=1", "--runs", LATIN, "--json")
    assert left.code == 0, left.err
    made = Path(json.loads(left.out)["run"])
    assert json.loads((made / "lock.json").read_text())["command"][2] == f"{LATIN}.yaml"
    assert run("eval", str(made)).code == 0
    (tmp_path / LATIN / "data").mkdir()
    monkeypatch.chdir(tmp_path / LATIN)
    left = run("train", "perceptron", "data.dir=data")  # a run that could not be read back
    assert left.code == 2
    assert "not UTF-8" in left.err
    assert not (tmp_path / LATIN / "runs").exists()


def test_a_cache_in_bytes_that_are_not_utf_8(monkeypatch, tmp_path):
    from cnncli.train.devices import keep_programs

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / LATIN))
    assert keep_programs.__wrapped__() is None


def test_ctrl_c_while_modules_are_loaded(tmp_path):
    (tmp_path / "optax.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    pipe = subprocess.PIPE
    with subprocess.Popen([*CNN, "train", "xor"], cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe) as child:
        assert child.stdout.readline() == b"loading\n"
        child.send_signal(signal.SIGINT)
        assert child.stderr.read() == b"interrupted\n"
        assert child.wait(10) == 130


def test_ctrl_c_after_the_last_word(tmp_path):
    program = ("import atexit, sys, time\n"
               "atexit.register(lambda: (print('cleaning', flush=True), time.sleep(1)))\n"
               "from cnncli.cli.main import main; sys.argv[1:] = ['--version']; main()")  # fmt: skip
    environment, pipe = {**os.environ, "PYTHONPATH": str(ROOT)}, subprocess.PIPE
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe) as child:
        assert child.stdout.readline().startswith(b"cnn ")
        assert child.stdout.readline() == b"cleaning\n"
        child.send_signal(signal.SIGINT)
        assert child.stderr.read() == b""
        assert child.wait(10) == 0


@pytest.mark.parametrize(("arguments", "expected"), [
    (["inspect", "net.yaml"], {"file": "net.yaml", "line": 3, "column": 26, "path": "train.optimizer.sgd",
                               "message": "expected more than 0, got -1", "hint": ""}),
    (["fly"], {"file": None, "message": "No such command 'fly'."}),
])  # fmt: skip
def test_errors_for_scripts(run, tmp_path, arguments, expected):
    text = "data: {source: digits}\nmodel: {input: [8, 8, 1], layers: [{fc: 10}, softmax]}\n"
    (tmp_path / "net.yaml").write_text(text + "train: {optimizer: {sgd: -1}}\n")
    left = run(*arguments, "--json")
    document = json.loads(left.out)
    assert (left.code, document["exit_code"]) == (2, 2)
    (problem,) = document["errors"]
    assert set(problem) == {"file", "line", "column", "path", "message", "hint"}
    assert problem | expected == problem
    assert "rror: " in left.err


def test_no_json_has_nan(tmp_path):
    found = {"a": [1.5, float("nan"), (float("inf"), {"b": -float("inf")})], "c": None, "d": "NaN", "e": True}
    strict = {"a": [1.5, None, [None, {"b": None}]], "c": None, "d": "NaN", "e": True}
    assert json.loads(json_text(found), parse_constant=pytest.fail) == strict
    train = {"loss": 1.0, "accuracy": 0.5}
    line = {"kind": "epoch", "step": 1, "epoch": 1, "lr": 0.1, "train": train, "val": {**train, "loss": float("nan")}}
    (tmp_path / "metrics.jsonl").touch()
    append_line(tmp_path / "metrics.jsonl", line)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line | {"step": 2}) + "\n")  # as it was written before
    cut_lines(tmp_path / "metrics.jsonl", 2)
    text = (tmp_path / "metrics.jsonl").read_text()
    lines = [json.loads(each, parse_constant=pytest.fail) for each in text.splitlines()]
    assert [each["val"]["loss"] for each in lines] == [None] * 2
    assert all(math.isnan(each["val"]["loss"]) for each in json_lines(tmp_path / "metrics.jsonl"))


def test_help_says_each_command_in_a_line(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = run("--help").out
    listed = text.partition("Commands:\n")[2].splitlines()
    assert len(listed) == len(app.registered_commands)
    assert not any("..." in line or len(line) > 72 for line in listed)
    assert "--install-completion" in text


def test_completion(tmp_path):
    code, out, _ = shell("COMP_WORDS='cnn ins' COMP_CWORD=1 _CNN_COMPLETE=complete_bash cnn", tmp_path)
    assert (code, out) == (0, b"inspect\n")


def test_a_config_by_its_name_and_in_any_order(run, tmp_path):
    assert json.loads(run("init", "mynet", "--json").out) == {"config": "mynet.yaml", "schema": ".cnn-schema.json"}
    for arguments in (["mynet"], ["seed=3", "mynet.yaml"], ["mynet", "seed=3"]):
        assert json.loads(run("inspect", *arguments, "--json").out)["name"] == "mynet"
    (tmp_path / "a=b.yaml").write_text((tmp_path / "mynet.yaml").read_text())
    assert run("inspect", "a=b.yaml").code == 0


@pytest.mark.parametrize(("arguments", "line"), [
    (["train", "xor", "--epochs", "3"], "Write train.epochs=3."),
    (["train", "--batch-size=8", "xor"], "Write train.batch_size=8."),
    (["inspect", "xor", "--seed", "1"], "Write seed=1."),
    (["data", "xor", "--validaton"], "Write data.validation=...."),
    (["train", "xor", "--jsn"], "Did you mean --json?"),
    (["train", "--resume", "runs/xor-1", "--epochs", "3"], "Write train.epochs=3."),
    (["train", "train.epochs=3"], "Write cnn train CONFIG.yaml"),
])  # fmt: skip
def test_options_that_are_not_there_name_the_line_to_type(run, arguments, line):
    left = run(*arguments)
    assert left.code == 2
    assert line in left.err


def said_by(width, epochs, seconds=0.0, stop=None, best=()):
    """What a training of so many epochs prints at a width."""
    console = Console(file=io.StringIO(), width=width)
    events = TrainingConsole(console)
    events.compiled(1.0)
    for epoch in range(1, (stop or epochs) + 1):
        events.last_output -= seconds
        val = {"loss": 0.5, "accuracy": 0.5}
        events.epoch(EpochRow(epoch, epochs, val, val, 0.1, 1e4, 0.1, epoch in best))
    events.finished(Outcome(Path("runs/a-1"), epochs, epochs, 1.0, 0.5, 1e4, val, None))
    return console.file.getvalue().splitlines()


def test_many_quick_epochs_are_few_rows():
    lines = said_by(100, 1000, stop=995, best=(3, 431))
    rows = [line.split()[0] for line in lines if "/1000" in line.split()[0]]
    assert (rows[0], rows[-1]) == ("1/1000", "995/1000")
    assert len(rows) <= MOST_ROWS + 1
    assert "best    431/1000 loss 0.5000 50.00% val 0.5000 50.00%" in lines
    assert len([line for line in said_by(100, 1000, seconds=11) if "/1000" in line]) == 1000  # slow ones: each
    assert len([line for line in said_by(100, 50) if "/50" in line]) == 50


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_tables_and_rows_fit(width):
    made = make_table("layer", "kind", "output", "parameters", "mult-adds", left=2)
    made.add_row("stage2.repeat1", "batch_norm", "112x112x64", "1,234,567", "")
    console = Console(file=io.StringIO(), width=width)
    console.print(made)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, [*lines, *said_by(width, 1000)])) <= width
    text = "\n".join(lines)
    assert all(word in text for word in ("stage2.repeat1", "batch_norm", "112x112x64", "1,234,567", "parameters"))


def test_quiet_prints_the_folder_alone(run, tmp_path):
    left = run("train", "perceptron", "train.epochs=1", "--quiet")
    assert (left.code, left.out, left.err) == (0, "runs/and-1\n", "")


def test_what_was_saved_is_not_said_where_nothing_was(tmp_path):
    def words():
        with pytest.raises(MachineError) as refused, writing(tmp_path):
            raise OSError(28, "No space left on device", str(tmp_path / "metrics.jsonl"))
        return str(refused.value)

    assert "Nothing is saved yet" in words()
    (tmp_path / "checkpoints/step-00000000").mkdir(parents=True)
    assert "What was saved before is intact" in words()
