"""Public ratings from their publishers: download, check, unpack, publish.

All work is done in a hidden directory beside the output, and the last step is one rename: the
output appears whole or not at all. What a failure leaves is removed, and a download that was cut
off starts anew. Only a process killed outright leaves the hidden directory behind.
"""

import os
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from zipfile import ZipFile

import click
import pooch
import requests

from jobs.datasets.public import DataSet
from jobs.errors import ConfigError, InputError, MachineError
from jobs.process.checkout import ROOT
from jobs.process.stop import stops_on_sigterm
from jobs.process.terminal import on_terminal, printable

TIMEOUT_SECONDS = 30.0
MAX_BYTES = 4 * 2**30
"""Of an unpacked archive: four times what the largest data set has."""

_GONE = (requests.codes.not_found, requests.codes.gone)


def fetch_data_set(data_set: DataSet, output: Path) -> None:
    """Download, check and unpack a data set, unless it is there, and print how to run with it.

    Raises:
        ConfigError: ``output`` holds something else.
        InputError: the publisher does not give it out, or what came is damaged or not the data set.
        MachineError: no connection, or one that broke; no place to write.
    """
    if _is_there(data_set, output):
        click.echo(printable(f"there already: {output}"))
    else:
        click.echo(f"licence: {data_set.licence}")
        click.echo(f"citation: {data_set.citation}")
        checked = _bring(data_set, output)
        click.echo(f"checked: {checked}; names, columns and sizes of the files")
        click.echo(printable(f"wrote {output}"))
    click.echo(printable(_nightly_command(data_set, output)))


def _is_there(data_set: DataSet, output: Path) -> bool:
    try:
        if not output.exists():
            return False
        if output.is_dir() and not any(output.iterdir()):
            if output.is_mount() or output.samefile(Path.cwd()):
                raise InputError("the current directory or a mount point cannot be replaced")
            return False
        _check_tables(data_set, output)
    except InputError as error:
        raise ConfigError(
            f"--output {output}: is there, and is not {data_set.directory} ({error}): "
            "name another directory, or remove it"
        ) from None
    except OSError as error:
        raise MachineError(f"--output {output}: cannot be read: {error.strerror}") from None
    return True


def _bring(data_set: DataSet, output: Path) -> str:
    """Put the whole data set under ``output``; says what the archive was checked by."""
    place = Path(os.path.realpath(output))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with stops_on_sigterm(), TemporaryDirectory(dir=place.parent, prefix=".fetch-") as work:
            md5 = _fetch_md5(data_set.md5_url) if data_set.md5_url else None
            with _explain_failure(data_set.archive_url):
                archive = _download(data_set.archive_url, md5, Path(work))
                unpacked = _unpack(archive, Path(work) / "unpacked")
                _check_tables(data_set, unpacked)
            unpacked.rename(place)
    except OSError as error:
        raise MachineError(f"{place.parent}: cannot be written: {error.strerror}") from None
    return "MD5, as published" if md5 else "CRC-32 of the archive's files, as no MD5 is published"


def _fetch_md5(url: str) -> str | None:
    """The MD5 in the publisher's file; None where there is no such file."""
    with _explain_failure(url):
        response = requests.get(url, timeout=TIMEOUT_SECONDS)
        if response.status_code in _GONE:
            return None
        response.raise_for_status()
        text = response.content.decode("ascii", errors="replace").lower()
        found: set[str] = set(re.findall(r"\b[0-9a-f]{32}\b", text))
        if len(found) != 1:
            raise InputError("holds no checksum; does a proxy answer in the server's place?")
        return found.pop()


def _download(url: str, md5: str | None, directory: Path) -> Path:
    """The archive, as a file of ``directory``; with this MD5 where there is one."""
    pooch.get_logger().setLevel("WARNING")  # else it prints what it does
    downloader = pooch.HTTPDownloader(on_terminal(), chunk_size=2**18, timeout=TIMEOUT_SECONDS)
    # Not as its known_hash: a wrong one is a ValueError, and so are some failures of requests.
    archive = pooch.retrieve(url, None, "archive", directory, downloader=downloader)
    if md5 and md5 != (found := pooch.file_hash(archive, alg="md5")):
        raise InputError(f"wrong checksum: MD5 {found}, the publisher says {md5}")
    return Path(archive)


@contextmanager
def _explain_failure(url: str) -> Iterator[None]:
    """One line for what goes wrong with a file; nothing that a server says is in it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{url}: {error}") from None
    except requests.HTTPError as error:
        status: int = getattr(error.response, "status_code", 0)
        hint = "the server, or a proxy on the way, does not give it out"
        if status in _GONE:
            hint = "the publisher has moved or removed it"
        elif status >= 500:
            hint = "the server is in trouble, try again later"
        raise InputError(f"{url}: HTTP status {status}: {hint}") from None
    except (requests.RequestException, ValueError) as error:  # the last for addresses
        raise MachineError(
            f"{urlsplit(url).netloc}: no connection, or it broke off ({_find_reason(error)}): "
            "check the network and, behind a proxy, https_proxy and REQUESTS_CA_BUNDLE; "
            "or try again later"
        ) from None


def _find_reason(error: Exception) -> str:
    """What the operating system or TLS says at the bottom of it, or else the kind of error."""
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    return getattr(cause, "strerror", None) or type(error).__name__


def _unpack(archive: Path, directory: Path) -> Path:
    """Where the files of a zip lie now: in ``directory``, or in the one folder they come in.

    Raises:
        InputError: no zip, a damaged one, or one that is refused; nothing is written.
    """
    try:
        with ZipFile(archive) as members:
            _check_members(members)
            damaged = members.testzip() is not None
    except InputError:
        raise
    except Exception:  # zipfile believes what it reads, and fails in a dozen ways
        damaged = True
    if damaged:
        raise InputError("a damaged zip, or none at all")
    with ZipFile(archive) as members:
        members.extractall(directory)
    found = list(directory.iterdir())
    return found[0] if len(found) == 1 and found[0].is_dir() else directory


def _check_members(archive: ZipFile) -> None:
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        # zipfile would write these inside, as other files; no data set has them.
        if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
            raise InputError("the archive has a link, or a name that leads out of its directory")
    n_bytes = sum(member.file_size for member in archive.infolist())  # no more than that is read
    if n_bytes > MAX_BYTES:
        raise InputError(f"the archive unpacks to {n_bytes:,} bytes, more than {MAX_BYTES:,}")


def _check_tables(data_set: DataSet, directory: Path) -> None:
    """InputError where a file of the data set is missing, or is not as it is known."""
    for table in (data_set.ratings, data_set.items):
        path = directory / table.file
        if not path.is_file():
            raise InputError(f"has no {table.file}")
        with path.open(encoding="utf-8", errors="replace") as lines:
            header = lines.readline(4_096).rstrip("\n").split(",")
        missing = [column for column in table.columns if column not in header]
        if missing:
            raise InputError(f"{table.file} has no column '{missing[0]}'")
        size, known = path.stat().st_size, table.n_bytes
        if size not in known:
            raise InputError(
                f"{table.file} has {size:,} bytes, not {known.start:,} to {known.stop:,}"
            )


def _nightly_command(data_set: DataSet, output: Path) -> str:
    """What to type in the current directory."""
    root = "" if Path.cwd() == ROOT else f"{ROOT}/"
    settings = [
        f"input.ratings={output / data_set.ratings.file}",
        f"input.items={output / data_set.items.file}",
        *data_set.settings,
    ]
    words = [f"{root or './'}spark-submit.sh", "nightly", "--config", f"{root}{data_set.config}"]
    for setting in settings:
        words += ["--set", setting]
    return shlex.join(words)
