"""Open input files as raw frames, their columns known by name.

CSV is read as text, in the order of each file's own header: Spark's CSV schemas bind by position.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StringType, StructField, StructType

from jobs.config import InputConfig
from jobs.errors import InputError
from jobs.storage import InputFile, find_files

_CORRUPT = "_corrupt_record"


@dataclass(frozen=True)
class Source:
    """A raw frame of files that share their columns; ``source[name]`` is a column of the file."""

    frame: DataFrame
    types: dict[str, DataType]
    """Type of each column, by the name in the file."""
    columns: dict[str, str]
    """Name in the file -> name in ``frame``."""
    raw: Column
    """The row as text."""
    malformed: Column
    """Whether the row has another number of fields than the header."""
    is_text: bool
    """Whether all columns are text that has yet to be parsed."""
    file: str
    """One of its files, for messages."""

    def __getitem__(self, name: str) -> Column:
        return F.col(f"`{self.columns[name]}`")


def find_input(spark: SparkSession, pattern: str, key: str) -> list[InputFile]:
    """The files behind ``pattern`` that are not empty. InputError, naming ``key``, without any."""
    try:
        files = find_files(spark, pattern)
    except Py4JJavaError as error:
        reason = str(error.java_exception.getMessage()).splitlines()[0]
        raise InputError(f"{key} = '{pattern}' cannot be read: {reason}") from None
    if not files:
        raise InputError(f"{key} = '{pattern}': no such file")
    if not any(file.bytes for file in files):
        raise InputError(f"{key} = '{pattern}': the file is empty (0 bytes)")
    return [file for file in files if file.bytes]


def open_sources(
    spark: SparkSession, config: InputConfig, files: Sequence[InputFile], *, multi_line: bool
) -> list[Source]:
    """A source for each set of columns among ``files``.

    Args:
        multi_line: whether quoted CSV fields may hold line ends; such files are read whole.

    Raises:
        InputError: a file without a header, a column named twice, or a broken Parquet file.
    """
    paths = [file.path for file in files]
    parquet = [_is_parquet(path, config.format) for path in paths]
    sources = []
    if any(parquet):
        sources.append(
            _open_parquet(spark, [p for p, is_it in zip(paths, parquet, strict=True) if is_it])
        )
    texts = [path for path, is_it in zip(paths, parquet, strict=True) if not is_it]
    # Files of one directory may order their columns differently: each header is read for itself.
    by_header = sorted((_read_header(spark, path, config.separator), path) for path in texts)
    for header, group in groupby(by_header, key=lambda pair: pair[0]):
        paths_of_header = [path for _, path in group]
        sources.append(_open_csv(spark, paths_of_header, header, config.separator, multi_line))
    return sources


def _is_parquet(path: str, declared: Literal["auto", "csv", "parquet"]) -> bool:
    return declared == "parquet" or (declared == "auto" and path.endswith((".parquet", ".pq")))


def _open_parquet(spark: SparkSession, paths: list[str]) -> Source:
    try:
        frame = spark.read.parquet(*paths)
    except (PySparkException, Py4JJavaError) as error:
        raise InputError(f"{paths[0]}: not a readable Parquet file: {_first_line(error)}") from None
    return Source(
        frame,
        {field.name: field.dataType for field in frame.schema},
        {name: name for name in frame.columns},
        F.to_json(F.struct(*[F.col(f"`{name}`") for name in frame.columns])),
        F.lit(False),
        False,
        paths[0],
    )


def _open_csv(
    spark: SparkSession, paths: list[str], header: tuple[str, ...], separator: str, multi_line: bool
) -> Source:
    columns = {name: f"c{position}" for position, name in enumerate(header)}
    if len(columns) < len(header):
        repeated = next(name for name in header if header.count(name) > 1)
        raise InputError(f"{paths[0]}: the header names column '{repeated}' more than once")
    schema = StructType([StructField(name, StringType()) for name in (*columns.values(), _CORRUPT)])
    frame = spark.read.csv(
        paths,
        schema=schema,
        header=True,
        sep=separator,
        quote='"',
        escape='"',
        multiLine=multi_line,
        mode="PERMISSIVE",
        columnNameOfCorruptRecord=_CORRUPT,
        # The header was read above, and the schema is in its order.
        enforceSchema=True,
    )
    fields = [F.coalesce(F.col(name), F.lit("")) for name in columns.values()]
    return Source(
        frame,
        dict.fromkeys(columns, StringType()),
        columns,
        F.coalesce(F.col(_CORRUPT), F.concat_ws(separator, *fields)),
        F.col(_CORRUPT).isNotNull(),
        True,
        paths[0],
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_head(spark: SparkSession, path: str, n_lines: int) -> list[str]:
    """The first lines of a text file, decompressed as Spark would."""
    jvm: Any = spark._jvm
    conf = spark._jsc.hadoopConfiguration()
    hadoop_path = jvm.org.apache.hadoop.fs.Path(path)
    stream = hadoop_path.getFileSystem(conf).open(hadoop_path)
    try:
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
    except Py4JJavaError as error:
        reason = _first_line(Exception(error.java_exception.toString()))
        raise InputError(f"{path}: cannot be read: {reason}") from None
    finally:
        stream.close()


def _read_header(spark: SparkSession, path: str, separator: str) -> tuple[str, ...]:
    lines = read_head(spark, path, 1)
    if not lines or not lines[0].strip("\ufeff \t\r"):
        raise InputError(f"{path}: the file has no header line")
    names = next(csv.reader([lines[0].removeprefix("\ufeff")], delimiter=separator))
    return tuple(name.strip() for name in names)


def require_column(source: Source, name: str, key: str) -> None:
    """Raise InputError, naming the file, its columns and the setting, where ``name`` is missing."""
    if name not in source.columns:
        found = ", ".join(source.columns)
        raise InputError(
            f"{source.file}: no column '{name}' (it has: {found}); "
            f"set {key} to the right one, as in --set {key}=NAME"
        )


def optional_column(
    sources: Sequence[Source], configured: str | None, default: str, key: str
) -> str | None:
    """The configured column, which must exist, or the default one where every source has it."""
    if configured is not None:
        for source in sources:
            require_column(source, configured, key)
        return configured
    return default if all(default in source.columns for source in sources) else None
