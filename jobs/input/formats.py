"""The formats of input files: CSV and Parquet, opened as raw frames, their columns known by name.

CSV is read as text, in the order of each file's own header: Spark's CSV schemas bind by position.
"""

import csv
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from jobs.errors import ConfigError, InputError
from jobs.input.files import InputFile, explain_error, read_head
from jobs.input.source import Source, name_column, shorten_name
from jobs.settings.input import InputConfig

_CORRUPT = "_corrupt_record"
_MOST_FIELDS = 1_000_000
"""Of one CSV row. A row with more ends the run: Spark's own limit of 20,480 would do so earlier."""


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
    parquet = [file.path for file in files if _is_parquet(file.path, config.format)]
    texts = [file.path for file in files if not _is_parquet(file.path, config.format)]
    sources = [_open_parquet(spark, parquet)] if parquet else []
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
        raise InputError(f"{place}: not readable as Parquet: {explain_error(error)}") from None
    return Source(
        frame,
        {field.name: field.dataType for field in frame.schema},
        {name: name for name in frame.columns},
        F.to_json(F.struct(*[name_column(name) for name in frame.columns])),
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
            f"{paths[0]}: the header names column '{shorten_name(repeated)}' more than once"
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


def _read_header(spark: SparkSession, path: str, separator: str) -> tuple[str, ...]:
    lines = read_head(spark, path, 1)
    if not lines or not lines[0].strip("\ufeff \t\r"):
        raise InputError(f"{path}: the file has no header line")
    try:
        names = next(csv.reader([lines[0].removeprefix("\ufeff")], delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{path}: the first line is not a CSV header: {error}") from None
    return tuple(name.strip() for name in names)
