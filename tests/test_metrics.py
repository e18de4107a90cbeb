"""Figures of a classifier, counted from the labels themselves and by scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncli.metrics import MAX_MATRIX, Result

CLASSES = ("cat", "dog", "cow", "ant")
label = st.integers(0, len(CLASSES) - 1)
pairs = st.lists(st.tuples(label, label), min_size=1, max_size=60)


def result(pairs, classes=len(CLASSES)):
    true, said = np.array(pairs, np.int32).reshape(-1, 2).T
    return Result(0.5, classes, true, said, (true != said).astype(np.int32))


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


@pytest.fixture(scope="module")
def metrics():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference here")


@settings(max_examples=25, deadline=None)
@given(pairs=pairs)
def test_figures_by_scikit_learn(metrics, pairs):
    found, (true, said) = result(pairs), np.array(pairs).T
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(true, said, labels=range(len(CLASSES))))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(true, said, average="macro", zero_division=0))
    with warnings.catch_warnings():  # of classes that were predicted and have no images
        warnings.simplefilter("ignore")
        assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(true, said))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        true, said, labels=range(len(CLASSES)), zero_division=0
    )
    rows = found.per_class(CLASSES)
    for name, column in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        np.testing.assert_allclose([row[name] for row in rows], column)


@given(pairs)
def test_the_commonest_mistakes_are_those_of_the_matrix(pairs):
    found = result(pairs)
    off = [(int(n), i, j) for (i, j), n in np.ndenumerate(found.confusion) if i != j and n]
    expected = sorted(off, key=lambda each: (-each[0], each[1:]))[:3]
    assert found.mistakes(3) == [(i, j, n) for n, i, j in expected]


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
    found = result([(0, 0)])
    figures = (found.accuracy, found.macro_f1, found.balanced_accuracy, found.top_accuracy(5))
    assert {type(figure) for figure in figures} == {float}


def test_nothing_measured_is_no_error():
    found = result([])
    assert (found.examples, found.accuracy, found.macro_f1, found.balanced_accuracy) == (0, 0.0, 0.0, 0.0)
    assert (found.top_accuracy(5), found.mistakes(3), found.confusion.sum()) == (0.0, [], 0)


def test_no_matrix_of_many_classes():
    assert result([(1, 2)], MAX_MATRIX).confusion.shape == (MAX_MATRIX, MAX_MATRIX)
    found = result([(99_999, 3)] * 2 + [(5, 5)], 100_000)
    assert found.confusion is None
    assert found.mistakes(10) == [(99_999, 3, 2)]
    assert found.balanced_accuracy == 0.5
