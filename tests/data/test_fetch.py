"""Downloads, against a server on this machine: the right file, the wrong one, none, and a cut connection."""

import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pytest

from cnncli.data import fetch as fetching
from cnncli.data.fetch import Remote
from cnncli.data.named import FashionMnist, Mnist
from cnncli.errors import DataError, MachineError


def idx_gz(array, level=9):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), compresslevel=level, mtime=0)


RNG = np.random.default_rng(0)
ARRAYS = {
    "train-images-idx3-ubyte.gz": RNG.integers(0, 256, (20, 28, 28), np.uint8),
    "train-labels-idx1-ubyte.gz": np.arange(20, dtype=np.uint8) % 10,
    "t10k-images-idx3-ubyte.gz": RNG.integers(0, 256, (10, 28, 28), np.uint8),
    "t10k-labels-idx1-ubyte.gz": np.arange(10, dtype=np.uint8),
}
FILES = {name: idx_gz(array) for name, array in ARRAYS.items()}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, how, name = self.path.split("/")
        self.server.asked.append(self.path)
        data = {"again": idx_gz(ARRAYS[name], 1), "wrong": b"<html>sign in</html>"}.get(how, FILES[name])
        if how == "long":
            data = bytes(1_000_000)
        self.send_response(404 if how == "none" else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if how == "cut" else data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache of our own, small files in MNIST's place, and no proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "CNN_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remotes = tuple(
        Remote(name, len(data), hashlib.sha256(data).hexdigest(), hashlib.sha256(gzip.decompress(data)).hexdigest())
        for name, data in FILES.items()
    )
    monkeypatch.setattr(Mnist, "files", remotes)
    return tmp_path / "cache" / "cnncli" / "mnist"


def load(server, *hows, progress=lambda *_: None):
    return Mnist(mirrors=[f"{server.url}/{how}" for how in hows]).load(None, progress)


def test_fetched_once_then_found(server, cache):
    told = []
    data = load(server, "good", progress=lambda *report: told.append(report))
    assert np.array_equal(data.train.images[..., 0], ARRAYS["train-images-idx3-ubyte.gz"])
    assert sorted(path.name for path in cache.iterdir()) == sorted(FILES)
    assert len(server.asked) == 4
    assert told[-1] == ("fetching t10k-labels-idx1-ubyte.gz", *[len(FILES["t10k-labels-idx1-ubyte.gz"])] * 2)
    assert load(server, "good").fingerprint() == data.fingerprint()
    assert len(server.asked) == 4


def test_the_cache_is_private(server, cache):
    load(server, "good")
    modes = [path.stat().st_mode & 0o777 for path in (cache.parent, cache, *cache.iterdir())]
    assert modes == [0o700, 0o700, *[0o600] * 4]


def test_a_file_gzipped_again_is_as_good(server, cache):
    load(server, "again")
    assert gzip.decompress((cache / "t10k-images-idx3-ubyte.gz").read_bytes())[16:] == ARRAYS[
        "t10k-images-idx3-ubyte.gz"
    ].tobytes()  # fmt: skip


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("none", "127.0.0.1: answers 404"),
        ("wrong", "127.0.0.1: sends another file"),
        ("cut", "127.0.0.1: the connection was cut"),
        ("long", "127.0.0.1: sends more than the"),
    ],
)
def test_a_bad_mirror(server, cache, how, says):
    with pytest.raises(DataError, match=says) as caught:
        load(server, how)
    assert list(cache.iterdir()) == []
    for part in (*FILES, str(cache), "data.dir"):
        assert part in str(caught.value)
    assert len(load(server, how, "good").train) == 20


def test_the_rest_of_an_interrupted_set_is_fetched(server, cache):
    load(server, "good")
    (cache / "t10k-labels-idx1-ubyte.gz").unlink()
    load(server, "good")
    assert len(server.asked) == 5


def test_no_connection(server, cache):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"127\.0\.0\.1: no connection"):
        Mnist(mirrors=[url]).load(None, lambda *_: None)


def test_no_mirrors_never_fetches(cache):
    with pytest.raises(DataError, match=r"mirrors: \[\] forbids"):
        Mnist(mirrors=[]).load(None, lambda *_: None)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written(server, cache):
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where a folder is due")
    with pytest.raises(MachineError, match="cannot write"):
        load(server, "good")


def test_a_full_disk(server, monkeypatch, cache):
    def full(self, chunk):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching._Sink, "write", full)
    with pytest.raises(MachineError, match="cannot write: no space left"):
        load(server, "good")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("place", ["", "mnist"])
@pytest.mark.parametrize("spelling", ["{}", "{}.gz", "dots"])
def test_looked_for_in_the_users_folders(tmp_path, monkeypatch, place, spelling):
    folder = tmp_path / "data" / place
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        plain = name.removesuffix(".gz")
        named = plain.replace("-idx", ".idx") if spelling == "dots" else spelling.format(plain)
        (folder / named).write_bytes(data if named.endswith(".gz") else gzip.decompress(data))
    first = Mnist(mirrors=[]).load(tmp_path / "data", lambda *_: None)
    monkeypatch.setenv("CNN_DATA_DIR", str(tmp_path / "data"))
    assert Mnist(mirrors=[]).load(None, lambda *_: None).fingerprint() == first.fingerprint()


def test_part_of_a_set_in_the_users_folder(server, tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(FILES["train-images-idx3-ubyte.gz"])
    with pytest.raises(DataError, match=r"has train-images\S+, but not train-labels\S+, t10k-im"):
        Mnist(mirrors=[server.url + "/good"]).load(tmp_path, lambda *_: None)
    assert server.asked == []


def test_the_other_data_set_of_the_same_names(tmp_path):
    for name, array in ARRAYS.items():
        seven = np.array([7, 2, 1, 0, 4, 1, 4, 9, 5, 9], np.uint8)
        (tmp_path / name).write_bytes(idx_gz(seven if name.startswith("t10k-labels") else array))
    assert len(Mnist(mirrors=[]).load(tmp_path, lambda *_: None).test) == 10
    with pytest.raises(DataError, match="holds the labels of mnist, not of fashion_mnist"):
        FashionMnist(mirrors=[]).load(tmp_path, lambda *_: None)


def test_images_of_another_size(tmp_path):
    for name, array in ARRAYS.items():
        (tmp_path / name).write_bytes(idx_gz(array[:, :27] if array.ndim == 3 else array))
    with pytest.raises(DataError, match="holds images of 27x28, mnist is 28x28"):
        Mnist(mirrors=[]).load(tmp_path, lambda *_: None)


def test_usual_mirrors_and_checksums_are_whole():
    from cnncli.data.cifar import Cifar10, Cifar100

    for source in (FashionMnist, Cifar10, Cifar100):
        remotes = source.files if source is FashionMnist else (source.layout.archive,)
        assert all(len(bytes.fromhex(remote.sha256)) == 32 and remote.size > 1000 for remote in remotes)
        assert all(mirror.startswith("http") for mirror in source.usual_mirrors)
