"""Storage on a disk of this machine."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobs.errors import LockedError, MachineError
from jobs.storage.base import LOCK_FILE, describe_holder


def local_path(path: str) -> Path | None:
    """The place of ``file:`` and plain paths on this machine; None for other schemes."""
    parts = urlsplit(path)
    if parts.scheme not in ("", "file"):
        return None
    return Path(parts.path if parts.scheme else path)


class LocalStorage:
    """A directory of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.root = str(root)

    def _at(self, path: str) -> Path:
        return self._root / path

    def uri(self, path: str) -> str:
        # Not as_uri(): Hadoop takes the escapes of a space or a quote for parts of the name.
        return f"file:{self._at(path)}"

    def check_writable(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root):
                pass
        except OSError as error:
            raise MachineError(
                f"output.path = '{self.root}' cannot be written: {error.strerror}"
            ) from None

    def require_own(self, *names: str) -> None:
        for name in names:
            if self._at(name).is_symlink():
                raise MachineError(
                    f"output.path = '{self.root}': {name} is a symbolic link, and would lead "
                    "writes out of it; remove the link, or name the real place in output.path"
                )

    @contextlib.contextmanager
    def lock(self, holder: Mapping[str, Any]) -> Iterator[None]:
        # The kernel drops the lock with the process. The file stays: to remove it would let two
        # writers hold locks on two files of one name.
        try:
            handle = os.open(self._at(LOCK_FILE), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            reason = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise MachineError(f"output.path = '{self.root}': {LOCK_FILE}: {reason}") from None
        with os.fdopen(handle, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LockedError(describe_holder(self.root, file.read())) from None
            file.truncate()
            file.write(json.dumps(holder).encode())
            file.flush()
            yield

    def exists(self, path: str) -> bool:
        return self._at(path).exists()

    def is_directory(self, path: str) -> bool:
        return self._at(path).is_dir() and not self._at(path).is_symlink()

    def list(self, path: str) -> list[str]:
        directory = self._at(path)
        return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []

    def read(self, path: str) -> bytes:
        return self._at(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(target) as temporary, temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def move(self, source: str, target: str) -> None:
        self._at(target).parent.mkdir(parents=True, exist_ok=True)
        if self._at(target).exists():
            raise FileExistsError(f"{self._at(target)} exists")
        _sync_tree(self._at(source))  # what a name leads to must outlive a loss of power
        self._at(source).rename(self._at(target))
        _sync(self._at(target).parent)

    def delete(self, path: str) -> None:
        target = self._at(path)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def point(self, link: str, target: str) -> None:
        with _replacing(self._at(link)) as temporary:
            temporary.symlink_to(target)

    def pointee(self, link: str) -> str | None:
        path = self._at(link)
        return os.readlink(path) if path.is_symlink() else None  # noqa: PTH115 - the text as written


def _sync_tree(directory: Path) -> None:
    for parent, _, names in os.walk(directory):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A hidden name beside ``target``, moved over it when the block ends well."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
