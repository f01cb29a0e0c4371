"""Find the input files behind a path, and read their first lines, on any Hadoop file system."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.errors import InputError
from jobs.process.failures import find_root_cause
from jobs.process.terminal import printable


@dataclass(frozen=True)
class InputFile:
    """One file that was read."""

    path: str
    bytes: int
    sha256: str | None
    """None for files that are not on this machine's disk."""


def find_input(spark: SparkSession, pattern: str, key: str) -> list[InputFile]:
    """The files behind ``pattern`` that are not empty. InputError, naming ``key``, without any."""
    try:
        files = find_files(spark, pattern)
    except (PySparkException, Py4JJavaError) as error:
        raise InputError(f"{key} = '{pattern}' cannot be read: {explain_error(error)}") from None
    if not files:
        raise InputError(f"{key} = '{pattern}': no such file")
    if not any(file.bytes for file in files):
        raise InputError(f"{key} = '{pattern}': the file is empty (0 bytes)")
    for file in files:
        name = file.path.rpartition("/")[2]
        if name.startswith(("_", ".")):
            raise InputError(
                f"{key} = '{pattern}': Spark passes over files such as '{name}', whose names begin "
                "with '_' or '.'; give it another name"
            )
    return [file for file in files if file.bytes]


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


def read_head(spark: SparkSession, path: str, n_lines: int) -> list[str]:
    """The first lines of a text file, decompressed as Spark would."""
    jvm: Any = spark._jvm
    conf = spark._jsc.hadoopConfiguration()
    hadoop_path = jvm.org.apache.hadoop.fs.Path(path)
    stream: Any = None
    try:
        stream = hadoop_path.getFileSystem(conf).open(hadoop_path)
        codec = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(conf).getCodec(
            hadoop_path
        )
        plain = codec.createInputStream(stream) if codec is not None else stream
        reader = jvm.java.io.BufferedReader(jvm.java.io.InputStreamReader(plain, "UTF-8"))
        lines = jvm.org.apache.commons.io.IOUtils.lineIterator(reader)
        head: list[str] = []
        while len(head) < n_lines and lines.hasNext():
            head.append(str(lines.next()))
        return head
    except (PySparkException, Py4JJavaError) as error:
        raise InputError(f"{path}: cannot be read: {explain_error(error)}") from None
    finally:
        if stream is not None:
            stream.close()


def explain_error(error: BaseException) -> str:
    """What a failure to read comes down to, in one line."""
    return printable(find_root_cause(str(error)))
