"""Public ratings from their publishers, ready for ``nightly``."""

import fcntl
import hashlib
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click

from jobs.datasets.download import download, explain_writing, fetch_md5
from jobs.datasets.unpack import unpack
from jobs.errors import ConfigError, InputError, LockedError, MachineError
from jobs.process.checkout import ROOT
from jobs.process.terminal import printable

TIMEOUT_SECONDS = 30.0

_LINE_CHARACTERS = 4_096


@dataclass(frozen=True)
class Table:
    """A CSV file of a data set, and the columns and size by which it is known."""

    file: str
    columns: tuple[str, ...]
    n_bytes: range = range(1, 10**9)


@dataclass(frozen=True)
class DataSet:
    """Where a data set comes from, what must be in it, and how ``nightly`` reads it."""

    directory: str
    archive_url: str
    checksum_url: str | None
    ratings: Table
    items: Table
    config: str
    licence: str
    citation: str
    settings: tuple[str, ...] = ()


def _describe_movielens(directory: str, ratings_bytes: range) -> DataSet:
    archive_url = f"https://files.grouplens.org/datasets/movielens/{directory}.zip"
    return DataSet(
        directory=directory,
        archive_url=archive_url,
        checksum_url=f"{archive_url}.md5",
        ratings=Table("ratings.csv", ("userId", "movieId", "rating", "timestamp"), ratings_bytes),
        items=Table("movies.csv", ("movieId", "title", "genres")),
        config="conf/movielens.toml",
        licence="research use, redistribution under the same conditions, no commercial use without "
        "permission of GroupLens; its README.txt has it in full",
        citation="F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History "
        "and Context. ACM Transactions on Interactive Intelligent Systems 5, 4, 19. "
        "https://doi.org/10.1145/2827872",
    )


_GOODBOOKS = DataSet(
    directory="goodbooks-10k",
    archive_url="https://github.com/zygmuntz/goodbooks-10k/releases/download/v1.0/goodbooks-10k.zip",
    checksum_url=None,
    ratings=Table("ratings.csv", ("user_id", "book_id", "rating"), range(40 * 10**6, 100 * 10**6)),
    # Only this release has the last column; before it, book_id was what that column now holds.
    items=Table("books.csv", ("book_id", "title", "goodreads_book_id")),
    config="conf/goodbooks.toml",
    licence="Creative Commons Attribution-ShareAlike 4.0, "
    "https://creativecommons.org/licenses/by-sa/4.0/",
    citation="Zygmunt Zajac. 2017. Goodbooks-10k: a new dataset for book recommendations. FastML. "
    "http://fastml.com/goodbooks-10k",
    settings=("input.item_columns.item=book_id",),
)

DATA_SETS = {
    # The one changes over the years, and is at 2.5 MB; the other is at 678 MB for good.
    "movielens-small": _describe_movielens("ml-latest-small", range(10**6, 50 * 10**6)),
    "movielens-25m": _describe_movielens("ml-25m", range(500 * 10**6, 10**9)),
    "goodbooks": _GOODBOOKS,
}


def fetch_data_set(data_set: DataSet, output: Path, *, timeout: float = TIMEOUT_SECONDS) -> None:
    """Download, check and unpack a data set, unless it is there, and print how to run with it.

    Raises:
        ConfigError: ``output`` holds something else.
        InputError: the publisher does not give it out, or what came is damaged or not the data set.
        LockedError: another fetch is at work on ``output``.
        MachineError: no connection, or no place to write.
    """
    if _is_there(data_set, output):
        # What is left of one that was killed after its last step.
        shutil.rmtree(_work_directory(output), ignore_errors=True)
        click.echo(printable(f"there already: {output}"))
    else:
        click.echo(f"licence: {data_set.licence}")
        click.echo(f"citation: {data_set.citation}")
        _bring(data_set, output, timeout)
    click.echo(printable(_nightly_command(data_set, output)))


def _is_there(data_set: DataSet, output: Path) -> bool:
    try:
        if not output.exists():
            return False
        if output.is_dir() and not any(output.iterdir()):
            _require_replaceable(output)
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


def _require_replaceable(empty: Path) -> None:
    if empty.is_mount() or empty.samefile(Path.cwd()):
        raise ConfigError(
            f"--output {empty}: the current directory or a mount point cannot be replaced: "
            "name a directory in it"
        )


def _bring(data_set: DataSet, output: Path, timeout: float) -> None:
    """Put the whole data set under ``output`` by one rename."""
    work = _work_directory(output)
    archive = work / data_set.archive_url.rpartition("/")[2]
    with explain_writing(work.parent), _hold(work, output):
        checked = _download_checked(data_set, archive, timeout)
        with _cleared(work / "unpacked") as unpacked:
            try:
                unpack(archive, unpacked)
                _check_tables(data_set, unpacked)
            except InputError as error:
                archive.unlink()
                raise InputError(
                    f"{data_set.archive_url}: {error}; deleted, fetched anew next time"
                ) from None
            unpacked.replace(_resolve(output))
        shutil.rmtree(work, ignore_errors=True)
    click.echo(f"checked: {checked}; names, columns and sizes of the files")
    click.echo(printable(f"wrote {output}"))


def _work_directory(output: Path) -> Path:
    """Beside the output, so that the last step is a rename; it outlives a failure."""
    place = _resolve(output)
    return place.with_name(f".{place.name}.fetch")


def _resolve(output: Path) -> Path:
    return Path(os.path.realpath(output))  # Path.resolve() fails on links that lead in circles


@contextmanager
def _hold(work: Path, output: Path) -> Iterator[None]:
    """Hold the working directory for one process: two would mix up one partial file."""
    work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        handle = os.open(work, os.O_RDONLY)
        stack.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"--output {output}: another fetch is at work on it") from None
        stack.callback(_remove_empty, work)
        yield


def _remove_empty(directory: Path) -> None:
    """Remove a directory in which nothing has arrived that the next try could use."""
    with suppress(OSError):
        directory.rmdir()


@contextmanager
def _cleared(directory: Path) -> Iterator[Path]:
    """``directory``, not there yet; a failure, such as a full disk, leaves none of it."""
    shutil.rmtree(directory, ignore_errors=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _download_checked(data_set: DataSet, archive: Path, timeout: float) -> str:
    """Fetch the archive unless an earlier try has; what it has been checked by."""
    url = data_set.checksum_url
    published = None if url is None else fetch_md5(url, timeout=timeout)
    if not archive.exists():
        download(data_set.archive_url, archive, timeout=timeout)
    if published is None:
        return "CRC-32 of the archive's files, as no checksum is published"
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, _md5).hexdigest()
    if found != published:
        archive.unlink()
        raise InputError(
            f"{data_set.archive_url}: wrong checksum: MD5 {found}, the publisher says {published}; "
            "deleted, fetched anew next time"
        )
    return "MD5, as published"


def _md5() -> "hashlib._Hash":
    # Against damage, not forgery: machines that allow no MD5 for security allow this.
    return hashlib.md5(usedforsecurity=False)


def _check_tables(data_set: DataSet, directory: Path) -> None:
    """InputError where a file of the data set is missing, or is not as it is known."""
    for table in (data_set.ratings, data_set.items):
        path = directory / table.file
        if not path.is_file():
            raise InputError(f"has no {table.file}")
        with path.open(encoding="utf-8", errors="replace") as lines:
            header = lines.readline(_LINE_CHARACTERS).rstrip("\n").split(",")
            rows = lines.readline(_LINE_CHARACTERS)
        missing = [column for column in table.columns if column not in header]
        if missing:
            raise InputError(f"{table.file} has no column '{missing[0]}'")
        if not rows:
            raise InputError(f"{table.file} has no rows")
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
    return shlex.join([*words, *(word for setting in settings for word in ("--set", setting))])
