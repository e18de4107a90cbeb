"""What the machine leaves: the least of its memory, its cgroups and the limits of the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnncli import machine
from cnncli.machine import available_memory

MIB = 1 << 20
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2 = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"


@pytest.fixture
def tree(tmp_path):
    """``tree({path: text})``: a machine with 1,000 MiB available, and these files."""

    def make(files):
        for name, text in {"proc/meminfo": "MemTotal: 9999999 kB\nMemAvailable: 1024000 kB\n", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def test_a_machine_without_limits(tree):
    assert available_memory(tree({})) == 1000 * MIB


@pytest.mark.parametrize("where", ["", "user.slice/", "user.slice/job/"])
def test_a_limit_of_version_2_at_any_depth(tree, where):
    files = {f"sys/fs/cgroup/{part}memory.max": "max\n" for part in ("user.slice/", "user.slice/job/")}
    files |= {"proc/self/cgroup": "0::/user.slice/job\n", "proc/self/mountinfo": V2}
    group = f"sys/fs/cgroup/{where}"
    files |= {f"{group}memory.max": f"{700 * MIB}\n", f"{group}memory.current": f"{300 * MIB}\n"}
    files |= {f"{group}memory.stat": f"anon 7\nfile 9\ninactive_file {40 * MIB}\nactive_file {10 * MIB}\n"}
    assert available_memory(tree(files)) == (700 - 300 + 50) * MIB


def test_memory_high_is_a_limit_as_well(tree):
    files = {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2, "sys/fs/cgroup/memory.max": "max\n"}
    files |= {"sys/fs/cgroup/memory.high": f"{90 * MIB}\n", "sys/fs/cgroup/memory.current": f"{100 * MIB}\n"}
    assert available_memory(tree(files)) == 0


@pytest.mark.parametrize("where", ["", "docker/", "docker/7f/"])
def test_a_limit_of_version_1_at_any_depth(tree, where):
    files = {"proc/self/cgroup": "5:devices:/\n4:cpu,memory:/docker/7f\n0::/\n", "proc/self/mountinfo": V1}
    files |= {f"sys/fs/cgroup/memory/{part}memory.limit_in_bytes": "9223372036854771712\n" for part in ("", "docker/")}
    files |= {f"sys/fs/cgroup/memory/{where}memory.limit_in_bytes": f"{700 * MIB}\n"}
    files |= {f"sys/fs/cgroup/memory/{where}memory.usage_in_bytes": f"{600 * MIB}\n"}
    files |= {f"sys/fs/cgroup/memory/{where}memory.stat": f"active_file 1\ntotal_active_file {20 * MIB}\n"}
    assert available_memory(tree(files)) == (700 - 600 + 20) * MIB


@pytest.mark.parametrize("path", ["/docker/7f", "/elsewhere", "/../x"])
def test_in_a_container_only_a_part_of_the_tree_is_mounted(tree, path):
    mounted = V2.replace(" / ", " /docker/7f ", 1)
    files = {"proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": mounted}
    assert available_memory(tree(files | {"sys/fs/cgroup/memory.max": f"{64 * MIB}\n"})) == 64 * MIB


def test_limits_of_the_process(tree, monkeypatch):
    resource = pytest.importorskip("resource")
    root = tree({"proc/self/status": f"VmPeak:\t 9 kB\nVmSize:\t {100 * 1024} kB\nVmData:\t {30 * 1024} kB\n"})
    limits = {resource.RLIMIT_AS: 500 * MIB, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which],) * 2)
    assert available_memory(root) == 400 * MIB
    limits[resource.RLIMIT_DATA] = 40 * MIB
    assert available_memory(root) == 10 * MIB


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20,) * 2)
sys.argv = ["cnn", *sys.argv[2:]]
from cnncli.cli.main import main
main()
"""


def limited(mib, *arguments, folder):
    command = [sys.executable, "-c", LIMITED, str(mib), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="address space is read from /proc")
@pytest.mark.parametrize("mib", [200, 700])
@pytest.mark.parametrize("command", [("train", "xor"), ("eval", "x"), ("doctor",)])
def test_too_little_address_space_for_jax_is_one_line(mib, command, tmp_path):
    """Without the check: SIGABRT, or an import that fails."""
    done = limited(mib, *command, folder=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: JAX needs about ")
    assert "Try ulimit -v unlimited." in line
    assert not os.listdir(tmp_path)
    assert limited(mib, "inspect", "xor", folder=tmp_path).returncode == 0  # starts no JAX


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="address space is read from /proc")
def test_what_is_asked_for_is_enough_to_train(tmp_path):
    needed = machine.START_BYTES + machine.START_BYTES_PER_CORE * machine.available_cores()
    done = limited((needed >> 20) + 64, "train", "xor", "train.epochs=1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
