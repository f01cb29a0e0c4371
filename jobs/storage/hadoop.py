"""Storage on HDFS, an object store, or any other Hadoop file system."""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from jobs.errors import LockedError, MachineError
from jobs.storage.base import LOCK_FILE, describe_holder

_LEASE_SECONDS = 600.0
"""A lock in a store without ``flock`` is renewed in a quarter of this, and dead after it."""


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
            raise LockedError(describe_holder(self.root, self._read_lock()))
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
