"""The convolution kernels built with sanitizers, run by a program of their own: nothing is reported."""

import os
import subprocess
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import jax
import pytest

NATIVE = Path(__file__).parents[2] / "cnncli" / "native"
SOURCES = [NATIVE / f"{name}.cc" for name in ("convolution", "winograd", "narrow", "onednn")]


def folder(package, name):
    try:
        found = [Path(str(file.locate())).resolve() for file in files(package) or () if file.as_posix().endswith(name)]
    except PackageNotFoundError:
        found = []
    return found[0].parent if found else pytest.skip(f"{package} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(sanitizers, tmp_path):
    headers, library = folder("onednn-devel-cpu-gomp", "/include/dnnl.hpp"), folder("onednn-cpu-gomp", "/libdnnl.so.3")
    program = tmp_path / "concurrent"
    flags = ["-std=c++17", "-O1", "-g", "-fopenmp", "-fno-math-errno", f"-fsanitize={sanitizers}", "-w"]
    folders = [f"-I{NATIVE}", f"-I{headers}", f"-I{jax.ffi.include_dir()}", f"-L{library}", f"-Wl,-rpath,{library}"]
    sources = [Path(__file__).with_name("concurrent.cc"), *SOURCES]
    command = ["g++", *flags, *folders, *map(str, sources), "-l:libdnnl.so.3", "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    # oneDNN is no build of ours: it never frees its caches, and its own memory is none of our business.
    quiet = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1"}
    ran = subprocess.run([str(program)], env={**os.environ, **quiet}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-4000:]
    assert ran.stdout == "14 cases, 0 differ\n"
    assert not ran.stderr
