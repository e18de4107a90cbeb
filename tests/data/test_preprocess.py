"""Preprocessing against NumPy, SciPy and Pillow: what is fitted, what is done, and the way back."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from cnncli.config.load import load
from cnncli.config.reader import read_value
from cnncli.data.transforms import preprocess, value_steps
from cnncli.data.transforms.preprocess import STEPS, Steps, apply_pixels, apply_values, fit, invert_values
from cnncli.data.transforms.transform import shape_after
from cnncli.errors import ConfigError, ShapeError
from cnncli.train.prepare import fit_constants, load_data

few = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**32 - 1)
read = TypeAdapter(Steps).validate_python


def pictures(seed=0, shape=(40, 4, 3, 3), kind=np.uint8):
    """Pictures whose pixels hang together, each channel with a mean of its own."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(shape[0], 8)) @ random.normal(size=(8, int(np.prod(shape[1:]))))
    noise = random.normal(size=(shape[0], *shape[1:]))
    images = 120 + 20 * mixed.reshape(shape) + 8 * noise + 10 * np.arange(shape[-1])
    return np.clip(np.rint(images), 0, 255).astype(np.uint8) if kind == np.uint8 else (images / 255).astype(np.float32)


def seen(written, images):
    """What the network sees of the images that the steps were fitted to."""
    steps = read(written)
    return apply_values(steps, fit(steps, images), images.astype(np.float32))


def flat(images):
    return images.reshape(len(images), -1).astype(np.float64)


# ---------------------------------------------------------------------------------------------- the numbers


def test_scale():
    images = pictures()
    np.testing.assert_allclose(seen(["scale"], images), images / 255, rtol=1e-6)


def test_subtract_mean_of_each_channel_and_of_each_pixel():
    images = pictures()
    np.testing.assert_allclose(seen(["subtract_mean"], images), images - images.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(seen([{"subtract_mean": "pixel"}], images), images - images.mean(0), atol=1e-4)


@few
@given(seeds, st.sampled_from([np.uint8, np.float32]))
def test_standardize_gives_z_scores(seed, kind):
    images = pictures(seed, kind=kind)
    expected = scipy.stats.zscore(images.astype(np.float64).reshape(-1, 3)).reshape(images.shape)
    np.testing.assert_allclose(seen(["standardize"], images), expected, atol=1e-4)
    expected = scipy.stats.zscore(images.astype(np.float64), axis=0)
    np.testing.assert_allclose(seen([{"standardize": "pixel"}], images), expected, atol=1e-4)


@few
@given(value=st.floats(-1e4, 1e4, width=32), count=st.integers(2, 50))
@example(value=np.float32(0.1), count=3)
def test_a_value_that_never_varies_is_only_centred(value, count):
    images = np.full((count, 2, 2, 1), value, np.float32)
    images[:, 0, 0] = np.arange(count)[:, None]
    steps = read([{"standardize": "pixel"}])
    constants = fit(steps, images)
    assert (constants["standardize1"]["std"].ravel()[1:] == 1).all()
    other = apply_values(steps, constants, images[:1] + np.float32(1))
    np.testing.assert_allclose(other.ravel()[1:], 1, atol=abs(value) * 1e-6 + 1e-6)


def test_sequences_and_vectors_have_channels_last():
    images = pictures(shape=(30, 6, 2), kind=np.float32)
    np.testing.assert_allclose(seen(["standardize"], images).mean((0, 1)), 0, atol=1e-5)
    vectors = pictures(shape=(30, 5), kind=np.float32)
    np.testing.assert_allclose(seen(["standardize"], vectors), scipy.stats.zscore(vectors), atol=1e-4)


@few
@given(seed=seeds, low=st.floats(-2, 0), width=st.floats(0.1, 3), per=st.sampled_from(["all", "channel", "pixel"]))
def test_min_max_runs_from_low_to_high(seed, low, width, per):
    y = seen([{"min_max": {"low": low, "high": low + width, "per": per}}], pictures(seed))
    axes = {"all": None, "channel": (0, 1, 2), "pixel": 0}[per]
    np.testing.assert_allclose(y.min(axes), low, atol=1e-5)
    np.testing.assert_allclose(y.max(axes), low + width, atol=1e-5)


def test_min_max_of_a_value_that_never_varies_is_low():
    assert (seen([{"min_max": {"low": -1, "high": 2}}], np.full((3, 2, 2, 1), 7, np.uint8)) == -1).all()


def test_lenet_5s_background_and_ink():
    """-0.1 and 1.175 in LeCun et al. 1998, and a fifth of the way is 0.155."""
    y = seen([{"min_max": {"low": -0.1, "high": 1.175}}], np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1))
    np.testing.assert_allclose(y.ravel(), [-0.1, 0.155, 1.175], rtol=1e-6)


@few
@given(seeds)
def test_decorrelate_is_principal_components(seed):
    images = pictures(seed)
    y = flat(seen(["decorrelate"], images))
    centred = flat(images) - flat(images).mean(0)
    _, sizes, components = scipy.linalg.svd(centred, full_matrices=False)
    covariance = y.T @ y / len(y)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-5 * sizes[0] ** 2 / len(y))
    np.testing.assert_allclose(np.diag(covariance), sizes**2 / len(y), rtol=1e-3, atol=1e-3)
    projections = centred @ components[:5].T  # the first few, up to their sign
    np.testing.assert_allclose(np.abs(y[:, :5]), np.abs(projections), rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("method", ["zca", "pca"])
@few
@given(seed=seeds)
def test_whitened_training_images_have_the_identity_as_covariance(method, seed):
    images = pictures(seed, (80, 3, 2, 3), np.float32)
    y = flat(seen([{"whiten": {"method": method, "epsilon": 1e-9}}], images))
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(18), atol=2e-3)


@few
@given(seed=seeds, epsilon=st.floats(1e-4, 10))
def test_zca_is_the_inverse_square_root_of_the_covariance(seed, epsilon):
    images = pictures(seed, (80, 3, 2, 3), np.float32)
    centred = flat(images) - flat(images).mean(0)
    root = scipy.linalg.fractional_matrix_power(np.cov(centred.T, bias=True) + epsilon * np.eye(18), -0.5)
    expected = centred @ root.real
    np.testing.assert_allclose(flat(seen([{"whiten": {"epsilon": epsilon}}], images)), expected, rtol=1e-3, atol=1e-3)


def test_epsilon_shrinks_the_components_that_hardly_vary():
    images = pictures(0, (80, 3, 2, 3), np.float32)
    y = flat(seen([{"whiten": {"method": "pca", "epsilon": 0.05}}], images))
    variance = np.linalg.eigvalsh(np.cov(flat(images).T, bias=True))[::-1]
    np.testing.assert_allclose(y.var(0), variance / (variance + 0.05), rtol=1e-3, atol=1e-5)


def test_directions_without_any_variance_stay_finite():
    images = np.repeat(pictures(0, (10, 4, 4, 1)), 3, axis=3)  # 10 images of 48 values
    for step in ("decorrelate", {"whiten": "zca"}, {"whiten": "pca"}):
        assert np.isfinite(seen([step], images)).all()


EVERY_VALUE_STEP = ["scale", "subtract_mean", {"subtract_mean": "pixel"}, "standardize", {"standardize": "pixel"},
                    "min_max", {"min_max": {"low": -1, "per": "pixel"}}, {"min_max": {"per": "channel"}}, "decorrelate",
                    {"whiten": "zca"}, {"whiten": {"method": "pca", "epsilon": 0.1}}]  # fmt: skip
every_value_step = pytest.mark.parametrize("written", EVERY_VALUE_STEP, ids=str)


def test_every_value_step_is_here():
    assert {step.kind for step in read(EVERY_VALUE_STEP)} == {step.kind for step in value_steps.VALUE_STEPS}


@every_value_step
@few
@given(seed=seeds, kind=st.sampled_from([np.uint8, np.float32]))
def test_invert_is_the_way_back_for_images_never_seen(written, seed, kind):
    images, steps = pictures(seed, (60, 3, 2, 3), kind), read([written])
    constants, x = fit(steps, images[:50]), images[50:].astype(np.float32)
    y = apply_values(steps, constants, x)
    np.testing.assert_allclose(invert_values(steps, constants, y), x, rtol=1e-3, atol=1e-3 * np.abs(x).max())
    assert not np.allclose(y, x, rtol=1e-3, atol=1e-3 * np.abs(x).max())


@every_value_step
@pytest.mark.parametrize("shape", [(60, 3, 2, 3), (60, 6, 2), (60, 5)], ids=str)
def test_numpy_and_jax_agree_on_every_shape(written, shape):
    images, steps = pictures(0, shape), read([written])
    constants, x = fit(steps, images), images[:4].astype(np.float32)
    assert all(array.dtype == np.float32 for each in constants.values() for array in each.values())
    y = apply_values(steps, constants, x)
    inside = jax.jit(lambda constants, x: apply_values(steps, constants, x))(constants, jnp.asarray(x))
    assert y.dtype == inside.dtype == np.float32
    assert y.shape == inside.shape == x.shape
    np.testing.assert_allclose(inside, y, rtol=1e-3, atol=1e-3)
    back = jax.jit(lambda constants, y: invert_values(steps, constants, y))(constants, inside)
    np.testing.assert_allclose(back, x, rtol=1e-3, atol=0.2)


@every_value_step
def test_fitting_in_chunks_changes_nothing(written, monkeypatch):
    images, steps = pictures(), read([written, "scale"])
    whole = fit(steps, images)
    monkeypatch.setattr(value_steps, "CHUNK", 13)  # 40 = 3 * 13 + 1
    monkeypatch.setattr(preprocess, "CHUNK", 13)
    for name, constants in fit(steps, images).items():
        for key, array in constants.items():
            np.testing.assert_allclose(array, whole[name][key], rtol=1e-4, atol=1e-3, err_msg=f"{name}.{key}")


def test_each_step_is_fitted_on_what_the_one_before_gives():
    steps = read([{"scale": 2}, "standardize", {"min_max": {"low": -1}}, {"scale": 4}])
    images = pictures()
    constants = fit(steps, images)
    assert list(constants) == ["scale1", "standardize1", "min_max1", "scale2"]
    np.testing.assert_allclose(constants["standardize1"]["mean"].ravel(), images.mean((0, 1, 2)) / 2, rtol=1e-5)
    y = apply_values(steps, constants, images.astype(np.float32))
    assert (y.min(), y.max()) == pytest.approx((-0.25, 0.25))
    np.testing.assert_allclose(invert_values(steps, constants, y), images, atol=1e-3)


SPLIT = """\
data: {source: {npz: data.npz}, validation: 0.25, preprocess: [standardize]}
model: {input: [2, 2, 1], layers: [{fc: 2}]}
train: {batch_size: 4, optimizer: {sgd: 0.1}}
"""


def test_it_is_fitted_on_training_images_only(tmp_path, monkeypatch):
    """Validation and test images are far brighter, and leave no trace."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    images = random.integers(0, 50, (40, 2, 2)).astype(np.uint8)
    np.savez("data.npz", x_train=images, y_train=np.arange(40) % 2, x_test=images[:8] + 200, y_test=np.arange(8) % 2)
    (tmp_path / "split.yaml").write_text(SPLIT)
    loaded = load(tmp_path / "split.yaml")
    dataset = load_data(loaded.config, loaded.graph, lambda *_: None).dataset
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (30, 10, 8)
    dataset.val.images[:] = 250
    mean = fit_constants(loaded.config, dataset.train)["standardize1"]["mean"]
    np.testing.assert_allclose(mean.ravel(), dataset.train.images.mean(), rtol=1e-6)
    assert mean < 50


# ------------------------------------------------------------------------------------------- the pictures

shapes = st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
sides = st.integers(1, 12)


@st.composite
def pixel_steps(draw):
    """Pictures and a list of pixel steps that fit."""
    shape = draw(shapes)
    written = draw(st.lists(st.sampled_from(["pad", "crop", "resize", "grey", "rgb"]), max_size=4))
    now, steps = shape[1:], []
    for kind in written:
        if kind == "pad":
            steps.append({"pad": [draw(st.integers(0, 2)), draw(st.integers(0, 2))]})
        elif kind == "crop":
            steps.append({"crop": [draw(st.integers(1, now[0])), draw(st.integers(1, now[1]))]})
        elif kind == "resize":
            steps.append({"resize": [draw(sides), draw(sides)]})
        else:
            steps.append(kind)
        now = shape_after(read(steps[-1:]), now)
    return shape, read(steps), draw(st.sampled_from([np.uint8, np.float32])), draw(seeds)


@settings(max_examples=60, deadline=None)
@given(pixel_steps())
def test_shapes_are_what_was_promised_and_the_type_is_kept(case):
    shape, steps, kind, seed = case
    images = np.random.default_rng(seed).integers(0, 256, shape).astype(kind)
    after = apply_pixels(steps, images)
    assert after.shape == (shape[0], *shape_after(steps, shape[1:]))
    assert after.dtype == kind
    assert after.flags.c_contiguous


def test_pad():
    images = pictures(0, (2, 3, 4, 3))
    after = apply_pixels(read([{"pad": {"by": [2, 1], "value": 9}}]), images)
    np.testing.assert_array_equal(after[:, 2:-2, 1:-1], images)
    assert after.sum() == images.sum() + 9 * 2 * 3 * (7 * 6 - 3 * 4)


def test_crop_keeps_the_middle_and_undoes_pad():
    images = pictures(0, (2, 6, 7, 3))
    np.testing.assert_array_equal(apply_pixels(read([{"crop": [2, 3]}]), images), images[:, 2:4, 2:5])
    np.testing.assert_array_equal(apply_pixels(read([{"pad": 3}, {"crop": [6, 7]}]), images), images)


@few
@given(seed=seeds, size=st.tuples(sides, sides))
def test_resize_is_pillows(seed, size):
    images = np.random.default_rng(seed).integers(0, 256, (2, 8, 6, 3)).astype(np.uint8)
    after = apply_pixels(read([{"resize": list(size)}]), images)
    for image, one in zip(images, after, strict=True):
        whole = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(one, np.asarray(whole))


def test_resize_of_float_pictures_has_no_steps_of_a_byte(torch):
    images = np.random.default_rng(0).uniform(0, 1, (2, 9, 8, 2)).astype(np.float32)
    after = apply_pixels(read([{"resize": [4, 5]}]), images)
    expected = torch.nn.functional.interpolate(
        torch.tensor(images).permute(0, 3, 1, 2), (4, 5), mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(after, expected.permute(0, 2, 3, 1), atol=1e-5)


def test_grey_is_pillows_to_a_step():
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    after = apply_pixels(read(["grey"]), images)[0, ..., 0].astype(int)
    theirs = np.asarray(Image.fromarray(images[0]).convert("L")).astype(int)  # with weights of 16 bits
    assert np.abs(after - theirs).max() <= 1
    assert (after == theirs).mean() > 0.999
    exact = images[0].astype(np.float32) / 255
    np.testing.assert_allclose(apply_pixels(read(["grey"]), exact[None])[0, ..., 0], theirs / 255, atol=0.51 / 255)


def test_grey_and_rgb_leave_what_is_so_already():
    grey, colour = pictures(0, (2, 3, 3, 1)), pictures(0, (2, 3, 3, 3))
    np.testing.assert_array_equal(apply_pixels(read(["grey"]), grey), grey)
    np.testing.assert_array_equal(apply_pixels(read(["rgb"]), colour), colour)
    np.testing.assert_array_equal(apply_pixels(read(["rgb"]), grey), np.concatenate([grey] * 3, 3))
    np.testing.assert_array_equal(apply_pixels(read(["rgb", "grey"]), grey), grey)


# ------------------------------------------------------------------------------------------- what is refused


def test_pixel_steps_come_first():
    for right in (["rgb", {"pad": 1}, "scale", "standardize"], [{"pad": 1}], ["scale"], []):
        assert len(read(right)) == len(right)
    with pytest.raises(ValidationError, match=r"pad works on pixels and must come before"):
        read(["grey", "standardize", {"pad": 1}, "scale"])


def test_the_order_is_an_error_at_its_line(tmp_path):
    text = SPLIT.replace("preprocess: [standardize]", "preprocess: [standardize, {pad: 1}]")
    (tmp_path / "split.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"split.yaml:1:\d+  data.preprocess: pad works on pixels.*Move pad up"):
        load(tmp_path / "split.yaml")


@pytest.mark.parametrize(
    ("step", "shape", "says"),
    [
        ({"crop": [3, 9]}, (8, 8, 1), "cannot crop 8x8 to 3x9"),
        ({"crop": [9, 3]}, (8, 8, 1), "cannot crop 8x8 to 9x3"),
        ("grey", (8, 8, 2), "grey needs 1 or 3 channels, got 2"),
        ("rgb", (8, 8, 4), "rgb needs 1 or 3 channels, got 4"),
        ({"pad": 2}, (64,), "pad works on pictures"),
        ({"resize": 2}, (64, 1), "resize works on pictures"),
        ("decorrelate", (128, 129, 1), "decorrelate needs a 16,512 x 16,512 covariance"),
        ("whiten", (224, 224, 3), "whiten needs a 150,528 x 150,528 covariance"),
    ],
)
def test_what_does_not_fit(step, shape, says):
    with pytest.raises(ShapeError, match=says):
        shape_after(read([step]), shape)


@pytest.mark.parametrize(
    "wrong", [{"pad": -1}, {"pad": {"by": 1, "value": 256}}, {"crop": 0}, {"scale": 0}, {"standardize": "image"},
              {"min_max": {"low": 1, "high": 1}}, {"min_max": {"low": 1}}, {"whiten": {"epsilon": 0}}, {"resize": [1]}],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ValidationError):
        read([wrong])


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.kind)
def test_the_example_in_the_docstring(step):
    found = re.search(r"Example: `(.+?)`  \(([\d, ]+)\) -> \(([\d, ]+)\)", inspect.getdoc(step))
    written, *both = found.groups()
    before, after = (tuple(map(int, each.split(","))) for each in both)
    steps = read([read_value(written, "example").plain()])
    assert type(steps[0]) is step
    assert shape_after(steps, before) == after
    assert read([steps[0].to_yaml()]) == steps
    assert all(info.description for info in step.model_fields.values())
