"""Imports point one way only, and static work loads neither JAX nor NumPy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cnncli"

# Each line imports only from lines above its own. config wires the graph: shape errors come with all others.
ORDER = [
    ("errors", "lazy", "sliding"),
    ("spec", "receptive_field", "json_text", "text", "safe_files"),
    ("machine", "paths"),
    ("native", "durations", "bundled"),
    ("ops",),
    ("layers", "data", "losses", "metrics", "optimizers", "schedules"),
    ("graph",),
    ("config",),
    ("model", "memory"),
    ("runs",),
    ("train",),
    ("evaluate", "predict", "report", "export", "doctor", "selftest", "starter", "timing"),
    ("cli",),
    ("__main__",),
]
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module below the package by its dotted name, ``train.loop``, with its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a tree imports anywhere, except for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            whole = node.module == "cnncli"
            yield from (f"cnncli.{alias.name}" for alias in node.names) if whole else (node.module or "",)
        else:
            yield from imported(node)


def test_one_direction():
    wrong = []
    for name, tree in modules():
        part = name.partition(".")[0]
        if part == "__init__":
            assert not list(imported(tree)), "cnncli/__init__.py imports nothing: it is loaded before everything"
            continue
        for target in imported(tree):
            package, _, rest = target.partition(".")
            other = rest.partition(".")[0]
            if package != "cnncli" or other in ("", part, "__version__"):
                continue
            assert part in LEVEL, f"{part}: give it a line in ORDER"
            assert other in LEVEL, f"{other}: give it a line in ORDER"
            if LEVEL[other] >= LEVEL[part]:
                wrong.append(f"cnncli.{name} imports {target}")
    assert not wrong


@pytest.mark.parametrize(("library", "users"), [("rich", {"cli", "report"}), ("typer", {"cli"}), ("click", set())])
def test_who_knows(library, users):
    found = {name for name, tree in modules() for target in imported(tree) if target.partition(".")[0] == library}
    assert {name.partition(".")[0] for name in found} <= users


def test_reports_know_little_of_training():
    """A report renders what training tells: its events and documents, not its machinery."""
    found = {t for name, tree in modules() if name.startswith("report") for t in imported(tree) if ".train" in t}
    assert found <= {"cnncli.train.events", "cnncli.train.prepare"}


HEAVY = {"jax", "jaxlib", "numpy", "optax", "scipy", "PIL", "matplotlib", "safetensors", "requests"}


def loaded(*arguments: str, code: int = 0) -> set[str]:
    """The top-level packages that a command, run in a process of its own, has loaded; without lazy ones that wait."""
    program = (
        "import sys, atexit; sys.argv = ['cnn', *sys.argv[1:]]\n"
        "loaded = lambda: {name.partition('.')[0] for name, module in sys.modules.items()\n"
        "                  if type(module).__name__ != '_LazyModule'}\n"
        "atexit.register(lambda: print('|', *loaded()))\n"
        "from cnncli.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == code, done
    return set(done.stdout.rpartition("|")[2].split())


@pytest.mark.parametrize(
    ("arguments", "code", "also_not"),
    [
        (["--help"], 0, {"pydantic", "yaml", "rich"}),
        (["--version"], 0, {"pydantic", "yaml", "rich"}),
        (["inspect", "configs/lenet5.yaml"], 0, set()),
        (["inspect", "configs/lenet5.yaml", "--json"], 0, set()),
        (["inspect", "configs/lenet5.yaml", "train.epoch=3"], 2, set()),
        (["train", "configs/lenet5.yaml", "model.layers[0].conv.kernel=99"], 2, set()),
        (["inspect", "configs/lenet5.yaml", "train.optimizer={adam: {lr: 0.1, beta1: 1}}"], 2, set()),
        (["layers", "conv"], 0, set()),
        (["layers", "adam"], 0, set()),
        (["schema"], 0, set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_stays_out_of_memory(arguments, code, also_not):
    assert not loaded(*arguments, code=code) & (HEAVY | also_not)
