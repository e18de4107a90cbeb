"""Damages files at random and feeds them to every reader, which must refuse them in words, in time and in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import resource
import signal
import struct
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import jax
import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.data.images import decode
from cnncli.data.sources.cifar import Cifar10, read_archive
from cnncli.data.sources.idx import read_idx
from cnncli.data.sources.npz import Npz
from cnncli.errors import CnnError, Place
from cnncli.runs import checkpoint
from cnncli.runs.records import validated
from cnncli.train.loop_state import LoopState, SavedState
from cnncli.train.state import leaf_name, optimizer_from_arrays, weights_from_arrays
from cnncli.train.step import LearningRate, make_model, make_optimizer

SECONDS, BYTES = 5.0, 1 << 30
Mutation = tuple[str, int, bytes]  # what, where (modulo the length), with which bytes
KINDS = ("set", "flip", "insert", "delete", "cut", "repeat", "swap")


def mutated(data: bytes, mutations: list[Mutation]) -> bytes:
    """``data`` after every mutation in turn."""
    for kind, where, piece in mutations:
        at, size = where % (len(data) + 1), len(piece)
        if kind == "set":
            data = data[:at] + piece + data[at + size :]
        elif kind == "flip":
            data = data[:at] + bytes(byte ^ (1 << where % 8) for byte in data[at : at + 1]) + data[at + 1 :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + 4 * size :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "repeat":
            data = data[:at] + data[at : at + 8 * size] * (2 + where % 40) + data[at:]
        else:
            other = where // 7 % (len(data) + 1)
            a, b = sorted((at, other))
            data = data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]
    return data[: 1 << 21]


class HangError(BaseException):
    """Raised by the alarm; not an Exception, so that no reader takes it for damage."""


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """HangError after five seconds of computing, or ten times as long of waiting; AssertionError over a gibibyte."""

    def stop(*_: object) -> None:
        raise HangError(f"over {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < BYTES, f"took {grown:,} bytes"


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader. ``seeds``: sound files. ``pieces``: bytes that mean something to it. ``read``: a file in a folder."""

    seeds: list[bytes]
    pieces: list[bytes]
    read: Callable[[Path, bytes], None]
    fix: Callable[[bytes], bytes] = bytes  # makes checksums right again, so that damage gets past them

    def refuses_or_reads(self, folder: Path, data: bytes) -> None:
        """Anything but a result or a CnnError, in time and memory, is an error of the test."""
        with limits(), contextlib.suppress(CnnError):
            self.read(folder, data)

    def draw(self, random: Random) -> bytes:
        """A damaged file."""
        mutations = []
        for _ in range(random.choice((1, 1, 2, 4, 12))):
            piece = random.choice(self.pieces) if random.random() < 0.6 else random.randbytes(random.choice((1, 2, 8)))
            mutations.append((random.choice(KINDS), random.getrandbits(40), piece))
        data = mutated(random.choice(self.seeds), mutations)
        return self.fix(data) if random.random() < 0.8 else data


NUMBERS = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", bytes(8), b"\xff" * 8, b"\0\0\0\1", b"\1\0\0\0"]


def read_config(folder: Path, data: bytes) -> None:
    """The whole way of a config: text, blocks, fields, graph."""
    (folder / "x.yaml").write_bytes(data)
    load(folder / "x.yaml")


BLOCKS = b"""\
data: {source: {folder: {path: x, size: 8}}, preprocess: [{pad: 2}, standardize], augment: [{random_shift: 1}]}
blocks: {b: {params: [w, k: 3], layers: [{conv: {filters: $w, kernel: $k, padding: same}}, batch_norm, relu]}}
model:
  input: [12, 12, 3]
  layers:
    - b: 4
    - {residual: [b: {w: 4, k: [3, 1]}], name: r}
    - branches: [[max_pool: 2], [{conv: {filters: 2, kernel: 2, stride: 2}}]]
    - repeat: {times: 2, layers: [{conv: {filters: 6, init: {gaussian: {sigma: 1}}, padding: [[1, 1], [0, 1]]}}]}
    - {upsample: 2, from: branches1}
    - fc: 10
train: {epochs: 3, optimizer: {adamw: {lr: 1e-3, b1: 0.9}}, schedule: {cosine: {warmup: 5 %}}, batch_size: 32}
"""
WORDS = [
    b"\n", b"  ", b"\n    - ", b": ", b"[", b"]", b"{", b"}", b", ", b"- ", b"'", b'"', b"#", b"&a ", b"*a",
    b"!!int ", b"|\n",
    b">\n", b"---\n", b"\t", b"\0", b"\xff", b"\r", b"?", b"~", b"null", b"true", b".nan", b"-.inf", b"1e999", b"0",
    b"-1",
    b"1e-3", b"0.5", b"1048576", b"99999999999999999999", b"$w", b"$", b"3 steps", b"5 %", b"name: a", b"from: [a, b]",
    b"conv", b"relu", b"repeat: {times: 9999, layers: [", b"residual: [", b"branches: [[", b"upsample: 9999", b"concat",
    b"max_pool: {kernel: 1, stride: 100}", b"pad", b"padding: 1000000", b"flatten", b"aux: [", b"maxout: 3",
    b"resize: 9999",
    b"max_unpool: max_pool1", b"lrn", b"inline: {inputs: [[0]], labels: [0]}", b"given: [[1, 2], [3]]", b"as",
    b"\xe2\x80\xa8",
]  # fmt: skip


def idx(shape: tuple[int, ...]) -> bytes:
    """An IDX file of zeros."""
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes(int(np.prod(shape)))


def read_idx_file(folder: Path, data: bytes) -> None:
    """As images, then as labels."""
    (folder / "x").write_bytes(data)
    for rank in (3, 1):
        with contextlib.suppress(CnnError):
            read_idx(folder / "x", rank)


def pictures() -> list[bytes]:
    """Small pictures of every mode and option that is read."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (9, 7), np.uint8))
    colour = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 1 << 16, (9, 7), np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    made: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("PNG", grey, {}), ("PNG", colour, {"exif": exif}), ("PNG", colour.convert("RGBA"), {}), ("PNG", deep, {}),
        ("PNG", colour.convert("P"), {"transparency": 3}), ("PNG", grey.convert("1"), {}), ("PNG", grey.convert("LA"),
        {}),
        ("PNG", colour, {"save_all": True, "append_images": [colour]}), ("JPEG", grey, {}), ("JPEG", colour,
        {"exif": exif}),
        ("PNG", grey, {"transparency": 7}), ("PNG", grey.convert("1"), {"transparency": 0}),
        ("PNG", deep, {"transparency": 300}), ("PNG", colour, {"transparency": (1, 2, 3)}),
        ("JPEG", colour, {"xmp": b'<x tiff:Orientation="6"/>'}), ("JPEG", colour.convert("CMYK"), {}),
        ("JPEG", colour, {"progressive": True}), ("JPEG", colour, {"optimize": True}),
    ]  # fmt: skip
    files = []
    for form, image, options in made:
        out = io.BytesIO()
        image.save(out, form, **options)
        files.append(out.getvalue())
    return files


def png_sums(data: bytes) -> bytes:
    """Every chunk's checksum made right, as far as chunks can be followed."""
    fixed, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(fixed)


def read_picture(folder: Path, data: bytes) -> None:
    """Grey and in colour."""
    (folder / "x").write_bytes(data)
    decode(folder / "x", 1 + 2 * (len(data) % 2), (5, 4) if len(data) % 3 else None)


def npz(**options: bool) -> bytes:
    """Two splits and names."""
    out = io.BytesIO()
    save = np.savez_compressed if options.get("packed") else np.savez
    x, y = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([0, 1])
    save(out, x_train=x, y_train=y, x_test=x, y_test=y, x_val=x, y_val=y, classes=np.array(["a", "b"]))
    return out.getvalue()


def zip_sums(data: bytes) -> bytes:
    """Checksums of members made right in both headers, as far as members can be followed."""
    fixed, at, central = bytearray(data), 0, data.find(b"PK\1\2")
    while data[at : at + 4] == b"PK\3\4" and at + 30 <= len(data):
        packed = int.from_bytes(data[at + 18 : at + 22], "little")
        name, extra = struct.unpack("<HH", data[at + 26 : at + 30])
        if packed == 0xFFFFFFFF:  # NumPy writes zip64
            packed = int.from_bytes(data[at + 42 + name : at + 50 + name], "little")
        content = data[at + 30 + name + extra : at + 30 + name + extra + packed]
        if data[at + 8 : at + 10] == b"\x08\0":
            with contextlib.suppress(zlib.error):
                content = zlib.decompressobj(-15).decompress(content, 1 << 20)
        total = struct.pack("<I", zlib.crc32(content))
        fixed[at + 14 : at + 18] = total
        if central >= 0:
            fixed[central + 16 : central + 20] = total
            central = data.find(b"PK\1\2", central + 4)
        at += 30 + name + extra + packed
    return bytes(fixed[: len(data)])


def read_npz_file(folder: Path, data: bytes) -> None:
    """As a data source."""
    (folder / "x.npz").write_bytes(data)
    Npz(path=str(folder / "x.npz")).load(None, lambda *_: None)


SMALL = dataclasses.replace(Cifar10.layout, files={"data_batch_1.bin": 1, "test_batch.bin": 1})


def tar(packed: bool) -> bytes:
    """CIFAR's archive of two pictures."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in SMALL.files:
            info = tarfile.TarInfo(f"{SMALL.folder}/{name}")
            info.size = SMALL.size(name)
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return gzip.compress(out.getvalue(), mtime=0) if packed else out.getvalue()


def read_cifar(folder: Path, data: bytes) -> None:
    """Its archive, packed here where it is not."""
    (folder / "x").write_bytes(data if data.startswith(b"\x1f\x8b") else gzip.compress(data, compresslevel=1))
    Cifar10()._split(folder / "x", read_archive(folder / "x", SMALL, SMALL.files), list(SMALL.files))


class Checkpoints:
    """One sound checkpoint of a small network; its parts are damaged and signed again."""

    def __init__(self) -> None:
        loaded = load(bundled_configs()["xor"])
        model = make_model(loaded)
        self.ema = bool(loaded.config.train.ema)
        optimizer = make_optimizer(loaded.config, model, LearningRate(loaded.config.train, 1, 1))
        key = jax.random.key(0)
        self.template = jax.eval_shape(model.init, key)
        self.slots = jax.eval_shape(optimizer.init, self.template.params)

        def zeros(tree: object) -> dict[str, np.ndarray]:
            leaves = jax.tree_util.tree_leaves_with_path(tree)
            return {leaf_name(path): np.zeros(leaf.shape, leaf.dtype) for path, leaf in leaves}

        from safetensors.numpy import save

        weights = {**self.template.params, **self.template.state}
        params = save({name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in weights.items()})
        told = {"classes": ["0", "1"], "image_shape": [2], **LoopState.at_start().model_dump(), "step": 3}
        parts = (params, save(zeros(self.slots)), json.dumps(told).encode())
        self.parts = dict(zip(checkpoint.FILES, parts, strict=True))

    def manifest(self, parts: dict[str, bytes]) -> bytes:
        """Sizes and digests of ``parts``, in the format that does not sign itself: damage gets further."""
        files = {name: {"size": len(part), "sha256": hashlib.sha256(part).hexdigest()} for name, part in parts.items()}
        manifest = {"format": 1, "step": 3, "validation": None, "files": files}
        return json.dumps(manifest).encode()

    def seeds(self) -> list[bytes]:
        """A byte that says which file, then that file."""
        parts = [*self.parts.values(), self.manifest(self.parts)]
        return [bytes([number]) + part for number, part in enumerate(parts)]

    def read(self, folder: Path, data: bytes) -> None:
        """With one file in the place of the sound one, everything else signed anew; then as a resumed run does."""
        names = [*checkpoint.FILES, "manifest.json"]
        name, content = names[(data[0] if data else 0) % len(names)], data[1:]
        parts = {**self.parts, **({name: content} if name in self.parts else {})}
        for each, part in {**parts, "manifest.json": self.manifest(parts), name: content}.items():
            (folder / each).write_bytes(part)
        contents = checkpoint.load(folder)
        weights_from_arrays(contents.params, self.template, self.ema, Place(str(folder)))
        optimizer_from_arrays(self.slots, contents.optimizer, Place(str(folder)))
        validated(TypeAdapter(SavedState), json.dumps(contents.state).encode(), Place("state.json"))


JSON = [
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"NaN", b"-1", b"1e999", b"9" * 30, b'"F32"',
    b'"F64"', b'"BF16"',
    b'"BOOL"', b'"F8_E4M3"', b'"I64"', b'"shape"', b"[0, 0]", b"[4294967296, 4294967296]", b'"data_offsets"',
    b'"__metadata__"',
    b'"step"', b'"../x"', b"\\ud800", b"\xff",
]  # fmt: skip


def targets() -> dict[str, Target]:
    """Every reader of files from outside, by name."""
    made, images = Checkpoints(), idx((2, 3, 4))
    configs = [path.read_bytes() for path in bundled_configs().values() if path.stat().st_size < 3000]
    kinds = [b"IHDR", b"IDAT", b"IEND", b"tRNS", b"PLTE", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"eXIf", b"Exif\0\0",
             b"http://ns.adobe.com/xap/1.0/\0", b"tiff:Orientation>8", b"\0\0\0\6tRNS\0\1\0\2\0\3",
             b"\xff\xd8",
             b"\xff\xd9", b"\xff\xc0", b"\xff\xc2", b"\xff\xda", b"\xff\xe1", b"\xff\xee", b"Adobe"]  # fmt: skip
    numpy = [b"\x93NUMPY\x01\0", b"'descr': '|O'", b"'<f8'", b"'<U9'", b"'|V8'", b"(9999999999,)", b"()", b"True",
             b"PK\1\2",
             b"PK\3\4", b"PK\5\6", b"x_train.npy", b"../"]  # fmt: skip
    tars = [
        b"ustar",
        b"data_batch_1.bin",
        b"test_batch.bin",
        b"../",
        b"77777777777",
        b"x",
        b"L",
        b"2",
        b"S",
        b"g",
        bytes(512),
    ]
    return {
        "yaml": Target([BLOCKS, BLOCKS, *configs], WORDS, read_config),
        "checkpoint": Target(made.seeds(), JSON + NUMBERS, made.read),
        "image": Target(pictures(), kinds + NUMBERS, read_picture, png_sums),
        "idx": Target([images, idx((6,)), gzip.compress(images)], [b"\0\0\x08\x03", *NUMBERS], read_idx_file),
        "npz": Target([npz(), npz(packed=True)], numpy + NUMBERS, read_npz_file, zip_sums),
        "cifar": Target([tar(False), tar(True)], tars + NUMBERS, read_cifar),
    }


def hammer(target: Target, folder: Path, seconds: float, seed: int) -> tuple[int, dict[str, bytes]]:
    """Damaged files for so long: how many, and the first that made each kind of trouble."""
    random, count = Random(seed), 0
    trouble: dict[str, bytes] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = target.draw(random)
        count += 1
        try:
            target.refuses_or_reads(folder, data)
        except (Exception, HangError) as error:
            trace, last = error.__traceback__, ""
            while trace:
                last, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
            trouble.setdefault(f"{type(error).__name__} {last} {str(error)[:80]}", data)
    return count, trouble
