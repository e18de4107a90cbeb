"""Damaged files for every reader: a result or a CnnError, within five seconds and a gibibyte.

Quick by default. The long one: python -m pytest -m fuzz (CNN_FUZZ_SECONDS per reader, 100 unless set; CNN_FUZZ_SEED).
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.fuzzing import KINDS, hammer, mutated, targets

NAMES = ("yaml", "checkpoint", "image", "idx", "npz", "cifar")


@pytest.fixture(scope="module")
def readers():
    return targets()


@pytest.mark.parametrize("name", NAMES)
def test_sound_files_are_read(readers, tmp_path, name):
    assert set(readers) == set(NAMES)
    for seed in readers[name].seeds:
        readers[name].read(tmp_path, seed)
        assert readers[name].fix(seed) == seed


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(readers, tmp_path, name, data):
    target = readers[name]
    piece = st.sampled_from(target.pieces) | st.binary(min_size=1, max_size=8)
    mutation = st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 40), piece)
    damaged = mutated(data.draw(st.sampled_from(target.seeds)), data.draw(st.lists(mutation, min_size=1, max_size=6)))
    target.refuses_or_reads(tmp_path, target.fix(damaged))


@pytest.mark.fuzz
@pytest.mark.parametrize("name", NAMES)
def test_long(readers, tmp_path, name, record_property):
    seconds, seed = os.environ.get("CNN_FUZZ_SECONDS", "100"), os.environ.get("CNN_FUZZ_SEED", "0")
    count, trouble = hammer(readers[name], tmp_path, float(seconds), int(seed))
    record_property("inputs", count)
    print(f"{name}: {count:,} inputs")
    assert not trouble


# What the fuzzer found, and what was wrong then.
HUGE = "data: {source: {folder: {path: x, size: 8, channels: 1}}}\nmodel: {input: [8, 8, 1], layers: [%s, fc: 10]}\n"
FOUND = {
    # the numbers of outputs and pixels seen, and their ratio, had thousands of digits: hangs, ValueErrors on printing
    "outputs": HUGE % "{repeat: {times: 9999, layers: [upsample: 2]}}",
    "jump": HUGE % "{repeat: {times: 9999, layers: [{avg_pool: {kernel: 1, stride: 100}}]}}",
    "fractions": HUGE % "{repeat: {times: 9999, layers: [{upsample: 4}, {max_pool: {kernel: 3, stride: 3}}]}}",
    # each of thousands of mistakes was put in words, with a search for what was meant: 8 to 19 seconds
    "unknown layers": HUGE % ("cnov, " * 19_000 + "relu"),
    "unknown keys": HUGE % "relu" + "".join(f"k{i}: 1\n" for i in range(9_000)),
}


@pytest.mark.parametrize("text", FOUND.values(), ids=list(FOUND))
def test_found_in_configs(readers, tmp_path, text):
    readers["yaml"].refuses_or_reads(tmp_path, f"{text}train: {{optimizer: {{sgd: 0.1}}}}\n".encode())
