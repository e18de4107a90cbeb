"""Downloads, against a server on this machine: the right file, the wrong one, none, and a cut connection."""

import contextlib
import fcntl
import gc
import gzip
import hashlib
import http.server
import os
import struct
import threading
import time

import numpy as np
import pytest

from cnncli.data import fetch as fetching
from cnncli.data.sources.downloaded import Remote
from cnncli.data.sources.mnist import FashionMnist, Mnist
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


LENGTHS = {"length-word": "many", "length-minus": "-1", "length-less": "9", "length-more": "99999", "lengths": "5, 6"}
LOCATIONS = {
    "to-good": b"http://HERE/good/",
    "to-itself": b"/to-itself/",
    "to-nothing": b"",
    "to-half-an-address": b"http://[::1/",
    "to-a-bad-port": b"http://127.0.0.1:99999999/",
    "to-latin-1": b"http://b\xfccher.invalid/",
    "to-utf-8": "http://bücher\u2028.invalid/".encode(),
    "to-a-long-name": b"http://" + b"a" * 70 + b".invalid/",
    "to-a-file": b"file:///etc/passwd?",
    "to-spaces": b"http:// /",
    "flood": b"http://[::1/",
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, how, name = self.path.split("/")
        self.server.asked.append(self.path)
        self.server.passwords.append(self.headers["Authorization"])
        if how in LOCATIONS:
            here = f"localhost:{self.server.server_port}".encode()
            return self.redirect(LOCATIONS[how].replace(b"HERE", here) + name.encode())
        if how == "trickle-head":
            return self.trickle(b"HTTP/1.0 200 OK\r\nX-Slow: " + b"x" * 2000)
        data = {"again": idx_gz(ARRAYS[name], 1), "wrong": b"<html>sign in</html>"}.get(how, FILES[name])
        if how == "long":
            data = bytes(1_000_000)
        self.send_response(404 if how == "none" else 200)
        self.send_header("Content-Length", LENGTHS.get(how, str(len(data))))
        self.end_headers()
        if how == "trickle":
            return self.trickle(data)
        self.wfile.write(data[: len(data) // 2] if how == "cut" else data)

    def redirect(self, location):
        self.wfile.write(b"HTTP/1.0 302 Found\r\nLocation: " + location + b"\r\n\r\n")
        with contextlib.suppress(OSError):  # the reader leaves
            for _ in range(1000 if self.path.startswith("/flood") else 0):
                self.wfile.write(bytes(1 << 20))

    def trickle(self, data):
        """A byte a hundredth of a second."""
        with contextlib.suppress(OSError):
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(0.01)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.passwords = [], []
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
        ("length-less", "127.0.0.1: sends another file"),
        ("length-more", "127.0.0.1: the connection was cut"),
        ("to-itself", "127.0.0.1: redirects without end"),
        *((how, "127.0.0.1: ") for how in LOCATIONS if how not in ("to-good", "to-itself")),
    ],
)
def test_a_bad_mirror(server, cache, how, says):
    with pytest.raises(DataError, match=says) as caught:
        load(server, how)
    assert list(cache.iterdir()) == []
    for part in (*FILES, str(cache), "data.dir"):
        assert part in str(caught.value)
    assert len(load(server, how, "good").train) == 20


@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
def test_two_lengths(server, cache):
    """urllib3 then forgets to close its connection."""
    with pytest.raises(DataError, match=r"127\.0\.0\.1: its answer, or an address in it, is malformed"):
        load(server, "lengths")
    assert len(load(server, "lengths", "good").train) == 20
    gc.collect()


@pytest.mark.parametrize("how", ["length-word", "length-minus", "to-good"])
def test_a_mirror_that_is_good_enough(server, cache, how):
    """The SHA-256 decides, not the length that it tells."""
    assert len(load(server, how).train) == 20


@pytest.mark.parametrize("base", ["http://[::1", "http://127.0.0.1:port", "http://bü\u2028cher", "http://.", "http://a..b",
                                  "http://" + "a" * 70, "http://me:secret@[half"])  # fmt: skip
def test_a_malformed_mirror_before_a_good_one(server, cache, base):
    assert len(Mnist(mirrors=[base, f"{server.url}/good"]).load(None, lambda *_: None).train) == 20
    (cache / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="mnist is not on this machine, and could not be fetched") as caught:
        Mnist(mirrors=[base]).load(None, lambda *_: None)
    assert "secret" not in str(caught.value)


def test_no_password_of_netrc_is_sent(server, cache, tmp_path, monkeypatch):
    """Neither to the host that a config names nor to that of a redirection."""
    hosts = [f"machine {host} login me password mine\n" for host in ("127.0.0.1", "localhost")]
    (tmp_path / "netrc").write_text("".join(hosts))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    load(server, "to-good")
    assert len(server.passwords) == 8
    assert set(server.passwords) == {None}


def test_a_password_in_the_address_goes_to_that_host_alone(server, cache):
    url = server.url.replace("http://", "http://me:mine@")
    Mnist(mirrors=[f"{url}/to-good"]).load(None, lambda *_: None)
    assert [bool(password) for password in server.passwords] == [True, False] * 4


@pytest.mark.parametrize("how", ["trickle", "trickle-head"])
def test_a_mirror_that_is_too_slow(server, cache, monkeypatch, how):
    monkeypatch.setattr(fetching, "PATIENCE", 0.2)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"127\.0\.0\.1: sends less than 1,000 bytes a second"):
        load(server, how)
    assert time.monotonic() - start < 2
    assert len(load(server, how, "good").train) == 20
    assert sorted(path.name for path in cache.iterdir()) == sorted(FILES)


def test_what_killed_downloads_left_is_removed(server, cache):
    cache.mkdir(parents=True)
    name = "train-images-idx3-ubyte.gz"
    for left in ("killed", "writing"):
        (cache / f".{name}.{left}").write_bytes(b"a part")
    with open(cache / f".{name}.writing", "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # as the download in another process does
        load(server, "good")
        assert sorted(path.name for path in cache.iterdir()) == sorted([*FILES, f".{name}.writing"])


def test_a_running_download_is_not_removed(cache):
    cache.mkdir(parents=True)
    handle, first = fetching._temporary(cache / "a")
    other, second = fetching._temporary(cache / "a")
    assert first.exists()
    assert second.exists()
    os.close(handle)
    os.close(other)


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
    from cnncli.data.sources.cifar import Cifar10, Cifar100

    for source in (FashionMnist, Cifar10, Cifar100):
        remotes = source.files if source is FashionMnist else (source.layout.archive,)
        assert all(len(bytes.fromhex(remote.sha256)) == 32 and remote.size > 1000 for remote in remotes)
        assert all(mirror.startswith("http") for mirror in source.usual_mirrors)
