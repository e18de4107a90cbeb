"""What this machine lets the process have: memory, address space, cores. Nothing heavy is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cnncli.errors import MachineError, Place
from cnncli.text import in_bytes

# Measured: importing JAX, starting its threads and compiling a small network on 2 cores takes 0.9 GiB of addresses.
START_BYTES, START_BYTES_PER_CORE = 7 << 27, 1 << 26
UNLIMITED = 1 << 60  # cgroups of version 1 write "no limit" as a number near 2^63
PROCESS_LIMITS = {"RLIMIT_AS": "VmSize", "RLIMIT_DATA": "VmData"}  # what /proc/self/status calls their use
# Limit and use of a cgroup, and the prefix of memory.stat's lines that count its children too.
CGROUP_FILES = (
    ("memory.max", "memory.current", ""),
    ("memory.high", "memory.current", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes this process may still fill, or None where the system does not say.

    The least of what the machine has, what every cgroup around this process leaves, and what its own limits
    (``ulimit -v`` and ``-d``) leave. ``root``: the folder of ``proc`` and ``sys``.
    """
    found = [kib * 1024 for name, kib in _figures(root / "proc/meminfo").items() if name == "MemAvailable"]
    if not found and hasattr(os, "sysconf"):
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _memory_cgroups(root):
        found += _left_in_cgroup(folder)
    found += [left for limit in PROCESS_LIMITS if (left := _left_of_limit(limit, root)) is not None]
    return max(min(found), 0) if found else None


def require_memory(size: int, path: Path, what: str, hint: str = "") -> None:
    """Refuse (exit 4) what would not fit into memory, before any of it is allocated. ``what`` of ``path`` needs it."""
    free = available_memory()
    if free is not None and size > free:
        raise MachineError.of(f"{what} take {in_bytes(size)} of memory, {in_bytes(free)} are free", hint,
                              Place(str(path)))  # fmt: skip


def require_address_space() -> None:
    """Refuse (exit 4) to start JAX where ``ulimit -v`` leaves too little: JAX would abort without an error."""
    needed, left = START_BYTES + START_BYTES_PER_CORE * available_cores(), _left_of_limit("RLIMIT_AS")
    if left is not None and left < needed:
        raise MachineError.of(f"JAX needs about {needed >> 20:,} MiB of address space to start, the limit of this "
                              f"process leaves {max(left, 0) >> 20:,} MiB", "Try ulimit -v unlimited.")  # fmt: skip


def _left_of_limit(limit: str, root: Path = Path("/")) -> int | None:
    """Bytes that a limit of this process leaves, or None where there is no limit."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    most = resource.getrlimit(getattr(resource, limit))[0]
    if most == resource.RLIM_INFINITY:
        return None
    return most - 1024 * _figures(root / "proc/self/status").get(PROCESS_LIMITS[limit], 0)


def _memory_cgroups(root: Path) -> Iterator[Path]:
    """The folder of each cgroup that counts this process's memory, and its parents, for version 1 and version 2."""
    paths = {}  # by kind of file system
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            paths["cgroup" if controllers else "cgroup2"] = PurePosixPath(path)
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        if kind not in paths or (kind == "cgroup" and "memory" not in options.split(",")):
            continue
        top, at = mount.split(" ")[3:5]
        # In a container only the folders below `top` are mounted, and the path may begin outside of it.
        inside = paths[kind].relative_to(top) if paths[kind].is_relative_to(top) else PurePosixPath()
        yield from (root / at.lstrip("/") / each for each in (inside, *inside.parents))


def _left_in_cgroup(folder: Path) -> Iterator[int]:
    """Bytes that each limit of a cgroup leaves. Cached files count as free: the kernel drops them when it must."""
    for limit, use, prefix in CGROUP_FILES:
        most, used = (_number(folder / name) for name in (limit, use))
        if most is not None and most < UNLIMITED:
            stat = _figures(folder / "memory.stat")
            cached = sum(stat.get(f"{prefix}{kind}_file", 0) for kind in ("inactive", "active"))
            yield most - max((used or 0) - cached, 0)


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else None


def _figures(path: Path) -> dict[str, int]:
    """Lines like ``MemFree:  12 kB`` or ``active_file 12`` as numbers by name."""
    found = (re.match(r"(\w+):?\s+(\d+)\b", line) for line in _lines(path))
    return {line[1]: int(line[2]) for line in found if line}


def _lines(path: Path) -> list[str]:
    """A file's lines, none where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
