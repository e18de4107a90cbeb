"""Modules that wait until they are used."""

import subprocess
import sys

PROGRAM = """
import sys
from cnncli.lazy import lazy_imports
before = __import__
with lazy_imports():
    from cnncli.runs import files
    import colorsys
    import jax.numpy as jnp
    import numpy as np
assert __import__ is before
assert not {"jax", "numpy", "cnncli.runs.files"} & set(sys.modules)
print(type(files).__name__, type(colorsys).__name__, "tempfile" in sys.modules)
print(files.replace_file.__name__, type(files).__name__)
print(jnp.arange(3).sum(), np.arange(3).sum(), sys.modules["jax.numpy"] is jnp, sys.modules["numpy"] is np)
"""


def test_a_module_of_ours_waits_until_it_is_used():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    waiting, used, libraries = done.stdout.splitlines()
    assert waiting.split()[:2] == ["_LazyModule", "module"]
    assert used.split() == ["replace_file", "module"]
    assert libraries.split() == ["3", "3", "True", "True"]
