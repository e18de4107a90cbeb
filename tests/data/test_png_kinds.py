"""Every kind of PNG, with and without transparency, with whole and short palettes: against Pillow and libpng."""

import ctypes
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from cnncli.data import images
from cnncli.data.images import decode


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return images.PNG + head + b"".join(chunks) + chunk(b"IEND", b"")


COLOURS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # colour type: bits of a sample
DEEP = [(0, 2), (0, 4), (0, 16), (2, 16)]  # Pillow compares their transparent colour after it has scaled the samples
KINDS = [
    pytest.param(colour, depth, transparent, palette, id=f"{colour}-{depth}{'-tRNS' * transparent}-{palette}")
    for colour, depths in COLOURS.items()
    for depth in depths
    for transparent in (False, True)[: 2 if colour < 4 else 1]
    for palette in (1, 0.5, 0.3)[: 3 if colour == 3 else 1]
]
every_kind = pytest.mark.parametrize(("colour", "depth", "transparent", "palette"), KINDS)
as_pillow = pytest.mark.parametrize(
    ("colour", "depth", "transparent", "palette"),
    [kind for kind in KINDS if not (kind.values[2] and kind.values[:2] in DEEP)],
)


def random_png(colour, depth, transparent, palette):
    """16x8 pixels. ``transparent``: with tRNS. ``palette``: its share of the entries that indices can name."""
    rng = np.random.default_rng(depth)
    rows = rng.integers(0, 256, (8, 16 * images.SAMPLES[colour] * depth // 8), np.uint8)
    rows[:, :12] = rows[0, :12]  # one colour recurs in every row
    count = max(int(2**depth * palette), 1)
    if colour == 3:
        key = rng.integers(0, 256, max(count // 2, 1), np.uint8).tobytes()
    else:
        size, first = depth // 8, rows[0].tobytes()
        samples = [first[i * size : (i + 1) * size] for i in range(3 if colour == 2 else 1)]
        key = b"".join(s.rjust(2, b"\0") if size else bytes([0, first[0] >> (8 - depth)]) for s in samples)
    chunks = [chunk(b"PLTE", rng.integers(0, 256, 3 * count, np.uint8).tobytes())] if colour == 3 else []
    chunks += [chunk(b"tRNS", key)] if transparent else []
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return png(16, 8, depth, colour, *chunks, chunk(b"IDAT", packed))


def on_black(rgba):
    black = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, Image.fromarray(rgba)).convert("RGB")).astype(int)


@as_pillow
def test_every_kind_of_png_agrees_with_pillow(tmp_path, colour, depth, transparent, palette):
    (tmp_path / "a.png").write_bytes(random_png(colour, depth, transparent, palette))
    with Image.open(tmp_path / "a.png") as image:
        if image.mode == "I;16":
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        expected = on_black(np.asarray(image.convert("RGBA")))
    assert np.array_equal(decode(tmp_path / "a.png", 3), expected)
    grey = Image.fromarray(expected.astype(np.uint8)).convert("L")
    assert np.array_equal(decode(tmp_path / "a.png", 1)[..., 0], grey)


class PngImage(ctypes.Structure):
    """png_image of libpng's simplified interface."""

    _fields_ = (("opaque", ctypes.c_void_p), *((name, ctypes.c_uint32) for name in ("version", "width", "height",
                "format", "flags", "entries", "trouble")), ("message", ctypes.c_char * 64))  # fmt: skip


@pytest.fixture(scope="module")
def libpng():
    """A function from a file's bytes to RGBA as libpng reads them: the library that Pillow's wheel brings."""
    found = sorted(Path(PIL.__file__).parent.parent.glob("pillow.libs/libpng16*"))
    if not found:
        pytest.skip("this Pillow brings no libpng of its own")
    library = ctypes.CDLL(str(found[0]))

    def read(data):
        image = PngImage(version=1)
        assert library.png_image_begin_read_from_memory(ctypes.byref(image), data, ctypes.c_size_t(len(data)))
        image.format, image.flags = 3, 4  # RGBA; 16-bit samples are sRGB, not linear
        pixels = np.empty((image.height, image.width, 4), np.uint8)
        assert library.png_image_finish_read(ctypes.byref(image), None, pixels.ctypes.data_as(ctypes.c_void_p), 0, None)
        return pixels

    return read


@every_kind
def test_every_kind_of_png_agrees_with_libpng(tmp_path, libpng, colour, depth, transparent, palette):
    data = random_png(colour, depth, transparent, palette)
    (tmp_path / "a.png").write_bytes(data)
    expected = on_black(libpng(data))
    assert not transparent or colour == 3 or (expected == 0).all(axis=2).any()
    assert np.abs(decode(tmp_path / "a.png", 3) - expected).max() <= 2 * (depth == 16)  # it rounds to 8 bits, we cut
