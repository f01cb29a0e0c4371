"""Which storage an output path is on."""

from pathlib import Path
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from jobs.storage.base import Storage
from jobs.storage.hadoop import HadoopStorage
from jobs.storage.local import LocalStorage


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
