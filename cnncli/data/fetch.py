"""Where the files of a well-known data set are looked for, and how they are downloaded and checked."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, ClassVar

from pydantic import Field

from cnncli.data.base import Progress, Source
from cnncli.data.files import data_error, in_bytes, is_file, is_folder, reason, user_path
from cnncli.errors import MachineError, Place
from cnncli.spec import Pattern, sequence

if TYPE_CHECKING:
    import requests

TIMEOUT = 30  # seconds without a byte
RATE, PATIENCE = 1000, 60  # bytes a second at least, on average over so many seconds
REPORT_EVERY = 0.1  # seconds
CHUNK = 1 << 12
HOPS = 10  # redirections
CONTENT_LIMIT = 8  # MNIST's files grow at most fivefold when unpacked

Url = Annotated[
    str, Pattern(r"^https?://[^\s/]+", "an address that begins with http:// or https://"),
    Field(description="base URL, the file's name is appended"),
]  # fmt: skip


@dataclass(frozen=True)
class Remote:
    """A file that mirrors hold, its size in bytes and its SHA-256.

    ``content``: the SHA-256 of what it holds unpacked, where known: a copy that was gzipped again is as good.
    """

    name: str
    size: int
    sha256: str
    content: str = ""


class Downloaded(Source):
    """Base of the sources whose files can be fetched."""

    usual_mirrors: ClassVar[tuple[str, ...]] = ()

    mirrors: sequence(Url) | None = Field(  # type: ignore[valid-type]
        None, description="base URLs to fetch from, tried in order, instead of the usual ones; [] never fetches"
    )

    def fetch(self, remote: Remote, advice: str, progress: Progress) -> Path:
        """Download one file to the cache. ``advice``: how to provide it by hand."""
        return fetch(self.kind, remote, self.usual_mirrors if self.mirrors is None else self.mirrors, advice, progress)


class RefusedError(Exception):
    """What a mirror sent is not wanted; the text says why."""


def cache_dir(kind: str) -> Path:
    """Where downloads of a data set stay: the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("cnncli", appauthor=False)) / kind


def search_dirs(kind: str, folder: Path | None) -> list[Path]:
    """Folders in which a data set may lie, in order: the user's, ``$CNN_DATA_DIR``, the cache."""
    if folder is not None and not is_folder(folder):
        raise data_error(folder, "is not a folder, and data.dir names it")
    named = os.environ.get("CNN_DATA_DIR", "")
    roots = [root for root in (folder, user_path(named) if named else None) if root]
    return [*(place for root in roots for place in (root / kind, root)), cache_dir(kind)]


def find_together(kind: str, dirs: list[Path], files: Sequence[Sequence[str]]) -> list[Path] | None:
    """The first folder's files, each in one of its spellings. Only the cache may hold some and not all."""
    for place in dirs:
        found = [next((place / name for name in names if is_file(place / name)), None) for names in files]
        present = [path for path in found if path]
        if len(present) == len(files):
            return present
        if present and place != cache_dir(kind):
            missing = [names[0] for names, path in zip(files, found, strict=True) if path is None]
            raise data_error(place, f"has {present[0].name}, but not {', '.join(missing)}",
                             f"All {len(files)} files of {kind} belong into one folder.")  # fmt: skip
    return None


def fetch(kind: str, remote: Remote, mirrors: Sequence[str], advice: str, progress: Progress) -> Path:
    """Download to the cache from the first mirror that has the right file. ``advice``: what to do by hand."""
    path = cache_dir(kind) / remote.name
    failures: list[str] = []
    try:
        if mirrors:
            for folder in (path.parent.parent, path.parent):  # the cache's own, private; what is there stays as it is
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for base in mirrors:
            try:
                _fetch_one(f"{base.rstrip('/')}/{remote.name}", remote, path, progress)
                return path
            except RefusedError as error:
                failures.append(f"{_host(base)}: {error}")
    except OSError as error:
        raise MachineError.of(f"cannot write: {reason(error)}", advice, Place(str(path))) from None
    why = f", and could not be fetched ({'; '.join(failures)})" if failures else ", and mirrors: [] forbids to fetch it"
    raise data_error(path, f"{kind} is not on this machine{why}", advice)


def _host(base: str) -> str:
    """A mirror's name in an error: without the user and password that its address may hold."""
    from urllib.parse import urlsplit

    try:
        return urlsplit(base).hostname or base
    except ValueError:  # malformed
        return base.rpartition("@")[2]


def advise(names: Sequence[str], dirs: Sequence[Path]) -> str:
    """Which files to put where."""
    places = ", ".join(str(place) for place in dirs)
    return f"Put {', '.join(names)} into one folder: {places}, or any other that data.dir names."


def _fetch_one(url: str, remote: Remote, path: Path, progress: Progress) -> None:
    """One mirror: into a temporary sibling, checked, then renamed, so that a cut download leaves nothing behind."""
    handle, temporary = _temporary(path)
    try:
        with os.fdopen(handle, "wb") as stream:
            digest = _in_time(url, _Sink(stream, remote), progress)
        if digest != remote.sha256 and _content(temporary, remote) != remote.content:
            raise RefusedError(f"sends another file (SHA-256 {digest[:12]}..., due {remote.sha256[:12]}...)")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> tuple[int, Path]:
    """A new file beside ``path``, locked until it is closed; those that killed downloads left are removed."""
    import fcntl
    import tempfile

    for left in path.parent.glob(f".{path.name}.*"):
        with suppress(OSError), open(left, "ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while a download writes there
            left.unlink()
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with suppress(OSError):  # a file system without locks: nothing is removed there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):  # not removed by another's start, before it was locked
            return handle, Path(name)
        os.close(handle)


def _in_time(url: str, sink: _Sink, progress: Progress) -> str:
    """``_download`` in a thread that is left alone when the mirror is slower than RATE for PATIENCE seconds.

    A mirror can be slow in every part of its answer, and no library has a limit for the whole.
    """
    answer: Future[str] = Future()

    def work() -> None:
        try:
            answer.set_result(_download(url, sink))
        except BaseException as error:  # told to who waits
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    start, before = time.monotonic(), 0
    while not wait([answer], REPORT_EVERY).done:
        sink.report(progress)
        if time.monotonic() - start > PATIENCE:
            if sink.done - before < RATE * PATIENCE:
                raise RefusedError(f"sends less than {in_bytes(RATE)} a second")
            start, before = time.monotonic(), sink.done
    sink.report(progress)
    return answer.result()


def _download(url: str, sink: _Sink) -> str:
    """The SHA-256 of what the mirror sent into ``sink``."""
    import requests
    import urllib3

    try:
        with requests.Session() as session, _answer(session, url) as response:
            response.raise_for_status()
            for chunk in response.iter_content(CHUNK):
                sink.write(chunk)
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise RefusedError(_why(error)) from None
    if sink.done == 0:
        raise RefusedError("sends nothing")
    return sink.digest.hexdigest()


def _answer(session: requests.Session, url: str) -> requests.Response:
    """The last response after at most HOPS redirections. The contents of those before are not read."""
    from urllib.parse import urljoin

    import requests

    # Identity: a server that marks a .gz as "Content-Encoding: gzip" would have it unpacked on the way.
    session.headers["Accept-Encoding"] = "identity"
    session.trust_env = False  # else the passwords in .netrc are sent to any host that a config or a mirror names
    for _ in range(HOPS):
        # The environment's proxies and certificates still count.
        settings = requests.Session().merge_environment_settings(url, {}, True, None, None)
        request = session.prepare_request(requests.Request("GET", url))
        # Session.send reads the whole content of a redirection, without a limit.
        response = session.get_adapter(request.url or url).send(request, timeout=TIMEOUT, **settings)
        if not response.is_redirect:
            return response
        with response:
            url = urljoin(url, session.get_redirect_target(response))
    raise RefusedError("redirects without end")


def _why(error: Exception) -> str:
    """A failed request in a few words."""
    import requests

    words: list[tuple[type[Exception], Callable[[Any], str]]] = [
        (requests.HTTPError, lambda e: f"answers {e.response.status_code}"),
        (requests.Timeout, lambda e: f"no answer in {TIMEOUT} s"),
        (requests.exceptions.SSLError, lambda e: "its certificate is not valid"),
        (requests.exceptions.ChunkedEncodingError, lambda e: "the connection was cut"),
        (requests.exceptions.ContentDecodingError, lambda e: "what it sends cannot be unpacked"),
        (requests.ConnectionError, lambda e: "no connection"),
        (ValueError, lambda e: "its answer, or an address in it, is malformed"),
    ]
    return next((say(error) for kind, say in words if isinstance(error, kind)), type(error).__name__)


@dataclass
class _Sink:
    """A file that counts and hashes what is written, and refuses far more than is due."""

    stream: BinaryIO
    remote: Remote
    done: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def write(self, chunk: bytes) -> None:
        """Take the next piece."""
        self.done += len(chunk)
        if self.done > 2 * self.remote.size:
            raise RefusedError(f"sends more than the {in_bytes(self.remote.size)} of the file")
        self.stream.write(chunk)
        self.digest.update(chunk)

    def report(self, progress: Progress) -> None:
        """How much there is."""
        progress(f"fetching {self.remote.name}", self.done, self.remote.size)


def _content(path: Path, remote: Remote) -> str | None:
    """SHA-256 of a gzip file's content, or None where there is nothing to compare it with."""
    if not remote.content:
        return None
    digest, left = hashlib.sha256(), CONTENT_LIMIT * remote.size
    try:
        with gzip.open(path) as stream:
            while left > 0 and (chunk := stream.read(CHUNK)):
                digest.update(chunk)
                left -= len(chunk)
    except (OSError, EOFError, zlib.error):
        return None
    return digest.hexdigest()
