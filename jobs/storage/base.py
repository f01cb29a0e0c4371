"""Files of the output path: on a local disk with os calls, elsewhere through Hadoop.

Only what publishing needs, each operation whole or not at all where the store can do that.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from jobs.errors import LockedError, MachineError

LOCK_FILE = ".lock"
_LEASE_SECONDS = 600.0
"""A lock in a store without ``flock`` is renewed in a quarter of this, and dead after it."""
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}")
"""Names that a file has until it is whole; what is left of one belongs to a dead writer."""


class Storage(Protocol):
    """Files below one root; every ``path`` is relative to it, with '/' between its parts."""

    root: str

    def uri(self, path: str) -> str:
        """What Spark reads and writes ``path`` by."""

    def check_writable(self) -> None:
        """Create the root and prove it can be written. MachineError where it cannot."""

    def require_own(self, *names: str) -> None:
        """MachineError where a directory of the root is a link: writes would leave the root."""

    def lock(self, holder: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
        """Hold the root for one writer; released by the writer's death too.

        Raises:
            LockedError: somebody else holds it; says who, by their ``holder``.
        """

    def exists(self, path: str) -> bool: ...

    def is_directory(self, path: str) -> bool:
        """Whether it is a directory itself, and no link to one."""

    def list(self, path: str) -> list[str]:
        """Names below a directory, sorted; none where there is no such directory."""

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes) -> None:
        """Put a file in place whole, over what stood there; makes its directory."""

    def move(self, source: str, target: str) -> None:
        """Rename a directory; the target must not exist."""

    def delete(self, path: str) -> None:
        """Remove a file or a tree; nothing happens where there is none."""

    def point(self, link: str, target: str) -> None:
        """Make ``link`` lead to ``target`` in one step, where the store has links."""

    def pointee(self, link: str) -> str | None:
        """Where ``link`` leads; None where there is no such link or the store has none."""


def sweep_temporaries(storage: Storage, directory: str = "") -> None:
    """Remove what writers that died left of files they had not finished. Needs the lock."""
    for name in storage.list(directory):
        if _TEMPORARY.fullmatch(name):
            storage.delete(f"{directory}/{name}" if directory else name)


def _describe_holder(root: str, written: bytes) -> str:
    """One line on who holds the lock, from what they wrote into it."""
    try:
        held = dict(json.loads(written))
    except (ValueError, TypeError):
        held = {}
    who = ", ".join(
        f"{key} {held[key]}" for key in ("run", "process", "host", "since") if key in held
    )
    return (
        f"output.path = '{root}' is in use by another run ({who or 'it has not said which'}); "
        "wait for it, or end it: its lock ends with it"
    )


def open_storage(spark: SparkSession, path: str) -> Storage:
    """Storage for an output path: local for ``file:`` and for plain paths on a local default."""
    local = local_path(path)
    if local is None or (not urlsplit(path).scheme and not _default_is_local(spark)):
        return HadoopStorage(spark, path)
    return LocalStorage(local)


def local_path(path: str) -> Path | None:
    """The place of ``file:`` and plain paths on this machine; None for other schemes."""
    parts = urlsplit(path)
    if parts.scheme not in ("", "file"):
        return None
    return Path(parts.path if parts.scheme else path)


def _default_is_local(spark: SparkSession) -> bool:
    hadoop = spark._jsc.hadoopConfiguration()
    return str(hadoop.get("fs.defaultFS", "file:///")).startswith("file:")


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
                raise LockedError(_describe_holder(self.root, file.read())) from None
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


class HadoopStorage:
    """A directory of HDFS, an object store, or any other Hadoop file system.

    It has no links: readers follow ``CURRENT.json``.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.root = root
        jvm: Any = spark._jvm
        self._jvm = jvm
        self._conf = spark._jsc.hadoopConfiguration()
        base = jvm.org.apache.hadoop.fs.Path(root)
        try:
            self._fs = base.getFileSystem(self._conf)
            self._base = self._fs.makeQualified(base)
            self._context = jvm.org.apache.hadoop.fs.FileContext.getFileContext(
                self._base.toUri(), self._conf
            )
        except Py4JJavaError as error:
            raise MachineError(
                f"output.path = '{root}' cannot be opened: {_java_message(error)}"
            ) from None

    def _at(self, path: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(self._base, path) if path else self._base

    def uri(self, path: str) -> str:
        return str(self._at(path).toString())

    def check_writable(self) -> None:
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"")
            self.delete(probe)
        except Py4JJavaError as error:
            raise MachineError(
                f"output.path = '{self.root}' cannot be written: {_java_message(error)}"
            ) from None

    def require_own(self, *names: str) -> None:
        """No links here."""

    @contextlib.contextmanager
    def lock(self, holder: Mapping[str, Any]) -> Iterator[None]:
        # A lease: the file exists while the lock is held, and its time says that the holder lives.
        written = json.dumps({**holder, "lease": uuid.uuid4().hex}).encode()
        self._retire_dead_lock()
        if not self._create(LOCK_FILE, written):
            raise LockedError(_describe_holder(self.root, self._read_lock()))
        ended = threading.Event()
        renewal = threading.Thread(target=self._renew_lock, args=(ended,), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()
            if self._read_lock() == written:
                self.delete(LOCK_FILE)

    def _create(self, path: str, data: bytes) -> bool:
        """Write a new file; False where there is one already."""
        try:
            stream = self._fs.create(self._at(path), False)
        except Py4JJavaError as error:
            if self._fs.exists(self._at(path)):
                return False
            raise MachineError(
                f"output.path = '{self.root}': {path}: {_java_message(error)}"
            ) from None
        try:
            stream.write(data)
        finally:
            stream.close()
        return True

    def _read_lock(self) -> bytes:
        try:
            return self.read(LOCK_FILE)
        except Py4JJavaError:  # released meanwhile
            return b""

    def _renew_lock(self, ended: threading.Event) -> None:
        while not ended.wait(_LEASE_SECONDS / 4):
            with contextlib.suppress(Py4JJavaError):  # one of the next renewals will do
                self._fs.setTimes(self._at(LOCK_FILE), int(time.time() * 1000), -1)

    def _retire_dead_lock(self) -> None:
        """Take the lock of a writer that has not renewed it out of the way."""
        dead = self._read_lock()
        try:
            renewed = self._fs.getFileStatus(self._at(LOCK_FILE)).getModificationTime() / 1000
        except Py4JJavaError:
            return
        if time.time() - renewed < _LEASE_SECONDS:
            return
        # Of several that find it dead, one succeeds in renaming it.
        grave = f"{LOCK_FILE}.{uuid.uuid4().hex}"
        with contextlib.suppress(Py4JJavaError):
            self._rename(self._at(LOCK_FILE), self._at(grave), overwrite=False)
            if self.read(grave) == dead:
                self.delete(grave)
            else:  # somebody was quicker, and this is the lock they now hold
                self._rename(self._at(grave), self._at(LOCK_FILE), overwrite=False)

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self._at(path)))

    def is_directory(self, path: str) -> bool:
        return self.exists(path) and bool(self._fs.getFileStatus(self._at(path)).isDirectory())

    def list(self, path: str) -> list[str]:
        if not self.exists(path):
            return []
        return sorted(
            str(status.getPath().getName()) for status in self._fs.listStatus(self._at(path))
        )

    def read(self, path: str) -> bytes:
        stream = self._fs.open(self._at(path))
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream))
        finally:
            stream.close()

    def write(self, path: str, data: bytes) -> None:
        target = self._at(path)
        temporary = self._jvm.org.apache.hadoop.fs.Path(
            target.getParent(), f".{target.getName()}.{uuid.uuid4().hex}"
        )
        stream = self._fs.create(temporary, True)
        try:
            stream.write(data)
        finally:
            stream.close()
        self._rename(temporary, target, overwrite=True)

    def _rename(self, source: Any, target: Any, *, overwrite: bool) -> None:
        rename = self._jvm.org.apache.hadoop.fs.Options.Rename
        options = self._jvm.java.lang.reflect.Array.newInstance(rename.NONE.getClass(), 1)
        options[0] = rename.OVERWRITE if overwrite else rename.NONE
        self._context.rename(source, target, options)

    def move(self, source: str, target: str) -> None:
        destination = self._at(target)
        self._fs.mkdirs(destination.getParent())
        if self._fs.exists(destination):
            raise FileExistsError(f"{destination.toString()} exists")
        self._rename(self._at(source), destination, overwrite=False)

    def delete(self, path: str) -> None:
        self._fs.delete(self._at(path), True)

    def point(self, link: str, target: str) -> None:
        """No links here; ``CURRENT.json`` is the pointer."""

    def pointee(self, link: str) -> str | None:
        return None


def _java_message(error: Py4JJavaError) -> str:
    return str(error.java_exception.getMessage()).partition("\n")[0]
