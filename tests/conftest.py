"""JAX on the CPU at its strictest, and what several tests need."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"  # before anything imports JAX
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # many tests compile the same network: once is enough
    _cache = tempfile.mkdtemp(prefix="cnn-tests-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"


@pytest.fixture(scope="session")
def torch():
    """PyTorch, or a skip that says so."""
    return pytest.importorskip("torch", reason="PyTorch is the reference here: pip install torch")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: $CNN_DATA_DIR or ../shared/data beside the project."""
    folder = Path(os.environ.get("CNN_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data in {folder} (set CNN_DATA_DIR)")
    return folder
