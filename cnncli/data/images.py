"""One image file to an array of bytes. JPEG and PNG are read, told by their content; nothing else is.

How what is stored becomes grey or RGB bytes:

- EXIF orientation is applied. Of an animation the first frame counts.
- 16-bit samples keep their high byte; palettes and 1-bit images become the colours they stand for.
- Transparency is composited on black: black is what padding shows to a network.
- CMYK becomes RGB by the plain formula, without colour profiles.
- Colour to grey: 0.299 R + 0.587 G + 0.114 B (a JPEG's own luma). Grey to RGB: three times the same.
- A ``size`` resizes with bilinear interpolation and antialiasing; the aspect ratio is not kept.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cnncli.data.files import DEFLATE_RATIO, data_error, in_bytes, open_regular
from cnncli.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
MAX_BYTES = 256 << 20
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's pixel, by its colour type
OTHERS = {b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript",
          b"BM": "BMP", b"%PDF": "PDF", b"RIFF": "WebP", b"<svg": "SVG", b"<?xm": "XML"}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What an image says of itself before it is decoded. ``bits``: of a PNG's pixel."""

    format: Literal["JPEG", "PNG"]
    height: int
    width: int
    components: int = 0
    exif: bytes = b""
    bits: int = 0


def decode(path: Path, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """The image at ``path`` as uint8 (H, W, channels), channels 1 or 3. DataError names the file."""
    data = _read(path)
    try:
        header = read_header(data)
        if not 0 < header.height * header.width <= MAX_PIXELS:
            raise data_error(path, f"has {header.width:,} x {header.height:,} pixels",
                             f"At least 1 and at most {MAX_PIXELS:,} are read.")  # fmt: skip
        if header.height * header.width * header.bits > 8 * DEFLATE_RATIO * len(data):  # Pillow would make up the rest
            raise ValueError("it is cut: it cannot hold as many pixels as it promises")
        pixels, exif = _decoded(data, header, channels)
    except DataError:
        raise
    except Exception as error:  # a parser of damaged or hostile bytes may raise anything
        raise data_error(path, f"is damaged: {error or type(error).__name__}") from None
    return resize(turn(pixels, orientation(exif)), size)


def _read(path: Path) -> bytes:
    """All bytes of a file that begins as a JPEG or PNG."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MAX_BYTES:
            raise data_error(path, f"has {in_bytes(size)}, at most {in_bytes(MAX_BYTES)} are read")
        data = stream.read(size)
    if not data:
        raise data_error(path, "is empty (0 bytes)")
    if not data.startswith((JPEG, PNG)):
        known = next((name for magic, name in OTHERS.items() if data.startswith(magic)), "")
        what = f"is a {known} file" if known else f"begins with {data[:4].hex(' ')}"
        raise data_error(path, f"is no JPEG or PNG: it {what}", "Convert it to PNG.")
    return data


def read_header(data: bytes) -> Header:
    """Size, and of a JPEG the EXIF block, without decoding. ValueError where it is damaged."""
    return _jpeg_header(data) if data.startswith(JPEG) else _png_header(data)


def _png_header(data: bytes) -> Header:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise ValueError("its header is cut")
    if b"IEND\xaeB\x60\x82" not in data:
        raise ValueError("it is cut: its end is missing")
    height, width = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    return Header("PNG", height, width, bits=data[24] * SAMPLES.get(data[25], 1))


def _jpeg_header(data: bytes) -> Header:
    """Walk the segments up to the frame header (ITU T.81, B.2)."""
    at, exif = 2, b""
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 9:
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:  # fill bytes and markers without a body
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            exif = data[at + 10 : at + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if data.find(b"\xff\xd9", at) < 0:
                raise ValueError("it is cut: its end is missing")
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            return Header("JPEG", height, width, data[at + 9], exif)
        at += 2 + max(length, 2)
    raise ValueError("its header is cut")


def _decoded(data: bytes, header: Header, channels: int) -> tuple[np.ndarray, bytes]:
    """Pixels (H, W, channels) as stored, and the EXIF block."""
    if header.format == "JPEG" and header.components in (1, 3):
        import simplejpeg

        try:
            if simplejpeg.decode_jpeg_header(data)[:2] == (header.height, header.width):
                colours = "GRAY" if channels == 1 else "RGB"
                return simplejpeg.decode_jpeg(data, colours, fastdct=False, fastupsample=False), header.exif
        except ValueError:  # a mere warning of libjpeg is one too: Pillow tells what is truly broken
            pass
    return _by_pillow(data, header, channels)


def _by_pillow(data: bytes, header: Header, channels: int) -> tuple[np.ndarray, bytes]:
    """What the fast path does not read: PNG, CMYK, and JPEG that libjpeg warns about."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=[header.format]) as image:
        if image.size != (header.width, header.height):
            raise ValueError("it holds two sizes")
        image.load()
        exif = header.exif or image.info.get("exif", b"").removeprefix(b"Exif\0\0")
        pixels = np.asarray(_flattened(image).convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(header.height, header.width, channels), exif


def _flattened(image: Image) -> Image:
    """8-bit and opaque."""
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image


def orientation(exif: bytes) -> int:
    """EXIF's tag 0x0112, 1 to 8; 1 where there is none or the block is damaged."""
    order: Any = {b"II": "little", b"MM": "big"}.get(exif[:2], "")
    if not order:
        return 1
    first = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[first : first + 2], order)
    for at in range(first + 2, min(first + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == 0x0112:
            value = int.from_bytes(exif[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


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
    import numpy as np
    from PIL import Image

    if size is None or x.shape[:2] == tuple(size):
        return np.ascontiguousarray(x)
    image = Image.fromarray(np.ascontiguousarray(x[..., 0] if x.shape[2] == 1 else x))
    resized = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(resized).reshape(*size, x.shape[2])
