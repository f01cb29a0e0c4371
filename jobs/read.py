"""Read ratings and items by column name, and say of each row whether it can be used.

``read_ratings`` gives one frame with a row for every input row:

    user_id    bigint or string   as ``input.user_id_type``; null where it does not parse
    item_id    bigint or string   as ``input.item_id_type``; null where it does not parse
    rating     double
    timestamp  bigint             seconds since 1970, or null
    reason     string             why the row is refused; null for a valid row
    raw, file  string             the row as read and its file; null for a valid row

CSV is read as text and parsed here: Spark's own CSV schemas bind by position and take NaN, 1e13 and
an empty id for valid.
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any, Literal

import pandas as pd
from py4j.protocol import Py4JJavaError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DataType,
    DateType,
    DecimalType,
    IntegralType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from jobs.config import CleanConfig, IdType, InputConfig
from jobs.errors import InputError
from jobs.schemas import FILE, ITEM_ID, RATING, RAW, REASON, TIMESTAMP, USER_ID
from jobs.storage import InputFile, find_files

logger = logging.getLogger(__name__)

_CORRUPT = "_corrupt_record"
_SAMPLE_ROWS = 1000


@dataclass(frozen=True)
class RatingsInput:
    """The ratings as read; see the module's account of ``rows``."""

    rows: DataFrame
    files: list[InputFile]
    has_timestamp: bool

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class ItemsInput:
    """Titles and genres.

    ``items``: pandas with item_id (unique), title (str or None), genres (str or None); empty where
    no items file is configured.
    """

    items: pd.DataFrame
    files: list[InputFile]


@dataclass(frozen=True)
class _Source:
    """A raw frame of files that share their columns."""

    frame: DataFrame
    types: dict[str, DataType]
    """Type of each column, by the name in the file."""
    columns: dict[str, str]
    """Name in the file -> name in ``frame``."""
    raw: Column
    """The row as text."""
    malformed: Column
    """Whether the row has another number of fields than the header."""
    file: str
    """One of its files, for messages."""

    def __getitem__(self, name: str) -> Column:
        return F.col(f"`{self.columns[name]}`")


def read_ratings(spark: SparkSession, config: InputConfig, clean: CleanConfig) -> RatingsInput:
    """Read ``input.ratings``.

    Raises:
        InputError: nothing there, an empty file, a missing column, or a column of a type that
            cannot be an id, a rating or a time.
    """
    files = _find(spark, config.ratings, "input.ratings")
    sources = _open_sources(spark, config, files, multi_line=False)
    names = config.columns
    for source in sources:
        for key, name in (("user", names.user), ("item", names.item), ("rating", names.rating)):
            _require_column(source, name, f"input.columns.{key}")
    timestamp = _optional_column(sources, names.timestamp, TIMESTAMP, "input.columns.timestamp")
    user_type = _resolve_id_type(spark, config, sources, names.user, config.user_id_type)
    item_type = _resolve_id_type(spark, config, sources, names.item, config.item_id_type)
    parts = [_parse(source, config, clean, timestamp, user_type, item_type) for source in sources]
    return RatingsInput(reduce(DataFrame.unionAll, parts), files, timestamp is not None)


def read_items(spark: SparkSession, config: InputConfig, item_id_type: IdType) -> ItemsInput:
    """Read ``input.items`` to the driver, its ids in the type of the ratings' item ids.

    Rows whose id does not parse are passed over, and counted in the log; of rows that share an id,
    the first in order of title and genres counts.

    Raises:
        InputError: as ``read_ratings``.
    """
    columns = [ITEM_ID, "title", "genres"]
    if config.items is None:
        return ItemsInput(pd.DataFrame({name: [] for name in columns}, dtype=object), [])
    files = _find(spark, config.items, "input.items")
    sources = _open_sources(spark, config, files, multi_line=True)
    names = config.item_columns
    genres = _optional_column(sources, names.genres, "genres", "input.item_columns.genres")
    parts = []
    for source in sources:
        _require_column(source, names.item, "input.item_columns.item")
        _require_column(source, names.title, "input.item_columns.title")
        item_id, refusal = _parse_id(source, names.item, item_id_type, "item")
        parts.append(
            source.frame.select(
                F.when(~source.malformed & refusal.isNull(), item_id).alias(ITEM_ID),
                source[names.title].cast("string").alias("title"),
                (source[genres].cast("string") if genres else F.lit(None)).alias("genres"),
            )
        )
    rows = reduce(DataFrame.unionAll, parts).toArrow()
    usable = rows.filter(rows.column(ITEM_ID).is_valid())
    if len(usable) < len(rows):
        refused = len(rows) - len(usable)
        logger.warning("input.items: %d of %d rows have no usable id", refused, len(rows))
    items = usable.to_pandas().astype({"title": object, "genres": object})
    items = items.sort_values(columns).drop_duplicates(ITEM_ID).reset_index(drop=True)
    return ItemsInput(items, files)


def _find(spark: SparkSession, pattern: str, key: str) -> list[InputFile]:
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


def _open_sources(
    spark: SparkSession, config: InputConfig, files: Sequence[InputFile], *, multi_line: bool
) -> list[_Source]:
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


def _open_parquet(spark: SparkSession, paths: list[str]) -> _Source:
    try:
        frame = spark.read.parquet(*paths)
    except Exception as error:
        raise InputError(f"{paths[0]}: not a readable Parquet file: {_first_line(error)}") from None
    return _Source(
        frame,
        {field.name: field.dataType for field in frame.schema},
        {name: name for name in frame.columns},
        F.to_json(F.struct(*[F.col(f"`{name}`") for name in frame.columns])),
        F.lit(False),
        paths[0],
    )


def _open_csv(
    spark: SparkSession, paths: list[str], header: tuple[str, ...], separator: str, multi_line: bool
) -> _Source:
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
    return _Source(
        frame,
        dict.fromkeys(columns, StringType()),
        columns,
        F.coalesce(F.col(_CORRUPT), F.concat_ws(separator, *fields)),
        F.col(_CORRUPT).isNotNull(),
        paths[0],
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _head(spark: SparkSession, path: str, n_lines: int) -> list[str]:
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
    lines = _head(spark, path, 1)
    if not lines or not lines[0].strip("\ufeff \t\r"):
        raise InputError(f"{path}: the file has no header line")
    names = next(csv.reader([lines[0].removeprefix("\ufeff")], delimiter=separator))
    return tuple(name.strip() for name in names)


def _require_column(source: _Source, name: str, key: str) -> None:
    if name not in source.columns:
        found = ", ".join(source.columns)
        raise InputError(
            f"{source.file}: no column '{name}' (it has: {found}); "
            f"set {key} to the right one, as in --set {key}=NAME"
        )


def _optional_column(
    sources: Sequence[_Source], configured: str | None, default: str, key: str
) -> str | None:
    """The configured column, which must exist, or the default one where every source has it."""
    if configured is not None:
        for source in sources:
            _require_column(source, configured, key)
        return configured
    return default if all(default in source.columns for source in sources) else None


def _resolve_id_type(
    spark: SparkSession,
    config: InputConfig,
    sources: Sequence[_Source],
    name: str,
    configured: IdType,
) -> IdType:
    if configured != "auto":
        return configured
    source = sources[0]
    column_type = source.types[name]
    if not isinstance(column_type, StringType):
        return "integer"
    if _CORRUPT not in source.frame.columns:  # a Parquet string is a string
        return "string"
    lines = _head(spark, source.file, _SAMPLE_ROWS + 1)[1:]
    position = list(source.columns).index(name)
    rows = csv.reader(lines, delimiter=config.separator)
    return _guess_id_type([row[position].strip() for row in rows if len(row) > position])


def _guess_id_type(sample: Sequence[str]) -> IdType:
    """``integer`` where most of the sample is one and none has a leading zero, as codes have."""
    filled = [text for text in sample if text]
    integers = [text for text in filled if text.removeprefix("-").isdecimal()]
    if any(len(text) > 1 and text.startswith("0") for text in integers):
        return "string"
    return "integer" if 2 * len(integers) >= len(filled) else "string"


def _parse(
    source: _Source,
    config: InputConfig,
    clean: CleanConfig,
    timestamp_name: str | None,
    user_type: IdType,
    item_type: IdType,
) -> DataFrame:
    names = config.columns
    user_id, user_refusal = _parse_id(source, names.user, user_type, "user")
    item_id, item_refusal = _parse_id(source, names.item, item_type, "item")
    rating, rating_refusal = _parse_rating(source, names.rating, clean)
    timestamp, time_refusal = _parse_timestamp(source, timestamp_name)
    malformed = F.when(source.malformed, F.lit("malformed row"))
    reason = F.coalesce(malformed, user_refusal, item_refusal, rating_refusal, time_refusal)
    refused = reason.isNotNull()
    return source.frame.select(
        user_id.alias(USER_ID),
        item_id.alias(ITEM_ID),
        rating.alias(RATING),
        timestamp.alias(TIMESTAMP),
        reason.alias(REASON),
        F.when(refused, source.raw).alias(RAW),
        F.when(refused, F.input_file_name()).alias(FILE),
    )


def _parse_id(source: _Source, name: str, id_type: IdType, kind: str) -> tuple[Column, Column]:
    """The id and the reason to refuse it (null where there is none)."""
    column, column_type = source[name], source.types[name]
    if not isinstance(column_type, (StringType, IntegralType)) and not (
        isinstance(column_type, DecimalType) and column_type.scale == 0
    ):
        raise InputError(
            f"{source.file}: column '{name}' is {column_type.simpleString()}; "
            f"{kind} ids must be integers or strings"
        )
    text = column.cast("string")
    empty = F.when(column.isNull() | (F.trim(text) == ""), F.lit(f"empty {kind} id"))
    if id_type == "string":
        return F.when(empty.isNull(), text), empty
    value = F.trim(text).try_cast("bigint")
    # '007' and '+7' are codes: as integers they would fall together with 7.
    exact = value.isNotNull() & (value.cast("string") == F.trim(text))
    refusal = F.coalesce(empty, F.when(~exact, F.lit(f"{kind} id is not a 64-bit integer")))
    return F.when(exact, value), refusal


def _parse_rating(source: _Source, name: str, clean: CleanConfig) -> tuple[Column, Column]:
    column, column_type = source[name], source.types[name]
    if not isinstance(column_type, (StringType, NumericType)):
        raise InputError(
            f"{source.file}: column '{name}' is {column_type.simpleString()}; ratings are numbers"
        )
    value = column.try_cast("double")
    # Java reads '4.5f' as a number.
    suffixed = F.trim(column.cast("string")).rlike("[0-9.][dDfF]$")
    outside = ~value.between(clean.min_rating, clean.max_rating)
    refusal = (
        F.when(column.isNull() | (F.trim(column.cast("string")) == ""), F.lit("empty rating"))
        .when(value.isNull() | suffixed, F.lit("rating is not a number"))
        .when(F.isnan(value), F.lit("rating is NaN"))
        .when(F.abs(value) == float("inf"), F.lit("rating is infinite"))
        .when(outside, F.lit(f"rating outside {clean.min_rating:g} to {clean.max_rating:g}"))
    )
    return value, refusal


def _parse_timestamp(source: _Source, name: str | None) -> tuple[Column, Column]:
    """Seconds since 1970 from a number, a time, or text of either."""
    nothing = F.lit(None)
    if name is None:
        return nothing.cast("bigint"), nothing.cast("string")
    column, column_type = source[name], source.types[name]
    if isinstance(column_type, (TimestampType, TimestampNTZType, DateType)):
        return F.unix_seconds(column.cast("timestamp")), nothing.cast("string")
    if isinstance(column_type, NumericType):
        return column.try_cast("bigint"), nothing.cast("string")
    if not isinstance(column_type, StringType):
        raise InputError(
            f"{source.file}: column '{name}' is {column_type.simpleString()}; "
            "timestamps are seconds or times"
        )
    value = F.coalesce(column.try_cast("bigint"), F.unix_seconds(column.try_cast("timestamp")))
    filled = column.isNotNull() & (F.trim(column) != "")
    return value, F.when(filled & value.isNull(), F.lit("timestamp is not a time"))
