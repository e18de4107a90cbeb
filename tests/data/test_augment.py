"""Augmentations against SciPy, Pillow and PyTorch, by counting, and by what must hold of a pure function of a key."""

import inspect
import re
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from cnncli.config.load import load
from cnncli.config.reader import read_value
from cnncli.data.transforms import augment as augment_module
from cnncli.data.transforms import geometry
from cnncli.data.transforms.augment import (
    AUGMENTATIONS,
    Augmentations,
    augment,
    eval_transform,
    eval_transform_all,
    fit,
)
from cnncli.data.transforms.geometry import warp, zoom
from cnncli.data.transforms.preprocess import Steps, apply_values
from cnncli.data.transforms.preprocess import fit as fit_values
from cnncli.data.transforms.transform import Mix, shape_after
from cnncli.errors import ShapeError
from cnncli.train.step import TrainData, training_batch
from tests.helpers.networks import jit

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)
CONFIGS = Path(__file__).parents[2] / "configs"
read = TypeAdapter(Augmentations).validate_python


def pictures(seed=0, shape=(8, 12, 10, 3), low=1, high=256):
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.uint8)


@cache
def compiled(steps):
    return jit(partial(augment, steps))


def changed(written, images, key=0, stored=None):
    """One augmentation of float32 ``images``, compiled. ``stored``: what it is fitted to."""
    steps = read([written])
    constants = fit(steps, images if stored is None else stored)
    x, partners, share = compiled(steps)(constants, jax.random.key(key), jnp.asarray(images, jnp.float32))
    return np.asarray(x) if partners is None else (np.asarray(x), np.asarray(partners), np.asarray(share))


# ------------------------------------------------------------------------------- what holds of every one of them

EXAMPLES = {}
for member in AUGMENTATIONS:
    EXAMPLES[member.kind] = read_value(re.search("Example: `(.+?)`", inspect.getdoc(member))[1], "example").plain()
SMALLER = {"random_crop": (24, 24, 3), "random_resized_crop": (24, 24, 3)}  # as their examples say
every = pytest.mark.parametrize("kind", EXAMPLES)


def example_of(kind):
    """An augmentation, 16 pictures that it is fitted to, and ``run(key, x)``."""
    steps, images = read([EXAMPLES[kind]]), pictures(shape=(16, 32, 32, 3))
    constants = fit(steps, images)
    return steps, jnp.asarray(images, jnp.float32), lambda key, x: compiled(steps)(constants, jax.random.key(key), x)[0]


@every
def test_a_pure_function_of_the_key(kind):
    steps, x, run = example_of(kind)
    assert [step.kind for step in steps] == [kind]
    one, again, other = (run(key, x) for key in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, eval_transform(steps, x))
    assert one.shape == (16, *shape_after(steps, (32, 32, 3))) == (16, *SMALLER.get(kind, (32, 32, 3)))
    assert one.dtype == jnp.float32


@every
def test_every_image_has_a_draw_of_its_own(kind):
    steps, x, run = example_of(kind)
    same = jnp.broadcast_to(jnp.arange(16, dtype=jnp.float32)[:, None, None, None] % 2 * 200, x.shape) if isinstance(
        steps[0], Mix) else jnp.broadcast_to(x[:1], x.shape)  # fmt: skip
    distinct = len(np.unique(np.asarray(run(1, same)).reshape(16, -1), axis=0))
    assert distinct == 2 if kind == "random_flip" else distinct >= 6


@every
def test_evaluation_is_left_alone(kind):
    steps, x = read([EXAMPLES[kind]]), jnp.asarray(pictures(shape=(2, 32, 32, 3)), jnp.float32)
    if kind in SMALLER:
        assert eval_transform(steps, x).shape == (2, *SMALLER[kind])
    else:
        assert eval_transform(steps, x) is x


@pytest.mark.parametrize("member", AUGMENTATIONS, ids=lambda member: member.kind)
def test_it_says_what_its_fields_are_and_reads_back(member):
    assert all(info.description for info in member.model_fields.values())
    steps = read([EXAMPLES[member.kind]])
    assert read([step.to_yaml() for step in steps]) == steps


def test_several_in_order_each_with_its_own_key():
    """Two shifts are drawn apart; the crop sees what the shift gives."""
    images = np.zeros((200, 9, 9, 1), np.uint8)
    images[:, 4, 4] = 1
    steps = read([{"random_shift": [0, 1]}, {"random_shift": [0, 1]}, {"random_crop": [9, 7]}, "random_flip"])
    x, partners, share = jit(partial(augment, steps, {}))(jax.random.key(0), jnp.asarray(images, jnp.float32))
    assert x.shape == (200, 9, 7, 1)
    assert partners is share is None
    columns = np.asarray(x).sum((1, 3)).argmax(-1)
    assert set(columns) == set(range(7))


# ------------------------------------------------------------------------------------------------------- windows


def windows(images, size):
    """Every window, (places, size, size, C), of one image."""
    seen = np.lib.stride_tricks.sliding_window_view(images, size, (0, 1))
    return np.moveaxis(seen, 2, -1).reshape(-1, *size, images.shape[-1])


def places(after, possible):
    """Which of the possible pictures each of ``after`` is, exactly."""
    equal = (after[:, None] == possible[None]).all((2, 3, 4))
    assert (equal.sum(-1) == 1).all(), "not a window"
    return equal.argmax(-1)


@pytest.mark.parametrize("by", [[2, 1], [0, 2]])
def test_shifts_are_windows_of_the_padded_image_all_equally_likely(by):
    image = np.arange(1, 21).reshape(4, 5, 1).astype(np.uint8)
    after = changed({"random_shift": by}, np.tile(image, (1500, 1, 1, 1)))
    possible = windows(np.pad(image, ((by[0],) * 2, (by[1],) * 2, (0, 0))), (4, 5))
    counts = np.bincount(places(after, possible), minlength=len(possible))
    assert len(counts) == (2 * by[0] + 1) * (2 * by[1] + 1)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_crops_are_windows_all_equally_likely_and_evaluation_takes_the_middle():
    image = np.arange(42).reshape(6, 7, 1).astype(np.uint8)
    possible = windows(image, (3, 5))
    counts = np.bincount(places(changed({"random_crop": [3, 5]}, np.tile(image, (1500, 1, 1, 1))), possible))
    assert len(counts) == 4 * 3
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_array_equal(eval_transform(read([{"random_crop": [3, 5]}]), image[None])[0], image[1:4, 1:6])


def test_nothing_is_changed_by_zero():
    images = pictures()
    for written in ({"random_shift": 0}, {"random_crop": [12, 10]}, "color_jitter"):
        np.testing.assert_array_equal(changed(written, images), images)


@pytest.mark.parametrize(("axis", "flips"), [("horizontal", [2]), ("vertical", [1]), ("both", [1, 2])])
def test_flips_are_fair_and_independent(axis, flips):
    image = np.arange(6).reshape(1, 2, 3, 1).astype(np.uint8)
    possible = [image[0], *(np.flip(image, each)[0] for each in flips)]
    if len(flips) == 2:
        possible.append(np.flip(image, (1, 2))[0])
    counts = np.bincount(places(changed({"random_flip": axis}, np.tile(image, (2000, 1, 1, 1))), np.array(possible)))
    assert len(counts) == len(possible)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


# ------------------------------------------------------------------------------------------- turned and stretched


def scipys(image, matrix):
    """The same map about the middle: zeros around the image take part in the interpolation."""
    middle = (np.array(image.shape[:2]) - 1) / 2
    offset = middle - matrix @ middle
    planes = [scipy.ndimage.affine_transform(image[..., c].astype(np.float64), matrix, offset, order=1,
                                             mode="grid-constant") for c in range(image.shape[2])]  # fmt: skip
    return np.stack(planes, -1)


entries = st.lists(st.floats(-2, 2), min_size=4, max_size=4)


WARP = jit(warp)


@few
@given(seed=seeds, matrices=st.lists(entries, min_size=3, max_size=3))
def test_warp_is_scipys_affine_transform(seed, matrices):
    images = pictures(seed, (3, 9, 12, 2))
    after = WARP(jnp.asarray(images, jnp.float32), *jnp.asarray(matrices, jnp.float32).T)
    for image, one, matrix in zip(images, after, matrices, strict=True):
        np.testing.assert_allclose(one, scipys(image, np.float32(matrix).reshape(2, 2)), atol=0.05)


@pytest.fixture
def drawn(monkeypatch):
    """``drawn(written, x, share)``: changed with every draw at ``share`` of its range, and the ranges asked for."""

    def run(written, images, share):
        ranges = []

        def fixed(key, x, low, high):
            ranges.append((low, high))
            return jnp.full((x.shape[0],), low + share * (high - low), jnp.float32)

        monkeypatch.setattr(geometry, "_uniform", fixed)
        compiled.cache_clear()
        return changed(written, images), ranges

    yield run
    compiled.cache_clear()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rotation_is_scipys(drawn, share):
    images = pictures(shape=(2, 11, 14, 3))
    after, ranges = drawn({"random_rotation": 40}, images, share)
    assert ranges == [(-40, 40)]
    expected = scipy.ndimage.rotate(images.astype(np.float64), 80 * share - 40, (1, 2), reshape=False, order=1,
                                    mode="grid-constant")  # fmt: skip
    mirrored = scipy.ndimage.rotate(images.astype(np.float64), 40 - 80 * share, (1, 2), reshape=False, order=1,
                                    mode="grid-constant")  # fmt: skip
    assert min(np.abs(after - expected).max(), np.abs(after - mirrored).max()) < 0.05


def test_a_quarter_turn(drawn):
    images = pictures(shape=(2, 8, 8, 3))
    after, _ = drawn({"random_rotation": 180}, images, 0.75)
    np.testing.assert_allclose(after, np.rot90(images, -1, (1, 2)), atol=1e-2)


@pytest.mark.parametrize(("share", "factor"), [(0.0, 1 / 1.5), (0.5, 1.0), (1.0, 1.5)])
def test_scale_is_scipys(drawn, share, factor):
    images = pictures(shape=(2, 11, 14, 3))
    after, _ = drawn({"random_scale": 0.5}, images, share)
    for image, one in zip(images, after, strict=True):
        np.testing.assert_allclose(one, scipys(image, np.eye(2) / factor), atol=0.05)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_shear_is_scipys(drawn, share):
    images = pictures(shape=(2, 11, 14, 3))
    after, ranges = drawn({"random_shear": 30}, images, share)
    assert ranges == [(-30, 30)]
    slant = np.tan(np.deg2rad(60 * share - 30))
    for image, one in zip(images, after, strict=True):
        np.testing.assert_allclose(one, scipys(image, np.array([[1, 0], [slant, 1]])), atol=0.05)


def test_draws_are_even_over_their_range():
    """A shear moves a column's top sideways by a known amount: read the angle off the picture."""
    images = np.zeros((800, 3, 81, 1), np.uint8)
    images[:, :, 40] = 100
    after = changed({"random_shear": 60}, images)[:, 0, :, 0]
    place = (after * np.arange(81)).sum(-1) / after.sum(-1) - 40
    angles = np.rad2deg(np.arctan(place))
    assert scipy.stats.kstest(angles, scipy.stats.uniform(-60, 120).cdf).pvalue > 1e-3


# -------------------------------------------------------------------------------------------- random resized crop


def test_the_whole_image_at_its_own_size_is_itself():
    images = pictures()
    after = changed({"random_resized_crop": {"size": [12, 10], "area": 1, "aspect": 1}}, images)
    np.testing.assert_allclose(after, images, atol=1e-3)


@pytest.mark.parametrize("size", [(20, 4), (5, 25)])
def test_the_whole_image_at_another_size_is_what_evaluation_sees_and_pytorchs(torch, size):
    images = pictures()
    written = {"random_resized_crop": {"size": list(size), "area": 1, "aspect": 1}}
    after = changed(written, images)
    theirs = torch.nn.functional.interpolate(
        torch.tensor(images).permute(0, 3, 1, 2).double(), size, mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(after, theirs.permute(0, 2, 3, 1), atol=0.01)
    np.testing.assert_allclose(eval_transform(read([written]), jnp.asarray(images, jnp.float32)), after, atol=0.01)


WINDOW = jit(zoom, static_argnums=3)


@few
@given(
    seed=seeds, share=st.tuples(st.floats(0.2, 1), st.floats(0.2, 1)), at=st.tuples(st.floats(0, 1), st.floats(0, 1))
)
def test_a_window_is_pillows(seed, share, at):
    image = pictures(seed, (12, 10, 1))
    share, start = np.float32(share), np.float32(at) * (1 - np.float32(share))
    after = WINDOW(jnp.asarray(image, jnp.float32), start, share, (7, 9))
    (top, left), (bottom, right) = start * image.shape[:2], (start + share) * image.shape[:2]
    plane = Image.fromarray(image[..., 0].astype(np.float32))
    expected = plane.resize((9, 7), Image.Resampling.BILINEAR, box=(left, top, min(right, 10), min(bottom, 12)))
    np.testing.assert_allclose(after[..., 0], expected, atol=0.1)


def test_windows_lie_inside_the_image_with_the_area_and_aspect_asked_for():
    """On a ramp the pictures tell where they were cut."""
    high, wide, n = 40, 60, 500
    down, right = (np.broadcast_to(line, (high, wide)) for line in (np.arange(high)[:, None], np.arange(wide)))
    images = np.tile(np.stack([down, right], -1).astype(np.uint8), (n, 1, 1, 1))
    after = changed({"random_resized_crop": {"size": 8, "area": 0.3, "aspect": 1.5}}, images)
    rows, columns = after[:, :, 4, 0], after[:, 4, :, 1]
    sides, starts = [], []
    for line, whole in ((rows, high), (columns, wide)):
        step = (line[:, 5] - line[:, 2]) / 3
        sides.append(8 * step / whole)
        starts.append((line[:, 2] + 0.5 - 2.5 * step) / whole)
    area, aspect = sides[0] * sides[1], sides[1] / sides[0]
    assert 0.3 - 1e-3 < area.min() < 0.33
    assert 0.9 < area.max() < 1 + 1e-3
    assert 1 / 1.5 - 1e-3 < aspect.min() < 0.7
    assert 1.42 < aspect.max() < 1.5 + 1e-3
    for start, side in zip(starts, sides, strict=True):
        assert start.min() > -1e-3
        assert (start + side).max() < 1 + 1e-3
        room = start[side < 0.9] / (1 - side[side < 0.9])
        assert scipy.stats.kstest(room, "uniform").pvalue > 1e-3


# --------------------------------------------------------------------------------------------------------- colours


def grey_of(images):
    return (images @ np.array([0.299, 0.587, 0.114]))[..., None]


def blend(images, other, factor):
    """torchvision's ``_blend``."""
    return np.clip(factor[:, None, None, None] * images + (1 - factor[:, None, None, None]) * other, 0, 255)


def factors(after, before, other):
    """The factor of each image, read off where nothing was cut."""
    kept = (after > 0) & (after < 255) & (np.abs(before - other) > 20)
    ratio = np.where(kept, (after - other) / np.where(kept, before - other, 1), np.nan).reshape(len(after), -1)
    middle = np.nanmedian(ratio, 1)
    np.testing.assert_allclose(ratio, np.where(np.isnan(ratio), np.nan, middle[:, None]), atol=1e-4)
    return middle


def test_color_jitter_is_torchvisions_formula():
    images = pictures(shape=(300, 5, 4, 3)).astype(np.float64)
    others = {
        "brightness": np.zeros_like(images[..., :1]),
        "contrast": grey_of(images).mean((1, 2, 3), keepdims=True),
        "saturation": grey_of(images),
    }
    found = {}
    for change, other in others.items():
        after = changed({"color_jitter": {change: 0.4}}, images.astype(np.uint8))
        factor = found[change] = factors(after, images, other)
        np.testing.assert_allclose(after, blend(images, other, factor), atol=0.05)
        assert scipy.stats.kstest(factor, scipy.stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3
    all_of_them = changed({"color_jitter": dict.fromkeys(others, 0.4)}, images.astype(np.uint8))
    expected = blend(images, 0, found["brightness"])
    expected = blend(expected, grey_of(expected).mean((1, 2, 3), keepdims=True), found["contrast"])
    expected = blend(expected, grey_of(expected), found["saturation"])
    np.testing.assert_allclose(all_of_them, expected, atol=0.1)
    assert np.abs(np.corrcoef(list(found.values()))[np.triu_indices(3, 1)]).max() < 0.2


def test_saturation_leaves_grey_pictures_and_contrast_changes_them():
    images = pictures(shape=(4, 5, 4, 1))
    np.testing.assert_allclose(changed({"color_jitter": {"saturation": 1}}, images), images, rtol=1e-5)
    assert not np.allclose(changed({"color_jitter": {"contrast": 1}}, images), images, atol=1)


@pytest.mark.parametrize("written", [{"color_jitter": {"brightness": 1}}, {"random_erasing": 1}], ids=str)
def test_white_is_255_or_the_largest_value_of_float_pictures(written):
    images = pictures(shape=(40, 8, 8, 3), high=200)
    assert 250 < changed(written, images).max() <= 255
    after = changed(written, (images / 199).astype(np.float32))
    assert 0.98 < after.max() <= 1
    assert after.min() >= 0


def test_pca_noise_adds_one_colour_along_the_components_to_each_image():
    random = np.random.default_rng(0)
    stored = random.normal(128, 25, (50, 6, 6, 1)) + random.normal(0, [20, 8, 3], (50, 6, 6, 3))
    stored = np.clip(stored, 0, 255).astype(np.uint8)
    images = pictures(shape=(4000, 2, 2, 3))
    added = changed({"pca_noise": 0.5}, images, stored=stored) - images
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-3)
    pixels = stored.reshape(-1, 3).astype(np.float64)
    _, sizes, components = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    amounts = added[:, 0, 0] @ components.T / (sizes / np.sqrt(len(pixels)))  # N(0, 0.5) for each component
    for each in amounts.T:
        assert scipy.stats.kstest(each, scipy.stats.norm(0, 0.5).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(amounts.T)[np.triu_indices(3, 1)]).max() < 0.06


# ---------------------------------------------------------------------------------------------------------- covered


def box_of(covered):
    """(top, bottom, left, right) of the covered pixels (H, W), which fill their rectangle."""
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    if not len(rows):
        return (0, 0, 0, 0)
    found = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    assert covered[found[0] : found[1], found[2] : found[3]].all(), "not a rectangle"
    return found


@pytest.mark.parametrize("size", [1, 5, 30])
def test_cutout_is_a_square_that_may_hang_over_the_edge(size):
    images = pictures(shape=(600, 12, 10, 3))
    after = changed({"cutout": size}, images)
    covered = (after == 0).all(-1)
    np.testing.assert_array_equal(after, np.where(covered[..., None], 0, images))
    boxes = np.array([box_of(each) for each in covered])
    for (start, stop), length in zip((boxes[:, :2].T, boxes[:, 2:].T), (12, 10), strict=True):
        inside = (start > 0) & (stop < length)
        assert (stop - start <= size).all()
        assert ((stop - start)[inside] == size).all()
        assert ((stop - start) >= min(-(-size // 2), length)).all()  # its middle is in the image
    if size == 1:  # any pixel, equally
        assert scipy.stats.chisquare(covered.sum(0).ravel()).pvalue > 1e-3


def test_random_erasing_area_aspect_and_rate():
    high, wide, n = 64, 48, 800
    images = pictures(shape=(n, high, wide, 1), high=2)
    after = changed({"random_erasing": {"rate": 0.4, "area": 0.25, "aspect": 2}}, images)
    covered = (after != 1)[..., 0]
    hit = covered.any((1, 2))
    assert scipy.stats.binomtest(int(hit.sum()), n, 0.4).pvalue > 1e-3
    boxes = np.array([box_of(each) for each in covered[hit]])
    rows, columns = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    assert ((rows + 1) * (columns + 1) >= 0.02 * high * wide).all()
    assert ((rows - 1) * (columns - 1) <= 0.25 * high * wide).all()
    share = rows * columns / (high * wide)
    assert scipy.stats.kstest(share, scipy.stats.uniform(0.02, 0.23).cdf).pvalue > 1e-3
    assert ((rows + 1) / (columns - 1) >= 0.5).all()
    assert ((rows - 1) / (columns + 1) <= 2).all()
    assert scipy.stats.kstest(np.log2(rows / columns), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3
    noise = after[covered]
    assert scipy.stats.kstest(noise[:5000], scipy.stats.uniform(0, 255).cdf).pvalue > 1e-3


def test_random_erasing_stays_inside_where_the_rectangle_would_not_fit():
    images = pictures(shape=(50, 16, 4, 1), high=2)
    covered = changed({"random_erasing": {"rate": 1, "area": 1, "aspect": 10}}, images)[..., 0] != 1
    for each in covered:
        box_of(each)
    assert covered.any((1, 2)).all()


# ------------------------------------------------------------------------------------------------------------ mixed


@pytest.mark.parametrize(("strength", "shape"), [(0.01, (600, 5)), (0.2, (600, 3, 2, 1)), (1.0, (600, 3, 1))], ids=str)
def test_mixup_blends_by_the_share_it_tells(strength, shape):
    images = pictures(shape=shape)
    after, partners, share = changed({"mixup": strength}, images)
    wide = share.reshape(-1, *(1,) * (len(shape) - 1))
    np.testing.assert_allclose(after, wide * images + (1 - wide) * images[partners], atol=1e-3)
    assert sorted(partners) == list(range(600))
    assert (partners != np.arange(600)).all()
    assert ((share >= 0) & (share <= 1)).all()
    if strength >= 0.2:
        assert scipy.stats.kstest(share, scipy.stats.beta(strength, strength).cdf).pvalue > 1e-3
    else:  # nearly always one of the two
        assert np.minimum(share, 1 - share).mean() < 0.02


def test_cutmix_share_is_the_area_that_is_left():
    n, high, wide = 600, 16, 20
    images = np.zeros((n, high, wide, 2), np.uint8)
    images[..., 0], images[..., 1] = (digit[:, None, None] for digit in np.divmod(np.arange(n), 256))
    after, partners, share = changed("cutmix", images)
    number = after[..., 0] * 256 + after[..., 1]
    own = number == np.arange(n)[:, None, None]
    np.testing.assert_array_equal(np.where(own, np.arange(n)[:, None, None], partners[:, None, None]), number)
    for each, i in zip(~own, range(n), strict=True):
        box_of(each)
        assert share[i] == pytest.approx(own[i].mean(), abs=1e-6)
    assert sorted(partners) == list(range(n))
    assert share.min() < 0.1
    assert share.max() > 0.95
    boxes = np.array([box_of(each) for each in ~own])
    top, bottom, left, right = boxes[(boxes[:, ::2] > 0).all(1) & (boxes[:, 1] < high) & (boxes[:, 3] < wide)].T
    assert len(top) > 50  # those that no edge has cut have the image's aspect, up to rounding
    assert (np.abs((bottom - top) / high - (right - left) / wide) <= 1 / high + 1 / wide).all()
    middle = np.concatenate([(top + bottom) / 2 / high, (left + right) / 2 / wide])
    assert abs(middle.mean() - 0.5) < 0.03


@pytest.mark.parametrize("written", [{"mixup": 1.0}, "cutmix"], ids=str)
def test_labels_are_mixed_as_the_images_are(written):
    steps, labels = read(["random_flip", written]), jnp.arange(6, dtype=jnp.int32)
    config = SimpleNamespace(data=SimpleNamespace(augment=steps, preprocess=()))
    levels = np.repeat(np.arange(6) * 40, 64).reshape(6, 8, 8, 1).astype(np.uint8)  # as grey as the label says
    data = TrainData(jnp.asarray(levels), labels, {})
    x, targets = jit(partial(training_batch, config))(data, jnp.arange(6), jax.random.key(5))
    own, others, share = (np.asarray(each, np.float64) for each in targets)
    np.testing.assert_allclose(np.asarray(x).mean((1, 2, 3)) / 40, share * own + (1 - share) * others, atol=1e-4)
    np.testing.assert_array_equal(own, labels)
    assert (own != others).all()


def test_without_mixing_a_label_is_a_label():
    config = SimpleNamespace(data=SimpleNamespace(augment=read(["random_flip"]), preprocess=()))
    data = TrainData(jnp.zeros((2, 4, 4, 1), jnp.uint8), jnp.array([1, 0]), {})
    _, targets = training_batch(config, data, jnp.arange(2), jax.random.key(0))
    assert targets.others is targets.share is None


# ------------------------------------------------------------------------------------- with preprocessing, refusals


@pytest.mark.parametrize("crop", [{"random_crop": [6, 5]}, {"random_resized_crop": [14, 5]}], ids=str)
@pytest.mark.parametrize("value", [{"subtract_mean": "pixel"}, "decorrelate"], ids=str)
def test_value_steps_are_fitted_to_the_shape_that_augmentation_leaves(crop, value):
    images, steps, values = pictures(), read(["random_flip", crop]), TypeAdapter(Steps).validate_python([value])
    constants = fit_values(values, eval_transform_all(steps, images))

    def network_sees(key, x):
        return apply_values(values, constants, augment(steps, {}, key, x)[0])

    found = jax.eval_shape(network_sees, jax.random.key(0), jnp.asarray(images, jnp.float32))
    assert found.shape == (8, *crop[next(iter(crop))], 3)


@pytest.mark.parametrize("name", sorted(file.stem for file in CONFIGS.glob("*.yaml")))
def test_what_the_network_sees_has_the_shape_of_its_input_in_every_config(name):
    config = load(CONFIGS / f"{name}.yaml").config
    steps, values, stored = config.data.augment, config.data.preprocess, config.data.source.image_shape()
    if stored is None:
        pytest.skip("known only with the data")
    images = pictures(shape=(4, *shape_after(values, stored)))
    constants = fit_values(values, eval_transform_all(steps, images)) | fit(steps, images)

    def network_sees(key, x):
        return apply_values(values, constants, augment(steps, constants, key, x)[0])

    found = jax.eval_shape(network_sees, jax.random.key(0), jnp.asarray(images, jnp.float32))
    assert found.shape == (4, *config.model.input)


def test_all_images_in_chunks_are_transformed_as_a_batch(monkeypatch):
    monkeypatch.setattr(augment_module, "CHUNK", 3)
    images, steps = pictures(), read(["random_flip", {"random_crop": [6, 5]}])
    np.testing.assert_array_equal(eval_transform_all(steps, images), eval_transform(steps, images))
    assert eval_transform_all(steps, images).dtype == np.uint8


def test_images_that_keep_their_shape_are_not_touched_for_fitting():
    images = pictures()
    assert eval_transform_all(read(["random_flip", {"random_shift": 2}, "mixup"]), images) is images
    assert eval_transform_all((), images) is images


@pytest.mark.parametrize(
    ("written", "shape", "says"),
    [
        ({"random_crop": [9, 3]}, (8, 8, 1), "cannot crop 8x8 to 9x3"),
        ({"random_crop": [3, 9]}, (8, 8, 1), "cannot crop 8x8 to 3x9"),
        ("random_flip", (64,), "random_flip works on pictures"),
        ("cutmix", (64, 1), "cutmix works on pictures"),
        ({"random_resized_crop": 4}, (64, 1), "random_resized_crop works on pictures"),
        ("pca_noise", (8, 8, 1), "pca_noise needs 3 channels, got 1"),
        ("color_jitter", (8, 8, 2), "color_jitter needs 1 or 3 channels, got 2"),
    ],
)
def test_what_does_not_fit(written, shape, says):
    with pytest.raises(ShapeError, match=says):
        shape_after(read([written]), shape)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["mixup", "random_flip", "cutmix"], "only one of mixup and cutmix"),
        (["mixup", "mixup"], "only one of mixup and cutmix"),
        ([{"random_shift": -1}], "greater than or equal to 0"),
        ([{"random_rotation": 0}], "greater than 0"),
        ([{"random_rotation": 181}], "less than or equal to 180"),
        ([{"random_shear": 90}], "less than 90"),
        ([{"color_jitter": {"contrast": 1.1}}], "less than or equal to 1"),
        ([{"random_resized_crop": {"size": 4, "aspect": 0.5}}], "greater than or equal to 1"),
        ([{"cutout": 0}], "greater than 0"),
        ([{"mixup": 0}], "greater than 0"),
    ],
)
def test_settings_that_make_no_sense(wrong, says):
    with pytest.raises(ValidationError, match=says):
        read(wrong)
