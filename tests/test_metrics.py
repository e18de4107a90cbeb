"""Figures of a classifier, counted from the labels themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.metrics import Result

CLASSES = ("cat", "dog", "cow", "ant")
label = st.integers(0, len(CLASSES) - 1)
pairs = st.lists(st.tuples(label, label), min_size=1, max_size=60)


def result(pairs):
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for true, said in pairs:
        confusion[true, said] += 1
    return Result(0.5, confusion)


@given(pairs)
def test_figures_by_counting(pairs):
    found = result(pairs)
    assert found.examples == len(pairs)
    assert found.accuracy == pytest.approx(sum(true == said for true, said in pairs) / len(pairs))
    rows = found.per_class(CLASSES)
    assert [row["class"] for row in rows] == list(CLASSES)
    for i, row in enumerate(rows):
        hits = sum(true == said == i for true, said in pairs)
        missed = sum(true == i != said for true, said in pairs)
        wrong = sum(said == i != true for true, said in pairs)
        assert row["support"] == hits + missed
        assert row["precision"] == pytest.approx(hits / (hits + wrong) if hits + wrong else 0)
        assert row["recall"] == pytest.approx(hits / (hits + missed) if hits + missed else 0)
        total = row["precision"] + row["recall"]  # F1: their harmonic mean
        assert row["f1"] == pytest.approx(2 * row["precision"] * row["recall"] / total if total else 0)


def test_known_numbers():
    """Three cats, one taken for a dog; a dog taken for a cat; no cow said; no ant anywhere."""
    found = result([(0, 0), (0, 0), (0, 1), (1, 0), (2, 1)])
    cat, dog, cow, ant = found.per_class(CLASSES)
    assert found.accuracy == 0.4
    assert (cat["precision"], cat["recall"], cat["f1"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (dog["precision"], dog["recall"], dog["f1"], dog["support"]) == (0, 0, 0, 1)
    assert (cow["precision"], cow["recall"], cow["f1"], cow["support"]) == (0, 0, 0, 1)
    assert (ant["precision"], ant["recall"], ant["f1"], ant["support"]) == (0, 0, 0, 0)


def test_figures_are_plain_numbers_that_json_takes():
    row = result([(0, 0)]).per_class(CLASSES)[0]
    assert {type(value) for value in row.values()} == {str, float, int}
    assert type(result([(0, 0)]).accuracy) is float


def test_nothing_measured_is_no_error():
    assert (result([]).examples, result([]).accuracy) == (0, 0.0)
