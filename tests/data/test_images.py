"""One image to bytes: the documented conversions, and what is refused."""

import contextlib
import io
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cnncli.data import images
from cnncli.data.images import decode, orientation, turn
from cnncli.errors import DataError

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
RAMP = np.stack([np.add.outer(np.arange(6) * 20, np.arange(8) * 10 + shift) for shift in (0, 20, 60)], -1).astype(
    np.uint8
)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def encoded(form, image=None, **options):
    out = io.BytesIO()
    (image or Image.fromarray(RAMP)).save(out, form, **options)
    return out.getvalue()


def test_png_is_exact(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    assert np.array_equal(decode(path, 3), RAMP)
    assert decode(path, 1).shape == (6, 8, 1)
    luma = RAMP @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(path, 1)[..., 0] - luma).max() <= 1


def test_jpeg_agrees_with_pillow(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(RAMP), quality=90)
    with Image.open(path) as image:
        assert np.array_equal(decode(path, 3), np.asarray(image))
        assert np.abs(decode(path, 1)[..., 0].astype(int) - np.asarray(image.convert("L"))).max() <= 2


def test_jpeg_the_fast_path_refuses(tmp_path):
    data = encoded("JPEG")
    (tmp_path / "a.jpg").write_bytes(data[:20] + b"\0\0\0" + data[20:])  # stray bytes: libjpeg warns, and goes on
    assert np.array_equal(decode(tmp_path / "a.jpg", 3), np.asarray(Image.open(io.BytesIO(data))))


def test_the_content_decides_not_the_name(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("JPEG"))
    assert decode(tmp_path / "a.png", 3).shape == (6, 8, 3)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_grey_to_rgb(tmp_path, form):
    (tmp_path / "a").write_bytes(encoded(form, Image.fromarray(RAMP[..., 0])))
    rgb = decode(tmp_path / "a", 3)
    assert np.array_equal(rgb, np.repeat(decode(tmp_path / "a", 1), 3, axis=2))


def test_sixteen_bits_keep_their_high_byte(tmp_path):
    deep = (np.arange(48).reshape(6, 8) * 1300 + 7).astype(np.uint16)
    path = saved(tmp_path / "a.png", Image.fromarray(deep))
    assert np.array_equal(decode(path, 1)[..., 0], deep >> 8)
    assert np.array_equal(decode(path, 3)[..., 2], deep >> 8)


def test_alpha_is_composited_on_black(tmp_path):
    rgba = np.concatenate([RAMP, np.full((6, 8, 1), 128, np.uint8)], axis=2)
    path = saved(tmp_path / "a.png", Image.fromarray(rgba))
    assert np.abs(decode(path, 3) - RAMP * (128 / 255)).max() <= 1
    path = saved(tmp_path / "b.png", Image.fromarray(rgba[..., [0, 3]], "LA"))
    assert np.abs(decode(path, 1)[..., 0] - RAMP[..., 0] * (128 / 255)).max() <= 1


def test_palette_one_bit_and_transparent_palette(tmp_path):
    grey = Image.fromarray(RAMP[..., 0])
    assert np.array_equal(decode(saved(tmp_path / "a.png", grey.convert("P")), 1)[..., 0], RAMP[..., 0])
    assert set(np.unique(decode(saved(tmp_path / "b.png", grey.convert("1")), 3))) == {0, 255}
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putdata([0, 1])
    path = saved(tmp_path / "c.png", palette, transparency=0)
    assert decode(path, 3).tolist() == [[[0, 0, 0], [0, 255, 0]]]


def test_cmyk(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    assert np.abs(decode(path, 3).astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("value", range(9))
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_exif_orientation(tmp_path, form, value):
    exif = Image.Exif()
    exif[0x0112] = value
    (tmp_path / "a").write_bytes(encoded(form, exif=exif))
    with Image.open(tmp_path / "a") as image:
        assert np.array_equal(decode(tmp_path / "a", 3), np.asarray(ImageOps.exif_transpose(image)))
    assert decode(tmp_path / "a", 3, (8, 6)).shape == (8, 6, 3)


def many_scans(side, count):
    """A progressive JPEG whose last scan is there ``count`` times more."""
    data = encoded("JPEG", Image.new("RGB", (side, side), (9, 99, 199)), progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def test_too_many_scans(tmp_path):
    (tmp_path / "a.jpg").write_bytes(many_scans(1000, 20))
    assert decode(tmp_path / "a.jpg", 1, (8, 8)).shape == (8, 8, 1)
    for side, count in ((3000, 1000), (8, 1000)):
        (tmp_path / "a.jpg").write_bytes(many_scans(side, count))
        with pytest.raises(DataError, match=f"has 1,0.. scans of {side:,} x {side:,} pixels"):
            decode(tmp_path / "a.jpg", 3)


@pytest.mark.parametrize(
    "segments", [b"\xff\xe0\0\2" * 70_000, (b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65527)) * 20]
)
def test_too_many_segments(tmp_path, segments):
    data = encoded("JPEG")
    (tmp_path / "a.jpg").write_bytes(data[:2] + segments + data[2:])
    with pytest.raises(DataError, match="more segments or EXIF than any program writes"):
        decode(tmp_path / "a.jpg", 3)


def test_many_empty_frames_are_walked_once(tmp_path):
    """The end of the file was looked for from each of them."""
    data = encoded("JPEG")
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xc0\0\2" * 60_000 + bytes(1 << 24) + data[2:])
    start = time.process_time()
    with pytest.raises(DataError, match="is damaged"):
        decode(tmp_path / "a.jpg", 3)
    assert time.process_time() - start < 5


def test_addresses_are_not_read(tmp_path):
    for address in ("http://example.com/a.png", "https://example.com/a.png", "s3://pictures/a.png", "file:///a.png"):
        with pytest.raises(DataError, match=r"is an address, not a file on this machine\. Download"):
            decode(Path(address), 3)
    with pytest.raises(DataError, match="no such file"):
        decode(tmp_path / "a:b.png", 3)


def test_a_picture_that_may_not_be_read(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DataError, match="cannot be read: permission denied") as caught:
        decode(path, 3)
    assert str(caught.value).startswith(str(path))


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_orientation_of_any_bytes(data, head):
    assert orientation(head + data, data) in range(1, 9)
    assert turn(RAMP, orientation(head + data)).shape in ((6, 8, 3), (8, 6, 3))


def test_resize_averages(tmp_path):
    board = np.kron([[0, 255] * 8, [255, 0] * 8] * 8, np.ones((2, 2))).astype(np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(board))
    small = decode(path, 1, (4, 8))
    assert small.shape == (4, 8, 1)
    assert np.abs(small.astype(int) - 127).max() <= 12  # without antialiasing: 0 or 255
    assert decode(path, 3, (64, 40)).shape == (64, 40, 3)


def png_of_size(width, height):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB\x60\x82"


def jpeg_of_size(width, height):
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty .0 bytes"),
        (b"hello", "is no JPEG or PNG: it begins with 68 65 6c 6c"),
        (encoded("TIFF"), "it is a TIFF file"),
        (encoded("GIF"), "it is a GIF file"),
        (encoded("BMP"), "it is a BMP file"),
        (encoded("WEBP"), "it is a WebP file"),
        (encoded("EPS"), "it is a PostScript file"),
        (png_of_size(60_000, 60_000), "has 60,000 x 60,000 pixels"),
        (png_of_size(0, 5), "has 0 x 5 pixels"),
        (png_of_size(5, 5), "is damaged"),
        (png_of_size(500, 500), "cannot hold as many pixels as it promises"),
        (jpeg_of_size(60_000, 60_000), "has 60,000 x 60,000 pixels"),
        (jpeg_of_size(0, 0), "has 0 x 0 pixels"),
        (encoded("PNG")[:-1], "is damaged: it is cut"),
        (encoded("PNG")[:60], "is damaged: it is cut"),
        (encoded("JPEG")[:-1], "is damaged"),
        (encoded("JPEG")[:100], "is damaged"),
        (b"\xff\xd8\xff", "its header is cut"),
        (b"\x89PNG\r\n\x1a\n", "its header is cut"),
    ],
)
def test_refused(tmp_path, data, says):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=says) as caught:
        decode(tmp_path / "a.png", 3)
    assert str(caught.value).startswith(str(tmp_path / "a.png"))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_cut_at_any_byte(tmp_path, form):
    data = encoded(form)
    for cut in range(len(data)):
        (tmp_path / "a").write_bytes(data[:cut])
        with pytest.raises(DataError):
            decode(tmp_path / "a", 3)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@same_folder
@given(changes=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_changed_bytes_give_an_image_or_a_data_error(tmp_path, form, changes):
    data = bytearray(encoded(form))
    for at, byte in changes:
        data[at % len(data)] = byte
    (tmp_path / "a").write_bytes(data)
    with contextlib.suppress(DataError):
        assert decode(tmp_path / "a", 3).ndim == 3


def test_a_picture_of_one_colour_is_not_taken_for_cut(tmp_path):
    """Nothing packs better, and it grows by less than what is refused."""
    path = saved(tmp_path / "a.png", Image.new("RGBA", (3000, 3000)), compress_level=9)
    assert decode(path, 3).shape == (3000, 3000, 3)


def test_too_large_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 50)
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    with pytest.raises(DataError, match="at most 50 bytes are read"):
        decode(path, 3)


def test_pipes_loops_and_missing_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    for name, says in (("pipe", "is a pipe"), ("loop", "symbolic links"), ("folder", "is a folder"), ("no", "no such")):
        with pytest.raises(DataError, match=says):
            decode(tmp_path / f"{name}.png", 3)
