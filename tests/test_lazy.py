"""Modules that wait until they are used."""

import subprocess
import sys

PROGRAM = """
import sys
from cnncli.lazy import lazy_imports
before = list(sys.meta_path)
with lazy_imports():
    from cnncli.runs import files
    import colorsys
assert sys.meta_path == before
print(type(files).__name__, type(colorsys).__name__, "tempfile" in sys.modules)
print(files.replace_file.__name__, type(files).__name__)
"""


def test_a_module_of_ours_waits_until_it_is_used():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    waiting, used = done.stdout.splitlines()
    assert waiting.split()[:2] == ["_LazyModule", "module"]
    assert used.split() == ["replace_file", "module"]
