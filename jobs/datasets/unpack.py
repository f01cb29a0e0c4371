"""A zip from elsewhere, unpacked so that it writes its own files and nothing else."""

import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Never
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from tqdm import tqdm

from jobs.datasets.download import progress_bar
from jobs.errors import InputError

MAX_MEMBERS = 100
MAX_BYTES = 4 * 2**30
MAX_RATIO = 50
"""Bounds that real data sets keep far away from: tables of ratings shrink to a fifth or so."""
_CHUNK_BYTES = 2**20


def unpack(archive: Path, directory: Path) -> None:
    """Write the files of a zip into ``directory``, without the one folder they may all lie in.

    Raises:
        InputError: no zip, a damaged one, or one with names, kinds or sizes that are refused;
            the last are found before anything is written.
        OSError: a file cannot be written; ``directory`` holds a part.
    """
    with _explain_damage():
        members = ZipFile(archive)
    with members:
        files = _plan_files(members.infolist())
        total = sum(info.file_size for info in files.values())
        _check_sizes(total, archive.stat().st_size)
        with progress_bar(total, label=f"unpacking {archive.name}") as bar:
            for path, info in files.items():
                _write_file(members, info, directory / path, bar)


@contextmanager
def _explain_damage() -> Iterator[None]:
    try:
        yield
    # zipfile believes what it reads: it seeks to where no file can be, which is an OSError.
    except (BadZipFile, EOFError, NotImplementedError, OSError, ValueError, zlib.error) as error:
        # Not quoted: the message may hold names from the archive.
        raise InputError("a damaged zip, or none at all") from error


def _plan_files(members: Sequence[ZipInfo]) -> dict[PurePosixPath, ZipInfo]:
    """Where each file goes, relative to the directory.

    Raises:
        InputError: what no honest archive of a data set holds.
    """
    if len(members) > MAX_MEMBERS:
        raise InputError(f"the archive has {len(members):,} members, more than {MAX_MEMBERS}")
    for member in members:
        _check_member(member)
    infos = [member for member in members if not member.is_dir()]
    files = {PurePosixPath(info.filename): info for info in infos}
    if len(files) < len(infos) or any(files.keys() & set(path.parents) for path in files):
        raise InputError("the archive has two files of one name")
    return _leave_folder(files)


def _check_member(member: ZipInfo) -> None:
    # The original name still has what follows a NUL.
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or "\\" in name or {"", ".", ".."} & set(parts):
        raise InputError(f"the archive has a member with an unsafe name: {name!r:.100}")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"the archive has a link or device: {name!r:.100}")
    if member.flag_bits & 1 or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise InputError(f"the archive has an encrypted or unusually packed file: {name!r:.100}")


def _leave_folder(files: Mapping[PurePosixPath, ZipInfo]) -> dict[PurePosixPath, ZipInfo]:
    folders = {path.parts[0] if len(path.parts) > 1 else None for path in files}
    if len(folders) != 1 or None in folders:
        return dict(files)
    return {PurePosixPath(*path.parts[1:]): info for path, info in files.items()}


def _check_sizes(total: int, archive_bytes: int) -> None:
    """Bounds on what the members say of themselves; zipfile reads no more of any than that."""
    if total > MAX_BYTES:
        raise InputError(f"the archive unpacks to {total:,} bytes, more than {MAX_BYTES:,}")
    if total > MAX_RATIO * archive_bytes:
        raise InputError(f"the archive unpacks to {total:,} bytes, {MAX_RATIO} times its own size")


def _write_file(members: ZipFile, info: ZipInfo, path: Path, bar: "tqdm[Never]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _explain_damage():
        source = members.open(info)
    with source, path.open("xb") as target:
        while chunk := _read_chunk(source):
            target.write(chunk)
            bar.update(len(chunk))


def _read_chunk(source: IO[bytes]) -> bytes:
    with _explain_damage():
        return source.read(_CHUNK_BYTES)
