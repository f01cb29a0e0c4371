"""Which storage an output path is on. Asks Spark; what needs none takes ``local_path``."""

from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from jobs.storage.base import Storage
from jobs.storage.hadoop import HadoopStorage
from jobs.storage.local import LocalStorage, local_path


def open_storage(spark: SparkSession, path: str) -> Storage:
    """Storage for an output path: local for ``file:`` and for plain paths on a local default.

    Raises:
        MachineError: of a scheme that Hadoop does not know, or a place it cannot reach.
    """
    local = local_path(path)
    if local is None or (not urlsplit(path).scheme and not _default_is_local(spark)):
        return HadoopStorage(spark, path)
    return LocalStorage(local)


def _default_is_local(spark: SparkSession) -> bool:
    hadoop = spark._jsc.hadoopConfiguration()
    return str(hadoop.get("fs.defaultFS", "file:///")).startswith("file:")
