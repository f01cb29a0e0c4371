"""One line for failures of the disk and inside Spark. Only the latter imports pyspark."""

import contextlib
import logging
import re
from collections.abc import Iterator

from jobs.errors import InputError, JobError
from jobs.process.terminal import printable

logger = logging.getLogger(__name__)

_UNREADABLE = (
    "FAILED_READ_FILE",
    "java.io.EOFException",
    "java.util.zip.ZipException",
    "is not a Parquet file",
    "FileNotFoundException",
)
"""Marks of an input file that broke while it was read."""


@contextlib.contextmanager
def explain_disk_failures() -> Iterator[None]:
    """Turn failures of the file system, such as a full disk, into one line.

    Raises:
        JobError: says which file, and why.
    """
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise JobError(f"{place}{error.strerror or error}") from error


@contextlib.contextmanager
def explain_failures() -> Iterator[None]:
    """Turn exceptions of Spark, and of the file system, into one line with their root cause.

    Raises:
        InputError: an input file could not be read to its end.
        JobError: anything else that failed in Spark or on the disk.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    with explain_disk_failures():
        try:
            yield
        except (PySparkException, Py4JJavaError) as error:
            logger.debug("failed in Spark", exc_info=True)
            text = str(error)
            kind = InputError if any(mark in text for mark in _UNREADABLE) else JobError
            raise kind(printable(f"{_name_place(text)}: {find_root_cause(text)}")) from error


def find_root_cause(text: str) -> str:
    """The most telling line of a Spark exception: its innermost cause, or the Python error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    python = [line for line in lines if re.match(r"^[A-Za-z_.]*(Error|Exception): \S", line)]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    # Py4J puts the Java exception in the second line, after a colon.
    java = [line.removeprefix(": ") for line in lines[1:2] if line.startswith(": ")]
    return (causes[-1:] or python[-1:] or java or lines[:1] or ["no message"])[0]


def _name_place(text: str) -> str:
    """The input file that Spark was reading when it failed, where it says so."""
    file = re.search(r"while reading file (.+?)\. ", text)
    return f"{file[1]}: cannot be read" if file else "Spark failed"
