"""Generated sequences against SciPy's waveforms."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cnncli.data.sources.synthetic_signals import WAVES, Signals, shapes


def load(**fields):
    return Signals(**fields).load(None, lambda *_: None)


def test_the_waves_are_scipys():
    phase = (np.arange(997) + 0.5) / 997
    angle = 2 * np.pi * phase
    expected = [
        np.sin(angle),
        scipy.signal.square(angle),
        scipy.signal.sawtooth(angle, 0.5),
        scipy.signal.sawtooth(angle),
    ]
    for name, wave, other in zip(WAVES, shapes(phase), expected, strict=True):
        np.testing.assert_allclose(wave, other, atol=1e-12, err_msg=name)
        assert np.abs(wave).max() == pytest.approx(1, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(40, 300), length=st.integers(16, 64), seed=st.integers(0, 2**31 - 1))
def test_shapes_splits_and_balance(count, length, seed):
    source = Signals(count=count, length=length, seed=seed)
    data = source.load(None, lambda *_: None)
    assert data.classes == WAVES
    assert source.class_count() == 4
    assert data.val is None
    assert len(data.train) + len(data.test) == count
    assert abs(len(data.test) - count / 5) <= 4
    for split in (data.train, data.test):
        assert split.images.shape == (len(split), *source.image_shape()) == (len(split), length, 1)
        assert split.images.dtype == np.float32
        assert split.labels.dtype == np.int32
        counts = np.bincount(split.labels, minlength=4)
        assert counts.max() - counts.min() <= 1
    assert not {each.tobytes() for each in data.train.images} & {each.tobytes() for each in data.test.images}


def test_everything_follows_from_the_seed():
    one, again, other = load(count=40, seed=3), load(count=40, seed=3), load(count=40, seed=4)
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()


def test_without_noise_they_are_waves_of_their_class_from_half_to_one_and_a_half():
    data = load(count=400, length=512, noise=0)
    peaks = np.abs(data.train.images).max((1, 2))
    assert 0.48 < peaks.min() < 0.6
    assert 1.4 < peaks.max() <= 1.5
    square = data.train.images[data.train.labels == WAVES.index("square")][..., 0]
    np.testing.assert_allclose(np.abs(square), np.abs(square[:, :1]).repeat(512, 1), rtol=1e-6)
    saw = np.diff(data.train.images[data.train.labels == WAVES.index("sawtooth")][..., 0])
    assert ((saw < 0).sum(1) <= 8).all()  # rises but for the falls, one a period, 2 to 8 periods
    assert ((saw < 0).sum(1) >= 1).all()


def test_noise_has_the_deviation_asked_for():
    quiet, noisy = load(count=200, noise=0), load(count=200, noise=0.7)
    noise = noisy.train.images - quiet.train.images
    assert noise.std() == pytest.approx(0.7, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("wrong", [{"count": 39}, {"length": 15}, {"noise": -0.1}, {"seed": -1}, {"count": 40.0}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ValidationError):
        Signals(**wrong)


def test_its_fields_are_described_and_it_reads_back():
    assert all(info.description for info in Signals.model_fields.values())
    source = Signals(count=40, noise=1.0)
    assert Signals.from_yaml(source.to_yaml()) == source
