"""Which images make up each batch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnncli.data.loader import Order, padded_batches

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


@given(count=st.integers(0, 60), size=sizes)
def test_padded_batches_hold_every_image_once_in_order(count, size):
    batches = padded_batches(count, size)
    assert len(batches) == -(-count // size)
    for rows, mask in batches:
        assert rows.shape == mask.shape == (size,)
        assert rows.dtype == np.int32
        assert mask.dtype == bool
        assert (rows[~mask] == 0).all()
    counted = [row for rows, mask in batches for row in rows[mask]]
    assert counted == list(range(count))
