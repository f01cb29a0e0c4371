"""Open input files as raw frames, their columns known by name.

CSV is read as text, in the order of each file's own header: Spark's CSV schemas bind by position.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StringType, StructField, StructType

from jobs.errors import ConfigError, InputError
from jobs.input.files import InputFile, find_files
from jobs.process.failures import find_root_cause
from jobs.process.terminal import printable
from jobs.settings.input import InputConfig

_CORRUPT = "_corrupt_record"
_MOST_FIELDS = 1_000_000
"""Of one CSV row. A row with more ends the run: Spark's own limit of 20,480 would do so earlier."""
_SHOWN_COLUMNS = 20
_SHOWN_LETTERS = 80


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
        return _column(self.columns[name])


def _column(name: str) -> Column:
    """The column of exactly this name, which may hold dots and backticks."""
    return F.col("`" + name.replace("`", "``") + "`")


def find_input(spark: SparkSession, pattern: str, key: str) -> list[InputFile]:
    """The files behind ``pattern`` that are not empty. InputError, naming ``key``, without any."""
    try:
        files = find_files(spark, pattern)
    except (PySparkException, Py4JJavaError) as error:
        raise InputError(f"{key} = '{pattern}' cannot be read: {_reason(error)}") from None
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


def open_sources(
    spark: SparkSession, config: InputConfig, files: Sequence[InputFile], *, multi_line: bool
) -> list[Source]:
    """A source for each set of columns among ``files``.

    Args:
        multi_line: whether quoted CSV fields may hold line ends; such files are read whole.

    Raises:
        ConfigError: a separator that has another meaning in CSV.
        InputError: a file without a header, a column named twice, or a broken Parquet file.
    """
    if config.separator in '"\\\r\n':
        raise ConfigError(
            f"input.separator = {config.separator!r}: quotes, backslashes and line ends cannot "
            "separate fields"
        )
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
        # Spark would take the schema of any one file for that of all.
        frame = spark.read.parquet(*map(_escape_glob, paths), mergeSchema=True)
    except (PySparkException, Py4JJavaError) as error:
        place = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        raise InputError(f"{place}: not readable as Parquet: {_reason(error)}") from None
    return Source(
        frame,
        {field.name: field.dataType for field in frame.schema},
        {name: name for name in frame.columns},
        F.to_json(F.struct(*[_column(name) for name in frame.columns])),
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
        raise InputError(
            f"{paths[0]}: the header names column '{_shorten(repeated)}' more than once"
        )
    schema = StructType([StructField(name, StringType()) for name in (*columns.values(), _CORRUPT)])
    frame = spark.read.csv(
        list(map(_escape_glob, paths)),
        schema=schema,
        header=True,
        sep=separator,
        quote='"',
        escape='"',
        multiLine=multi_line,
        mode="PERMISSIVE",
        columnNameOfCorruptRecord=_CORRUPT,
        maxColumns=max(_MOST_FIELDS, len(schema)),
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


def _escape_glob(path: str) -> str:
    """A path that means itself: Spark takes every path for a pattern."""
    return re.sub(r"([][{}*?\\])", r"\\\1", path)


def _reason(error: BaseException) -> str:
    return printable(find_root_cause(str(error)))


def _shorten(text: str) -> str:
    shown = text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}..."
    return printable(shown)


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
        raise InputError(f"{path}: cannot be read: {_reason(error)}") from None
    finally:
        if stream is not None:
            stream.close()


def _read_header(spark: SparkSession, path: str, separator: str) -> tuple[str, ...]:
    lines = read_head(spark, path, 1)
    if not lines or not lines[0].strip("\ufeff \t\r"):
        raise InputError(f"{path}: the file has no header line")
    try:
        names = next(csv.reader([lines[0].removeprefix("\ufeff")], delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{path}: the first line is not a CSV header: {error}") from None
    return tuple(name.strip() for name in names)


def require_column(source: Source, name: str, key: str) -> None:
    """Raise InputError, naming the file, its columns and the setting, where ``name`` is missing."""
    if name not in source.columns:
        if any(map(_is_number, source.columns)):  # a row of ratings, which no log may hold
            raise InputError(
                f"{source.file}: no column '{name}': the first line holds numbers, and is no "
                "header; add a line with the columns' names"
            )
        found = ", ".join(map(_shorten, list(source.columns)[:_SHOWN_COLUMNS]))
        if len(source.columns) > _SHOWN_COLUMNS:
            found += f" and {len(source.columns) - _SHOWN_COLUMNS} more"
        raise InputError(
            f"{source.file}: no column '{name}' (it has: {found}); "
            f"set {key} to the right one, as in --set {key}=NAME"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def optional_column(
    sources: Sequence[Source], configured: str | None, default: str, key: str
) -> str | None:
    """The configured column, which must exist, or the default one where every source has it."""
    if configured is not None:
        for source in sources:
            require_column(source, configured, key)
        return configured
    return default if all(default in source.columns for source in sources) else None
