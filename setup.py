"""Builds the CPU kernels where they can be built; everything else is in pyproject.toml."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("cnncli", "native")


def located(package: str, name: str) -> list[str]:
    """The folder of a package's file, resolved; nothing where the package is not installed."""
    try:
        found = [Path(str(file.locate())).resolve() for file in files(package) or () if file.as_posix().endswith(name)]
    except PackageNotFoundError:
        return []
    return [str(found[0].parent)] if found else []


def kernels() -> list[Extension]:
    """One shared library, on x86-64 Linux. ``optional``: where it does not compile, the package goes without."""
    jaxlib = find_spec("jaxlib")
    if sys.platform != "linux" or platform.machine() != "x86_64" or jaxlib is None or jaxlib.origin is None:
        return []
    headers = [str(Path(jaxlib.origin).with_name("include")), *located("onednn-devel-cpu-gomp", "/include/dnnl.hpp")]
    return [
        Extension(
            "cnncli.native.kernels",
            sorted(str(file) for file in NATIVE.glob("*.cc")),
            depends=sorted(str(file) for file in NATIVE.glob("*.h")),
            include_dirs=headers,
            library_dirs=located("onednn-cpu-gomp", "/libdnnl.so"),
            libraries=["dnnl"],
            extra_compile_args=["-std=c++17", "-O3", "-fno-math-errno", "-fopenmp", "-Wno-attributes"],
            extra_link_args=["-fopenmp"],
            language="c++",
            optional=True,
        )
    ]


setup(ext_modules=kernels())
