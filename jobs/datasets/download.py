"""One file over HTTP, resumed where an earlier try was cut off."""

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, Never
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from jobs.errors import InputError, MachineError
from jobs.process.terminal import on_terminal

_CHUNK_BYTES = 2**18
_CHECKSUM_FILE_BYTES = 4_096
_MD5 = re.compile(r"\b[0-9a-fA-F]{32}\b")
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_NO_WAY = "check the network and, behind a proxy, https_proxy; or try again later"


class _StatusError(Exception):
    """The server refused with a status; what it says beside that is not kept, nor printed."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(url, status)
        self.url = url
        self.status = status

    def explain(self) -> InputError:
        if self.status in _GONE:
            hint = "the publisher has moved or removed it"
        elif self.status >= 500:
            hint = "the server is in trouble, try again later"
        else:
            hint = "the server, or a proxy on the way, does not give it out"
        return InputError(f"{self.url}: HTTP status {self.status}: {hint}")


@dataclass(frozen=True)
class _Partial:
    """What has arrived of a file, and what the server calls the version it is of."""

    file: Path

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def version(self) -> str | None:
        try:
            return _clean_version(self._version_file.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return None

    @property
    def _version_file(self) -> Path:
        return self.file.with_name(f"{self.file.name}.version")

    def headers_for_rest(self) -> dict[str, str]:
        """What asks for the rest of this very version; nothing where that cannot be asked."""
        if not self.size or self.version is None:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.version}

    def is_continued_by(self, response: HTTPResponse) -> bool:
        # Compared here as well: there are servers that know Range, but not If-Range.
        starts = response.headers.get("Content-Range", "").startswith(f"bytes {self.size}-")
        return starts and _name_version(response) == self.version

    def start_anew(self, version: str | None) -> None:
        # In this order: killed in between, it never has old bytes under a new version.
        self.file.write_bytes(b"")
        self._version_file.write_text(version or "", encoding="utf-8")

    def finish(self, target: Path) -> None:
        self.file.replace(target)
        self._version_file.unlink(missing_ok=True)


def download(url: str, target: Path, *, timeout: float) -> None:
    """Fetch ``url`` into ``target``; what arrives before a failure is kept for the next try.

    A server that cannot send the rest, or has another version by now, sends all of it anew.

    Raises:
        InputError: the server refused.
        MachineError: no connection, or one that broke; a file that cannot be written.
    """
    partial = _Partial(target.with_name(f"{target.name}.partial"))
    with explain_writing(target.parent):
        with closing(_open_rest(url, partial, timeout)) as response:
            if response.status == HTTPStatus.OK:
                partial.start_anew(_name_version(response))
            _receive(response, partial)
        partial.finish(target)


def fetch_md5(url: str, *, timeout: float) -> str | None:
    """The MD5 in a publisher's checksum file; None where there is no such file.

    Raises:
        InputError: the server refused, or sent something else.
        MachineError: no connection, or one that broke.
    """
    try:
        response = _open(url, {}, timeout)
    except _StatusError as error:
        if error.status in _GONE:
            return None
        raise error.explain() from None
    with closing(response), _explain_no_answer(url, timeout):
        text = response.read(_CHECKSUM_FILE_BYTES).decode("ascii", errors="replace")
    found = {match[0].lower() for match in _MD5.finditer(text)}
    if len(found) != 1:
        raise InputError(f"{url}: holds no checksum; does a proxy answer in the server's place?")
    return found.pop()


@contextmanager
def explain_writing(directory: Path) -> Iterator[None]:
    """Turn what the file system refuses into a MachineError that names ``directory``."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "; free some space and run the command again" if full else ""
        raise MachineError(f"{directory}: cannot be written: {error.strerror}{hint}") from None


def progress_bar(total: int | None, *, done: int = 0, label: str) -> "tqdm[Never]":
    """A bar of bytes for whoever watches; nothing in a pipe or a log."""
    return tqdm(
        desc=label,
        total=total,
        initial=done,
        unit="B",
        unit_scale=True,
        disable=not on_terminal(),
    )


def _open_rest(url: str, partial: _Partial, timeout: float) -> HTTPResponse:
    """An answer with the rest of the file (status 206), or with all of it (200)."""
    try:
        response = _open_continuation(url, partial, timeout)
        return _open(url, {}, timeout) if response is None else response
    except _StatusError as error:
        raise error.explain() from None


def _open_continuation(url: str, partial: _Partial, timeout: float) -> HTTPResponse | None:
    headers = partial.headers_for_rest()
    if not headers:
        return None
    try:
        response = _open(url, headers, timeout)
    except _StatusError as error:
        if error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        raise
    if response.status == HTTPStatus.OK or partial.is_continued_by(response):
        return response
    response.close()
    return None


def _open(url: str, headers: Mapping[str, str], timeout: float) -> HTTPResponse:
    """An answer with content: of status 200, or of 206 where ``headers`` ask for a range."""
    request = Request(url, headers={"User-Agent": "recsys-nightly", **headers})
    with _explain_no_answer(url, timeout):
        response: HTTPResponse = urlopen(request, timeout=timeout)
    wanted = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) if headers else (HTTPStatus.OK,)
    if response.status not in wanted:
        response.close()
        raise _StatusError(url, response.status)
    return response


@contextmanager
def _explain_no_answer(url: str, timeout: float) -> Iterator[None]:
    host = urlsplit(url).netloc
    try:
        yield
    except HTTPError as error:
        error.close()
        raise _StatusError(url, error.code) from None
    except (URLError, TimeoutError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            raise MachineError(f"{host}: no answer in {timeout:g} seconds: {_NO_WAY}") from None
        why = getattr(reason, "strerror", None) or reason
        raise MachineError(f"cannot reach {host} ({why}): {_NO_WAY}") from None
    except (OSError, HTTPException, ValueError):
        # Not quoted: what a server says instead of HTTP may be anything.
        raise MachineError(
            f"{host}: broke the connection off, or spoke no HTTP: {_NO_WAY}"
        ) from None


def _receive(response: HTTPResponse, partial: _Partial) -> None:
    """Append what the answer holds to the partial file."""
    start = partial.size
    total = None if response.length is None else start + response.length
    with (
        partial.file.open("ab") as file,
        progress_bar(total, done=start, label=partial.file.stem) as bar,
    ):
        whole = _copy(response, file, bar)
    if not whole or (total is not None and partial.size < total):
        size = f"{partial.size:,}" if total is None else f"{partial.size:,} of {total:,}"
        next_time = "starts anew" if partial.version is None else "goes on from there"
        raise MachineError(
            f"{urlsplit(response.url).netloc}: the connection broke off after {size} bytes: "
            f"run the command again, it {next_time}"
        )


def _copy(response: HTTPResponse, file: BinaryIO, bar: "tqdm[Never]") -> bool:
    """Whether the answer came to an end of its own; http.client calls some cuts that, too."""
    while True:
        try:
            # read() would keep back what has come until the chunk is full, and lose it in a cut.
            chunk = response.read1(_CHUNK_BYTES)
        except (OSError, HTTPException):
            return False
        if not chunk:
            return True
        file.write(chunk)
        bar.update(len(chunk))


def _name_version(response: HTTPResponse) -> str | None:
    """What If-Range takes: a strong entity tag, or else the time of the last change."""
    tag = _clean_version(response.headers.get("ETag"))
    if tag is not None and tag.startswith('"'):
        return tag
    return _clean_version(response.headers.get("Last-Modified"))


def _clean_version(text: str | None) -> str | None:
    """``text`` where it can stand in a header of ours; a folded line, for one, cannot."""
    return text if text and text.isascii() and text.isprintable() else None
