"""Which images make up each batch, and which are set aside for validation."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.data.base import Dataset, Split
from cnncli.data.batches import Order, carve, padded_batches

counts, sizes, seeds = st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**31 - 1)


@given(count=counts, size=sizes, seed=seeds, epoch=st.integers(0, 1000))
def test_an_epoch_is_a_permutation_and_its_last_batch_is_filled_from_its_start(count, size, seed, epoch):
    order = Order(count, size, seed)
    rows = order.epoch(epoch)
    assert rows.shape == (order.steps_per_epoch, size) == (int(np.ceil(count / size)), size)
    assert rows.dtype == np.int32
    line = rows.ravel()
    assert sorted(line[:count]) == list(range(count))
    extra = line[count:]
    np.testing.assert_array_equal(extra, np.tile(line[:count], size)[: len(extra)])


@given(seed=seeds, epoch=st.integers(0, 1000))
def test_it_follows_from_seed_and_epoch_alone(seed, epoch):
    order = Order(50, 7, seed)
    before = order.epoch(epoch)
    order.epoch(epoch + 1)
    np.random.default_rng().random()
    np.testing.assert_array_equal(order.epoch(epoch), before)
    np.testing.assert_array_equal(Order(50, 7, seed).epoch(epoch), before)
    assert not np.array_equal(Order(50, 7, seed).epoch(epoch + 1), before)
    assert not np.array_equal(Order(50, 7, seed + 1).epoch(epoch), before)
    np.testing.assert_array_equal(Order(50, 10, seed).epoch(epoch).ravel(), before.ravel()[:50])


def test_every_image_comes_first_equally_often():
    firsts = [Order(4, 2, 0).epoch(epoch)[0, 0] for epoch in range(400)]
    assert np.bincount(firsts, minlength=4).min() > 70


@given(count=counts, size=sizes, seed=seeds, data=st.data())
def test_steps_are_the_batches_of_their_epoch(count, size, seed, data):
    order = Order(count, size, seed)
    epoch = data.draw(st.integers(0, 5))
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, order.steps_per_epoch)] * 2)))
    start = epoch * order.steps_per_epoch + min(first, order.steps_per_epoch - 1)
    stop = max(epoch * order.steps_per_epoch + last, start + 1)
    one_by_one = [order.steps(step, step + 1)[0] for step in range(start, stop)]
    np.testing.assert_array_equal(order.steps(start, stop), one_by_one)
    whole = np.concatenate([order.epoch(each) for each in range(6)])
    np.testing.assert_array_equal(order.steps(start, stop), whole[start:stop])


def split_of(labels):
    labels = np.asarray(labels, np.int32)
    return Split(np.arange(len(labels)).reshape(-1, 1), labels)


@given(count=st.integers(0, 60), size=sizes)
def test_padded_batches_hold_every_image_once_in_order(count, size):
    batches = padded_batches(split_of(np.zeros(count)), size)
    assert len(batches) == -(-count // size)
    for rows, mask in batches:
        assert rows.shape == mask.shape == (size,)
        assert rows.dtype == np.int32
        assert mask.dtype == bool
        assert (rows[~mask] == 0).all()
    counted = [row for rows, mask in batches for row in rows[mask]]
    assert counted == list(range(count))


NAMES = ("a", "b", "c")
labels = st.lists(st.integers(0, 2), min_size=3, max_size=80)
shares = st.floats(0.01, 0.99)


@given(labels=labels, share=shares, seed=seeds)
def test_carve_takes_its_share_of_each_class_and_leaves_some_of_each(labels, share, seed):
    given_train = split_of(labels)
    carved = carve(Dataset(NAMES, given_train, None, split_of([0])), share, seed)
    parts = [carved.train] + ([carved.val] if carved.val else [])
    images = np.concatenate([part.images.ravel() for part in parts])
    assert sorted(images) == list(range(len(labels)))  # disjoint, and nothing is lost
    for part in parts:
        np.testing.assert_array_equal(part.labels, np.asarray(labels)[part.images.ravel()])
        assert (np.diff(part.images.ravel()) > 0).all()
    for label, count in enumerate(np.bincount(labels, minlength=3)):
        aside = int((carved.val.labels == label).sum()) if carved.val else 0
        assert abs(aside - share * count) <= 0.5 or aside == count - 1
        assert aside < count or count == 0
    assert carved.test.images.tolist() == [[0]]
    assert carved.classes == NAMES


@given(labels=labels, share=shares, seed=seeds)
def test_carve_follows_from_the_seed(labels, share, seed):
    dataset = Dataset(NAMES, split_of(labels))
    one, again = carve(dataset, share, seed), carve(dataset, share, seed)
    np.testing.assert_array_equal(one.train.images, again.train.images)


def test_another_seed_sets_others_aside():
    dataset = Dataset(NAMES, split_of(np.arange(90) % 3))
    one, other = (carve(dataset, 0.3, seed).val.images.ravel().tolist() for seed in (0, 1))
    assert len(one) == len(other) == 27
    assert one != other


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_data_with_a_validation_split_of_its_own_is_left_alone(share):
    dataset = Dataset(NAMES, split_of([0, 0, 1, 1, 2, 2]), split_of([0, 1, 2]))
    assert carve(dataset, share, 0) is dataset


def test_nothing_is_carved_without_a_share_or_from_classes_too_small_for_it():
    dataset = Dataset(NAMES, split_of([0, 0, 1, 1, 2, 2]))
    assert carve(dataset, 0.0, 0) is dataset
    assert carve(dataset, 0.1, 0) is dataset


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
    carved = carve(dataset, share, seed, half_is_one=False)
    assert (carved.val.images.ravel().tolist() if carved.val else []) == sorted(aside)


def test_classes_of_nearly_the_same_size_give_as_many_images():
    dataset = Dataset(NAMES, split_of([0] * 6 + [1] * 5 + [2] * 5))
    assert np.bincount(carve(dataset, 0.1, 0).val.labels).tolist() == [1, 1, 1]
    assert np.bincount(carve(dataset, 0.1, 0, half_is_one=False).val.labels, minlength=3).tolist() == [1, 0, 0]


def test_many_classes_are_split_at_once():
    count = 100_000
    dataset = Dataset(tuple(map(str, range(count))), split_of(np.arange(2 * count) % count))
    began = time.process_time()
    assert len(carve(dataset, 0.5, 0).val) == count
    assert time.process_time() - began < 5  # a search of all labels for each class took a minute
