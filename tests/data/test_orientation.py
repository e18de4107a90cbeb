"""Pictures are upright wherever Pillow turns them: EXIF and XMP, in JPEG and PNG."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from cnncli.data.images import decode

RAMP = np.stack([np.add.outer(np.arange(6) * 20, np.arange(8) * 10 + shift) for shift in (0, 20, 60)], -1).astype(
    np.uint8
)


def encoded(form, image=None, **options):
    out = io.BytesIO()
    (image or Image.fromarray(RAMP)).save(out, form, **options)
    return out.getvalue()


XMP = "<x:xmpmeta><rdf:Description %s/></x:xmpmeta>"
IN_XMP = XMP % 'tiff:Orientation="6"'


def tiff(tag, kind, value):
    """An EXIF block of one entry, big-endian."""
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHI", tag, kind, 1) + value.ljust(4, b"\0") + bytes(4)


def told(form, exif=b"", xmp="", profile=b"", key="XML:com.adobe.xmp"):
    """A picture with such metadata."""
    texts = PngImagePlugin.PngInfo()
    if profile:
        texts.add_text("Raw profile type exif", f"\nexif\n{len(profile):8}\n{profile.hex()}\n", zip=True)
    if xmp and form == "PNG":
        texts.add_itxt(key, xmp) if key.startswith("XML") else texts.add_text(key, xmp)
    options = {"pnginfo": texts} if form == "PNG" else {"xmp": xmp.encode()}
    return encoded(form, **options, **({"exif": b"Exif\0\0" + exif} if exif else {}))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "metadata",
    [
        *({"xmp": XMP % f'tiff:Orientation="{value}"'} for value in range(10)),
        {"xmp": "<tiff:Orientation>8</tiff:Orientation>"},
        {"xmp": XMP % ""},
        {"exif": tiff(0x0100, 3, b"\0\1"), "xmp": IN_XMP},  # EXIF that does not tell
        {"exif": tiff(0x0112, 3, b"\0\3"), "xmp": IN_XMP},
        {"exif": tiff(0x0112, 3, b"\0\1"), "xmp": IN_XMP},
        {"exif": tiff(0x0112, 4, b"\0\0\0\5")},
    ],
)
def test_orientation_agrees_with_pillow(tmp_path, form, metadata):
    (tmp_path / "a").write_bytes(told(form, **metadata))
    with Image.open(tmp_path / "a") as image:
        assert np.array_equal(decode(tmp_path / "a", 3), np.asarray(ImageOps.exif_transpose(image)))


def test_orientation_that_only_png_can_hold(tmp_path):
    exif = tiff(0x0112, 3, b"\0\6")
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    plain = encoded("PNG")
    late = plain[:-12] + chunk + plain[-12:]
    for data in (told("PNG", profile=exif), told("PNG", profile=b"Exif\0\0" + exif), late):
        (tmp_path / "a").write_bytes(data)
        with Image.open(tmp_path / "a") as image:
            image.load()
            upright = np.asarray(ImageOps.exif_transpose(image))
        assert upright.shape == (8, 6, 3)
        assert np.array_equal(decode(tmp_path / "a", 3), upright)


def test_orientation_of_the_jpegs_that_pillow_reads(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(RAMP[..., 0])
    for image in (Image.merge("CMYK", [grey] * 4), grey):
        (tmp_path / "a").write_bytes(encoded("JPEG", image, exif=exif))
        assert decode(tmp_path / "a", 3).shape == (8, 6, 3)
