"""What .github/SECURITY.md promises, as far as no other test holds it."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2] / "cnncli"
CODE = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}

MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "cloudpickle",
    "subprocess",
    "pty",
    "runpy",
    "code",
    "torch",
}
CALLS = {
    "eval", "exec", "compile", "__import__", "globals", "import_module", "expandvars", "system", "popen", "spawnl",
    "execv", "extractall", "extract", "unpack_archive", "unsafe_load", "full_load", "safe_load", "load_module",
}  # fmt: skip
# Methods of JAX, `re` and `platform` by the names of dangerous functions; a module that our own source imports late.
HARMLESS = re.compile(
    r"\.lower\(.*\)\.compile\(\)|lowered\.compile\(\)|import_module\(self\.__name__\)|re\.compile\("
    r"|platform\.system\(\)"
)
OWN_PROCESSES = {Path("doctor.py"), Path("selftest.py")}  # start cnn itself, to try it


def calls():
    """(file, name called, the call) of the whole package."""
    for path, tree in CODE.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                yield path.relative_to(ROOT), name, node


def test_nothing_that_could_run_what_a_file_says():
    imported = {
        (path.relative_to(ROOT), name.partition(".")[0])
        for path, tree in CODE.items()
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert not [each for each in imported if each[1] in MODULES and each[0] not in OWN_PROCESSES]
    found = [f"{path}: {ast.unparse(node)}" for path, name, node in calls() if name in CALLS]
    assert not [each for each in found if not HARMLESS.search(each)]


def test_arrays_and_pictures_are_opened_by_readers_that_cannot_be_talked_into_more():
    opened = 0
    for path, _, node in calls():
        text = ast.unparse(node)
        assert not text.startswith(("np.load(", "numpy.load(", "yaml.load(", "safetensors.torch")), path
        if text.startswith("Image.open("):
            assert "formats=[header.format]" in text  # JPEG or PNG, by the first bytes
            opened += 1
    assert opened == 1


def test_a_name_from_a_config_reaches_only_the_functions_of_optax_that_the_table_lists():
    used = [
        (path, ast.unparse(node)) for path, name, node in calls() if name == "getattr" and "optax" in ast.unparse(node)
    ]
    assert used == [(Path("ops/optimizer.py"), "getattr(optax, name)")]
    from cnncli.optimizers import optax_table

    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in optax_table()["optimizers"])


HOSTILE = ["[/bold]", "\x1b[31mred\x1b[0m", "a\nerror: b", "\x1b]0;title\x07", "$\\frac$", "\u202egpj.exe", "网络"]
NPZ = """\
data: {source: {npz: a.npz}, validation: 0}
model: {input: [8, 8, 1], layers: [{fc: 4}, softmax]}
train: {epochs: 1, optimizer: {sgd: 0.1}, batch_size: 1}
"""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of a tiny network of four classes, to be copied."""
    from cnncli.config.load import load
    from cnncli.train.events import Events
    from cnncli.train.trainer import train

    folder = tmp_path_factory.mktemp("trained")
    x, y = np.zeros((4, 8, 8), np.uint8), np.arange(4)
    classes = np.array(["a", "b", "$\\frac$", "[/bold]"])
    np.savez(folder / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y, classes=classes)
    (folder / "x.yaml").write_text(NPZ)
    train(load(folder / "x.yaml", [f"data.source={{npz: {folder / 'a.npz'}}}"]), folder / "runs", Events())
    return folder


@pytest.fixture
def run(cnn, trained, tmp_path):
    """A copy of that run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return Path("runs/x-1")


@pytest.mark.filterwarnings("ignore:Glyph")
def test_class_names_are_never_mathematics_or_markup(cnn, run):
    outcome = cnn("data", "x.yaml")
    assert outcome.code == 0, outcome
    assert "$\\frac$" in outcome.out
    assert "[/bold]" in outcome.out


@pytest.mark.parametrize("name", HOSTILE)
def test_class_names_of_a_checkpoint_are_neutralised(cnn, run, name):
    """A data source refuses such names; a run folder from elsewhere may hold them."""
    import hashlib

    from PIL import Image

    folder = max((run / "checkpoints").iterdir())
    state = json.loads((folder / "state.json").read_text())
    content = json.dumps(state | {"classes": [name, "b", "c", "d"]}).encode()
    (folder / "state.json").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"format": 1}
    manifest["files"]["state.json"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    Image.new("L", (8, 8)).save("p.png")
    for command in (["predict", folder, "p.png"], ["predict", folder, "p.png", "--json"]):
        outcome = cnn(*command)
        assert outcome.code == 0, outcome
        assert not CONTROL.search(outcome.out + outcome.err), outcome
        assert "\nerror: b" not in outcome.out + outcome.err


def test_escapes_in_paths_are_neutralised(cnn, tmp_path):
    name = "\x1b[31mx\n"
    os.mkdir(name)
    Path(name, "y.yaml").write_text("data: {source: digits}\nmodel: {input: [8, 8, 1], layers: [{fc: 10}]}\n"
                                    "train: {epochs: 1, batch_size: 512, optimizer: {sgd: 0.1}}\n")  # fmt: skip
    Path(name, "bad.yaml").write_text("a: [\n")
    Path(name, "bad.png").write_bytes(b"x")
    for command in (
        ["inspect", f"{name}/y.yaml"], ["inspect", f"{name}/bad.yaml"],
        ["data", f"{name}/y.yaml", "--out", f"{name}/p.png"],
        ["train", f"{name}/y.yaml", "--runs", f"{name}/runs"], ["eval", f"{name}/runs/y-1"],
        ["predict", f"{name}/runs/y-1", f"{name}/bad.png"], ["eval", f"{name}/none"],
    ):  # fmt: skip
        outcome = cnn(*command)
        assert outcome.code in (0, 2, 3, 5), outcome
        assert not CONTROL.search(outcome.out + outcome.err), (command, outcome)


def test_a_link_in_the_place_of_a_run_is_not_followed(cnn, tmp_path):
    Path("y.yaml").write_text("data: {source: digits}\nmodel: {input: [8, 8, 1], layers: [{fc: 10}]}\n"
                              "train: {epochs: 1, batch_size: 512, optimizer: {sgd: 0.1}}\n")  # fmt: skip
    os.mkdir("outside")
    os.mkdir("runs")
    os.symlink(tmp_path / "outside", "runs/y-1")
    outcome = cnn("train", "y.yaml")
    assert outcome.code == 2
    assert "would lie outside runs" in outcome.err
    assert not os.listdir("outside")


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl", "checkpoints", "plots", "plots/curves.png", "new"])
def test_a_run_with_links_that_lead_out_is_not_resumed(cnn, run, tmp_path, name):
    target = tmp_path / "target"
    target.mkdir() if name in ("checkpoints", "plots") else target.write_text("mine")
    (run / name).rename(tmp_path / "was") if (run / name).exists() else None
    (run / name).symlink_to(target)
    outcome = cnn("train", "--resume", run, "train.epochs=2")
    assert outcome.code == 5, outcome
    assert outcome.err.startswith(f"error: {run / name}  is a link that leads out of the run")
    assert not any(target.iterdir()) if target.is_dir() else target.read_text() == "mine"


@pytest.mark.parametrize("where", ["data.dir=$HOME", "data.source={folder: {path: $HOME, size: 8}}",
                                   "data.source={npz: '${HOME}/a.npz'}", "data.source={npz: '%HOME%'}"])  # fmt: skip
def test_no_variable_of_the_environment_is_put_in(cnn, where):
    Path("x.yaml").write_text(NPZ.replace("npz: a.npz", "mnist: {mirrors: []}").replace("[8, 8, 1]", "[28, 28, 1]")
                              .replace("fc: 4", "fc: 10"))  # fmt: skip
    extra = ["model.input=[8, 8, 3]"] if "folder" in where else []
    outcome = cnn("train", "x.yaml", where, *extra)
    assert outcome.code == 3
    assert "HOME" in outcome.err


@pytest.mark.parametrize("command", [["data", "x.yaml", "--out", "long/p.png"], ["train", "x.yaml", "--runs", "long"]])
def test_what_the_system_refuses_is_not_a_bug_of_ours(cnn, command):
    np.savez("a.npz", x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.arange(4))
    Path("x.yaml").write_text(NPZ)
    outcome = cnn(*(word.replace("long", "x" * 5000) for word in command))
    assert outcome.code == 4
    assert "file name too long" in outcome.err.lower()
    assert len(outcome.err) < 1000


def test_the_clock_decides_nothing():
    """Training times itself by a clock that never goes back, and no file's date is looked at.

    One place looks at dates: the cache of compiled programs, when it is full, to remove what is unused for longest.
    """
    found = [f"{path}: {ast.unparse(node)}" for path, name, node in calls() if Path(path).name != "program_cache.py"
             if ast.unparse(node.func) in ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today")
             or name in ("getmtime", "getctime", "utime", "localtime", "gmtime")]  # fmt: skip
    assert not found


def test_unknown_flags_are_usage_errors(cnn):
    outcome = cnn("train", "x.yaml", "--fly")
    assert outcome.code == 2
    assert "No such option" in outcome.err


def test_a_bug_of_ours_leaves_a_private_log_and_says_where(tmp_path):
    program = "import sys; sys.argv = ['cnn', 'doctor']; import cnncli.doctor as d; d.findings = lambda: 1 / 0\n"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program + "from cnncli.cli.main import main; main()"], text=True,
                          capture_output=True, env=environment, timeout=120)  # fmt: skip
    assert done.returncode == 70
    (log,) = tmp_path.glob("cnn-*.log")
    assert str(log) in done.stderr
    assert "Traceback" not in done.stderr
    assert log.stat().st_mode & 0o077 == 0
    assert "ZeroDivisionError" in log.read_text()
