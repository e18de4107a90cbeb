"""Downloads of data sets: from the first mirror that has the right file, checked by its SHA-256."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from cnncli.errors import MachineError, Place
from cnncli.safe_files import data_error, reason
from cnncli.text import in_bytes

if TYPE_CHECKING:
    from cnncli.data.sources.downloaded import Remote
    from cnncli.data.sources.source import Progress

TIMEOUT = 30  # seconds without a byte
# The least speed in bytes a second, on average over so many seconds.
RATE, PATIENCE = 1000, 60
REPORT_EVERY = 0.1  # seconds
CHUNK = 1 << 12
MAX_REDIRECTIONS = 10
CONTENT_LIMIT = 8  # MNIST's files grow at most fivefold when unpacked


class RefusedError(Exception):
    """A mirror sent something unusable; the text says why."""


def fetch(path: Path, kind: str, remote: Remote, mirrors: Sequence[str], advice: str, progress: Progress) -> Path:
    """Download to ``path`` from the first mirror that has the right file. ``advice``: what to do by hand."""
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
    try:
        return urlsplit(base).hostname or base
    except ValueError:  # malformed
        return base.rpartition("@")[2]


def _fetch_one(url: str, remote: Remote, path: Path, progress: Progress) -> None:
    """Download from one mirror into a temporary file, check it, rename it: a cut download leaves no file behind."""
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
    """A new file beside ``path``, locked until it is closed. Removes the files that killed downloads left."""
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
    """``_download`` in a thread, which is abandoned if the mirror is slower than RATE for PATIENCE seconds.

    A mirror can be slow in every part of its answer, and no library has a limit for the whole.
    """
    answer: Future[str] = Future()

    def work() -> None:
        try:
            answer.set_result(_download(url, sink))
        except BaseException as error:  # raised again by answer.result()
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
    """The last response after at most MAX_REDIRECTIONS redirections. The contents of those before are not read."""
    # Identity: a server that marks a .gz as "Content-Encoding: gzip" would have it unpacked on the way.
    session.headers["Accept-Encoding"] = "identity"
    session.trust_env = False  # else the passwords in .netrc are sent to any host that a config or a mirror names
    for _ in range(MAX_REDIRECTIONS):
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
    """Why a request failed, in a few words."""
    reasons: list[tuple[type[Exception], Callable[[Any], str]]] = [
        (requests.HTTPError, lambda e: f"answers {e.response.status_code}"),
        (requests.Timeout, lambda e: f"no answer in {TIMEOUT} s"),
        (requests.exceptions.SSLError, lambda e: "its certificate is not valid"),
        (requests.exceptions.ChunkedEncodingError, lambda e: "the connection was cut"),
        (requests.exceptions.ContentDecodingError, lambda e: "what it sends cannot be unpacked"),
        (requests.ConnectionError, lambda e: "no connection"),
        (ValueError, lambda e: "its answer, or an address in it, is malformed"),
    ]
    return next((say(error) for kind, say in reasons if isinstance(error, kind)), type(error).__name__)


@dataclass
class _Sink:
    """Counts and hashes what is written to a file, and refuses far more than the expected size."""

    stream: BinaryIO
    remote: Remote
    done: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def write(self, chunk: bytes) -> None:
        """Write the next piece."""
        self.done += len(chunk)
        if self.done > 2 * self.remote.size:
            raise RefusedError(f"sends more than the {in_bytes(self.remote.size)} of the file")
        self.stream.write(chunk)
        self.digest.update(chunk)

    def report(self, progress: Progress) -> None:
        """Report how much was received."""
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
