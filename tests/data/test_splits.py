"""Splits, and which images are set aside for validation."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.data.splits import ArraySplit, Dataset, Split, split_off_validation

seeds = st.integers(0, 2**31 - 1)


def split_of(labels):
    labels = np.asarray(labels, np.int32)
    return ArraySplit(np.arange(len(labels)).reshape(-1, 1), labels)


def test_a_split_reads_rows_in_any_order():
    split: Split = split_of([0, 1, 2])
    assert split.read(np.array([2, 0, 2])).tolist() == [[2], [0], [2]]
    assert split_of([0, 1, 2]).take(slice(1, 3)).images.base is not None  # a view: nothing is copied


NAMES = ("a", "b", "c")
labels = st.lists(st.integers(0, 2), min_size=3, max_size=80)
shares = st.floats(0.01, 0.99)


@given(labels=labels, share=shares, seed=seeds)
def test_split_off_validation_takes_its_share_of_each_class_and_leaves_some_of_each(labels, share, seed):
    given_train = split_of(labels)
    divided = split_off_validation(Dataset(NAMES, given_train, None, split_of([0])), share, seed)
    parts = [divided.train] + ([divided.val] if divided.val else [])
    images = np.concatenate([part.images.ravel() for part in parts])
    assert sorted(images) == list(range(len(labels)))  # disjoint, and nothing is lost
    for part in parts:
        np.testing.assert_array_equal(part.labels, np.asarray(labels)[part.images.ravel()])
        assert (np.diff(part.images.ravel()) > 0).all()
    for label, count in enumerate(np.bincount(labels, minlength=3)):
        aside = int((divided.val.labels == label).sum()) if divided.val else 0
        assert abs(aside - share * count) <= 0.5 or aside == count - 1
        assert aside < count or count == 0
    assert divided.test.images.tolist() == [[0]]
    assert divided.classes == NAMES


@given(labels=labels, share=shares, seed=seeds)
def test_split_off_validation_follows_from_the_seed(labels, share, seed):
    dataset = Dataset(NAMES, split_of(labels))
    one, again = split_off_validation(dataset, share, seed), split_off_validation(dataset, share, seed)
    np.testing.assert_array_equal(one.train.images, again.train.images)


def test_another_seed_sets_others_aside():
    dataset = Dataset(NAMES, split_of(np.arange(90) % 3))
    one, other = (split_off_validation(dataset, 0.3, seed).val.images.ravel().tolist() for seed in (0, 1))
    assert len(one) == len(other) == 27
    assert one != other


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_data_with_a_validation_split_of_its_own_is_left_alone(share):
    dataset = Dataset(NAMES, split_of([0, 0, 1, 1, 2, 2]), split_of([0, 1, 2]))
    assert split_off_validation(dataset, share, 0) is dataset


def test_nothing_is_divided_without_a_share_or_from_classes_too_small_for_it():
    dataset = Dataset(NAMES, split_of([0, 0, 1, 1, 2, 2]))
    assert split_off_validation(dataset, 0.0, 0) is dataset
    assert split_off_validation(dataset, 0.1, 0) is dataset


@given(labels=labels, share=shares, seed=seeds)
def test_without_it_the_rule_is_that_of_old_runs(labels, share, seed):
    """Python's round, a class at a time, as it was written then."""
    dataset = Dataset(NAMES, split_of(labels))
    all_labels = np.asarray(labels)
    shuffled = np.random.default_rng((seed, 0xC0FFEE)).permutation(len(labels))
    aside = []
    for label in range(3):
        rows = shuffled[all_labels[shuffled] == label]
        aside += rows[: min(round(len(rows) * share), max(len(rows) - 1, 0))].tolist()
    divided = split_off_validation(dataset, share, seed, half_to_one=False)
    assert (divided.val.images.ravel().tolist() if divided.val else []) == sorted(aside)


def test_classes_of_nearly_the_same_size_give_as_many_images():
    dataset = Dataset(NAMES, split_of([0] * 6 + [1] * 5 + [2] * 5))
    for half_to_one, counts in ((True, [1, 1, 1]), (False, [1, 0, 0])):
        divided = split_off_validation(dataset, 0.1, 0, half_to_one)
        assert np.bincount(divided.val.labels, minlength=3).tolist() == counts


def test_many_classes_are_split_at_once():
    count = 100_000
    dataset = Dataset(tuple(map(str, range(count))), split_of(np.arange(2 * count) % count))
    began = time.process_time()
    assert len(split_off_validation(dataset, 0.5, 0).val) == count
    assert time.process_time() - began < 5  # a search of all labels for each class took a minute
