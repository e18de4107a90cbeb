"""One image file to an array of bytes. JPEG and PNG are read, told by their content; nothing else is.

How what is stored becomes grey or RGB bytes:

- The orientation that EXIF or else XMP tells is applied, in JPEG and PNG alike (Pillow's ``exif_transpose``). Of an
  animation the first frame counts.
- 16-bit samples keep their high byte; palettes and 1-bit images become the colours they stand for. An index past the
  end of its palette is black.
- Transparency is composited on black: black is what padding shows to a network. Where a PNG names one transparent
  colour (tRNS), pixels of just that colour are, compared before samples are scaled or cut to 8 bits (libpng; PNG
  specification, 11.3.2.1).
- CMYK becomes RGB by the plain formula, without colour profiles.
- Colour to grey: 0.299 R + 0.587 G + 0.114 B (a JPEG's own luma). Grey to RGB: three times the same.
- A ``size`` resizes with bilinear interpolation and antialiasing; the aspect ratio is not kept.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import simplejpeg
from PIL import Image

from cnncli.errors import DataError
from cnncli.safe_files import DEFLATE_RATIO, data_error, open_data_file
from cnncli.text import in_bytes

if TYPE_CHECKING:
    from jaxtyping import Shaped, UInt8
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 50_000_000
MAX_BYTES = 256 << 20
MAX_SCANNED = 20 * MAX_PIXELS  # pixels of all scans of a JPEG, up to 5 ns each; most progressive ones have ten scans
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's pixel, by its colour type
# Those that begin a segment, and the end. Among pixels none of these bytes follow 0xFF.
MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
MAX_SEGMENTS, MAX_EXIF = 1 << 16, 1 << 20
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
OTHERS = {b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript",
          b"BM": "BMP", b"%PDF": "PDF", b"RIFF": "WebP", b"<svg": "SVG", b"<?xm": "XML"}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What an image says of itself before it is decoded. ``bits``: of a sample."""

    format: Literal["JPEG", "PNG"]
    height: int
    width: int
    components: int
    bits: int = 8
    exif: bytes = b""
    xmp: bytes = b""
    scans: int = 1


def decode(path: Path, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """The image at ``path`` as uint8 (H, W, channels), channels 1 or 3. DataError names the file."""
    data = _read(path)
    try:
        header = read_header(data)
        if not 0 < header.height * header.width <= MAX_PIXELS:
            raise data_error(path, f"has {header.width:,} x {header.height:,} pixels",
                             f"At least 1 and at most {MAX_PIXELS:,} are read.")  # fmt: skip
        if header.scans * max(header.height * header.width, 1 << 20) > MAX_SCANNED:  # small ones cost their headers
            raise data_error(path, f"has {header.scans:,} scans of {header.width:,} x {header.height:,} pixels",
                             "Save it again: no camera or program writes so many.")  # fmt: skip
        bits = header.height * header.width * header.components * header.bits
        if header.format == "PNG" and bits > 8 * DEFLATE_RATIO * len(data):  # Pillow would make up the rest
            raise ValueError("it is cut: it cannot hold as many pixels as it promises")
        pixels, turned = _decoded(data, header, channels)
    except DataError:
        raise
    except Exception as error:  # a parser of damaged or hostile bytes may raise anything
        raise data_error(path, f"is damaged: {error or type(error).__name__}") from None
    return resize(turn(pixels, turned), size)


def _read(path: Path) -> bytes:
    """All bytes of a file that begins as a JPEG or PNG."""
    if re.match(r"[a-zA-Z][\w+.-]+:/", str(path)) and not os.path.exists(path):
        raise data_error(path, "is an address, not a file on this machine", "Download it first.")
    with open_data_file(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        if size > MAX_BYTES:
            raise data_error(path, f"has {in_bytes(size)}, at most {in_bytes(MAX_BYTES)} are read")
        stream.seek(0)
        data = stream.read(size)
    if not data:
        raise data_error(path, "is empty (0 bytes)")
    if not data.startswith((JPEG, PNG)):
        known = next((name for magic, name in OTHERS.items() if data.startswith(magic)), "")
        what = f"is a {known} file" if known else f"begins with {data[:4].hex(' ')}"
        raise data_error(path, f"is no JPEG or PNG: it {what}", "Convert it to PNG.")
    return data


def read_header(data: bytes) -> Header:
    """Size and samples, and of a JPEG its scans, EXIF and XMP, without decoding. ValueError where it is damaged."""
    return _jpeg_header(data) if data.startswith(JPEG) else _png_header(data)


def _png_header(data: bytes) -> Header:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise ValueError("its header is cut")
    if b"IEND\xaeB\x60\x82" not in data:
        raise ValueError("it is cut: its end is missing")
    height, width = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    return Header("PNG", height, width, SAMPLES.get(data[25], 1), data[24])


def _jpeg_header(data: bytes) -> Header:
    """Walk the segments (ITU T.81, B.1 and B.2)."""
    at, exif, xmp, frame, begin, scans, segments = 2, b"", b"", b"", 0, 0, 0
    while found := MARKER.search(data, at):
        marker, at, segments = found[0][1], found.end(), segments + 1
        if segments > MAX_SEGMENTS or len(exif) > MAX_EXIF:  # Pillow's time grows with the square of them
            raise ValueError("it has more segments or EXIF than any program writes")
        if marker == 0xD9:
            break
        size = max(int.from_bytes(data[at : at + 2], "big"), 2)
        body = data[at + 2 : at + size]
        if marker == 0xE1 and not scans and body.startswith(EXIF):
            exif += body.removeprefix(EXIF)
        elif marker == 0xE1 and not scans and body.startswith(XMP):
            xmp = body.removeprefix(XMP)
        elif marker == 0xDA:
            scans += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and not frame:
            frame, begin = body, at
        at += size
    if len(frame) < 6:
        raise ValueError("its header is cut")
    if data.find(b"\xff\xd9", begin) < 0:
        raise ValueError("it is cut: its end is missing")
    height, width = (int.from_bytes(frame[i : i + 2], "big") for i in (1, 3))
    return Header("JPEG", height, width, frame[5], frame[0], exif, xmp, scans)


def _decoded(data: bytes, header: Header, channels: int) -> tuple[UInt8[np.ndarray, "H W C"], int]:
    """Pixels (H, W, channels) as stored, and their orientation."""
    if header.format == "JPEG" and header.components in (1, 3):
        space, buffer = "GRAY" if channels == 1 else "RGB", np.empty((header.height, header.width, channels), np.uint8)
        # ValueError: it is larger than its header says, or libjpeg warns. Pillow tells what is truly broken.
        with suppress(ValueError):
            pixels = simplejpeg.decode_jpeg(data, space, fastdct=False, fastupsample=False, buffer=buffer)
            if pixels.shape == buffer.shape:
                return pixels, orientation(header.exif, header.xmp)
    return _by_pillow(data, header, channels)


def _by_pillow(data: bytes, header: Header, channels: int) -> tuple[np.ndarray, int]:
    """What the fast path does not read: PNG, CMYK, and JPEG that libjpeg warns about."""
    with _opened(data, header) as image:
        if image.size != (header.width, header.height):
            raise ValueError("it holds two sizes")
        image.load()
        turned = orientation(*((header.exif, header.xmp) if header.format == "JPEG" else _png_texts(image)))
        pixels = np.asarray(_flattened(image, header, data).convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(header.height, header.width, channels), turned


def _opened(data: bytes, header: Header) -> ImageFile:
    """By the one reader of its format."""
    return Image.open(io.BytesIO(data), formats=[header.format])


def _png_texts(image: Image.Image) -> tuple[bytes, bytes]:
    """EXIF and XMP of a PNG: chunk eXIf, or what ImageMagick writes in its place; XMP in any chunk of text."""
    profile, xmp = (str(image.info.get(key, "")) for key in ("Raw profile type exif", "XML:com.adobe.xmp"))
    exif = image.info.get("exif", b"")
    if not exif:
        with suppress(ValueError):
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    return exif.removeprefix(EXIF), image.info.get("xmp") or xmp.encode(errors="replace")


def _flattened(image: Image.Image, header: Header, data: bytes) -> Image.Image:
    """8-bit and opaque."""
    colour = image.info.get("transparency")
    if "A" in image.mode or (image.mode == "P" and colour is not None):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    if colour is None and not image.mode.startswith("I"):
        return image
    x = np.array(image)  # (H, W), of RGB (H, W, 3)
    if colour is not None:
        stored = x // np.uint8({2: 85, 4: 17}.get(header.bits, 1)) if x.dtype == np.uint8 else x
        if image.mode == "RGB" and header.bits == 16:
            stored = x.astype(np.uint16) << 8 | _low_bytes(data, header)
        same = stored == np.array(colour) & (1 << header.bits) - 1
        x[same.all(axis=2) if same.ndim == 3 else same] = 0
    return Image.fromarray((x >> 8).astype(np.uint8) if image.mode.startswith("I") else x)


def _low_bytes(data: bytes, header: Header) -> np.ndarray:
    """Of a PNG's 16-bit colours, which Pillow cuts to their high bytes: the same samples read as little-endian."""
    with _opened(data, header) as image:
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        return np.asarray(image).astype(np.uint16)


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """EXIF's tag 0x0112, else XMP's tiff:Orientation, 1 to 8; 1 where there is none or it is damaged."""
    value = _exif_orientation(exif)
    if value is None:
        told = re.search(rb'tiff:Orientation(?:="|>)([0-9])', xmp)
        value = int(told[1]) if told else 1
    return value if 1 <= value <= 8 else 1


def _exif_orientation(exif: bytes) -> int | None:
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(exif[:2])
    if not order:
        return None
    first = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[first : first + 2], order)
    for at in range(first + 2, min(first + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == 0x0112:
            size = 4 if int.from_bytes(exif[at + 2 : at + 4], order) == 4 else 2  # a long; else a short
            return int.from_bytes(exif[at + 8 : at + 8 + size], order)
    return None


def turn(x: np.ndarray, orientation: int) -> np.ndarray:
    """The image upright, (H, W, C): EXIF stores how the camera was held."""
    if orientation in (5, 6, 7, 8):
        x = x.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        x = x[:, ::-1]
    if orientation in (3, 4, 7, 8):
        x = x[::-1]
    return x


def resize(x: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """(H, W, C) to (*size, C): bilinear, antialiased when it shrinks."""
    if size is None or x.shape[:2] == tuple(size):
        return np.ascontiguousarray(x)
    image = scaled(np.ascontiguousarray(x[..., 0] if x.shape[2] == 1 else x), size)
    return np.ascontiguousarray(image).reshape(*size, x.shape[2])


def scaled(x: Shaped[np.ndarray, "H W ..."], size: tuple[int, int]) -> Shaped[np.ndarray, "out_H out_W ..."]:
    """One channel, or RGB bytes, at ``size`` (height, width). Other types than bytes are scaled in float32."""
    image = Image.fromarray(x if x.dtype == np.uint8 else x.astype(np.float32))
    return np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
