"""Find the input files behind a path, on any Hadoop file system."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyspark.sql import SparkSession


@dataclass(frozen=True)
class InputFile:
    """One file that was read."""

    path: str
    bytes: int
    sha256: str | None
    """None for files that are not on this machine's disk."""


def find_files(spark: SparkSession, pattern: str) -> list[InputFile]:
    """The data files behind a path: a file, a directory (searched to its leaves) or a glob.

    As Spark does, names that begin with '_' or '.' are passed over, unless the path itself names
    them. Sorted by path; empty where nothing matches.
    """
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(pattern)
    fs = path.getFileSystem(spark._jsc.hadoopConfiguration())
    own_name = str(path.getName())
    matches = [
        status
        for status in fs.globStatus(path) or []
        if not _is_hidden(status) or status.getPath().getName() == own_name
    ]
    found = [file for status in matches for file in _walk(fs, status)]
    return sorted(found, key=lambda file: file.path)


def _is_hidden(status: Any) -> bool:
    return str(status.getPath().getName()).startswith(("_", "."))


def _walk(fs: Any, status: Any) -> Iterator[InputFile]:
    if status.isDirectory():
        for child in fs.listStatus(status.getPath()):
            if not _is_hidden(child):
                yield from _walk(fs, child)
    else:
        uri = str(status.getPath().toString())
        yield InputFile(uri, int(status.getLen()), _hash_local(uri))


def _hash_local(uri: str) -> str | None:
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return None
    local = Path(parts.path)
    if not local.is_file():
        return None
    with local.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
