"""Read ratings and items by column name, and say of each row whether it can be used.

``read_ratings`` gives one frame with a row for every input row:

    user_id    bigint or string   as ``input.user_id_type``; null where it does not parse
    item_id    bigint or string   as ``input.item_id_type``; null where it does not parse
    rating     double
    timestamp  bigint             seconds since 1970, or null
    reason     string             why the row is refused; null for a valid row
    raw, file  string             the row as read and its file; null for a valid row

Text is parsed here, as Spark's CSV parser takes NaN, 1e13 and an empty id for valid.
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DateType,
    DecimalType,
    IntegralType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from jobs.errors import ConfigError, InputError
from jobs.input.files import InputFile
from jobs.input.formats import (
    Source,
    find_input,
    open_sources,
    optional_column,
    read_head,
    require_column,
)
from jobs.settings.config import CleanConfig, IdType, InputConfig, ItemSet
from jobs.tables.published import FILE, ITEM_ID, RATING, RAW, REASON, TIMESTAMP, USER_ID

logger = logging.getLogger(__name__)

_SAMPLE_ROWS = 1000

_JAVA_NUMBER = "[0-9.][dDfF]|[xX]"
"""In what Java, and so Spark, reads as a number and nobody else does: '4.5f', '0x1p1'."""
_INVISIBLE = r"^[\s\p{Z}\p{Cc}\p{Cf}]*$"
"""Text without a visible character, such as a no-break space: an id nobody could tell apart."""
_DATED = r"^\s*[-+]?[0-9]{4,6}\b"
"""Begins with a year. Spark reads '10:00' as ten o'clock of the day on which it is run."""


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


def read_ratings(spark: SparkSession, config: InputConfig, clean: CleanConfig) -> RatingsInput:
    """Read ``input.ratings``.

    Raises:
        InputError: nothing there, an empty file, a missing column, or a column of a type that
            cannot be an id, a rating or a time.
    """
    files = find_input(spark, config.ratings, "input.ratings")
    sources = open_sources(spark, config, files, multi_line=False)
    names = config.columns
    for source in sources:
        for key, name in (("user", names.user), ("item", names.item), ("rating", names.rating)):
            require_column(source, name, f"input.columns.{key}")
    timestamp = optional_column(sources, names.timestamp, TIMESTAMP, "input.columns.timestamp")
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
    files = find_input(spark, config.items, "input.items")
    sources = open_sources(spark, config, files, multi_line=True)
    names = config.item_columns
    genres = optional_column(sources, names.genres, "genres", "input.item_columns.genres")
    parts = []
    for source in sources:
        require_column(source, names.item, "input.item_columns.item")
        require_column(source, names.title, "input.item_columns.title")
        item_id, refusal = _parse_id(source, names.item, item_id_type, "item")
        parts.append(
            source.frame.select(
                F.when(~source.malformed & refusal.isNull(), item_id).alias(ITEM_ID),
                _read_text(source[names.title]).alias("title"),
                (_read_text(source[genres]) if genres else F.lit(None)).alias("genres"),
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


def read_item_set(
    spark: SparkSession, config: InputConfig, item_set: ItemSet, key: str, item_id_type: IdType
) -> tuple[list[Any], list[InputFile]]:
    """The ids of ``rules.allow`` or ``rules.block``, ascending, in the type of the item ids.

    Args:
        item_set: ids, or a file with the column ``input.item_columns.item``.
        key: of the setting, for messages.

    Raises:
        ConfigError: ids of another type than the items'.
        InputError: as ``read_items``; an id that does not parse, as half a list would be no rule.
    """
    wanted = str if item_id_type == "string" else int
    if not isinstance(item_set, str):
        for given in item_set:
            if type(given) is not wanted:
                raise ConfigError(
                    f"{key} = [... {given!r} ...]: item ids are "
                    f"{'text' if wanted is str else 'integers'} (input.item_id_type)"
                )
        return sorted(set(item_set)), []
    files = find_input(spark, item_set, key)
    parts = []
    for source in open_sources(spark, config, files, multi_line=True):
        require_column(source, config.item_columns.item, "input.item_columns.item")
        item_id, refusal = _parse_id(source, config.item_columns.item, item_id_type, "item")
        parts.append(
            source.frame.select(F.when(~source.malformed & refusal.isNull(), item_id).alias("id"))
        )
    ids = reduce(DataFrame.unionAll, parts).toArrow().column("id")
    if ids.null_count:
        raise InputError(
            f"{key} = '{item_set}': {ids.null_count:,} of {len(ids):,} rows have no usable "
            f"{item_id_type} id; mend the file"
        )
    return sorted(set(ids.to_pylist())), files


def _read_text(column: Column) -> Column:
    # Parquet may hold any bytes for text, and Python would not decode them.
    return F.make_valid_utf8(column.cast("string"))


def _resolve_id_type(
    spark: SparkSession,
    config: InputConfig,
    sources: Sequence[Source],
    name: str,
    configured: IdType,
) -> IdType:
    if configured != "auto":
        return configured
    source = sources[0]
    column_type = source.types[name]
    if not isinstance(column_type, StringType):
        return "integer"
    if not source.is_text:  # a Parquet string is a string
        return "string"
    lines = read_head(spark, source.file, _SAMPLE_ROWS + 1)[1:]
    position = list(source.columns).index(name)
    rows = [row for line in lines for row in _split_line(line, config.separator)]
    return _guess_id_type([row[position].strip() for row in rows if len(row) > position])


def _split_line(line: str, separator: str) -> list[list[str]]:
    """The fields of one line, in a list of their own; none where they cannot be told."""
    try:
        return list(csv.reader([line], delimiter=separator))
    except csv.Error:  # a field beyond Python's limit: Spark will quarantine the row, or read it
        return []


def _guess_id_type(sample: Sequence[str]) -> IdType:
    """``integer`` where most of the sample is one and none has a leading zero, as codes have."""
    filled = [text for text in sample if text]
    integers = [text for text in filled if text.isascii() and text.removeprefix("-").isdecimal()]
    if any(len(text) > 1 and text.startswith("0") for text in integers):
        return "string"
    return "integer" if 2 * len(integers) >= len(filled) else "string"


def _parse(
    source: Source,
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
    exact = [names.rating, *([timestamp_name] if timestamp_name else [])]
    exact += [names.user] if user_type == "integer" else []
    exact += [names.item] if item_type == "integer" else []
    malformed = F.when(
        source.malformed | _holds_half_a_quote(source, exact), F.lit("malformed row")
    )
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


def _holds_half_a_quote(source: Source, exact: Sequence[str]) -> Column:
    """Whether a text field was cut by a line end: what is left of it has a quote without its pair.

    A quoted field with a line end comes as several rows, and its last line may look like a rating.

    Args:
        exact: columns that cannot hold a quote, as they are parsed to numbers.
    """
    if not source.is_text:
        return F.lit(False)
    texts = [source[name] for name in source.columns if name not in exact]
    return reduce(
        lambda found, text: (
            found
            | (
                (text.startswith('"') | text.endswith('"'))
                & (F.length(F.regexp_replace(text, '[^"]', "")) % 2 == 1)
            )
        ),
        texts,
        F.lit(False),
    )


def _parse_id(source: Source, name: str, id_type: IdType, kind: str) -> tuple[Column, Column]:
    """The id and the reason to refuse it (null where there is none)."""
    column, column_type = source[name], source.types[name]
    if not isinstance(column_type, (StringType, IntegralType)) and not (
        isinstance(column_type, DecimalType) and column_type.scale == 0
    ):
        raise InputError(
            f"{source.file}: column '{name}' is {column_type.simpleString()}; "
            f"{kind} ids must be integers or strings"
        )
    if id_type == "integer" and isinstance(column_type, IntegralType):
        return column.cast("bigint"), F.when(column.isNull(), F.lit(f"empty {kind} id"))
    text = column.cast("string")
    if id_type == "string":
        # CSV that is not UTF-8 comes with U+FFFD, in which different ids fall together.
        broken = ~F.is_valid_utf8(text) | text.contains("\ufffd")
        refusal = F.when(column.isNull() | text.rlike(_INVISIBLE), F.lit(f"empty {kind} id")).when(
            broken, F.lit(f"{kind} id is not UTF-8")
        )
        return F.when(refusal.isNull(), text), refusal
    empty = F.when(column.isNull() | (F.trim(text) == ""), F.lit(f"empty {kind} id"))
    value = F.trim(text).try_cast("bigint")
    # '007' and '+7' are codes: as integers they would fall together with 7.
    exact = value.isNotNull() & (value.cast("string") == F.trim(text))
    refusal = F.coalesce(empty, F.when(~exact, F.lit(f"{kind} id is not a 64-bit integer")))
    return F.when(exact, value), refusal


def _parse_rating(source: Source, name: str, clean: CleanConfig) -> tuple[Column, Column]:
    column, column_type = source[name], source.types[name]
    if not isinstance(column_type, (StringType, NumericType)):
        raise InputError(
            f"{source.file}: column '{name}' is {column_type.simpleString()}; ratings are numbers"
        )
    value = column.try_cast("double")
    outside = ~value.between(clean.min_rating, clean.max_rating)
    empty, unreadable = column.isNull(), value.isNull()
    if isinstance(column_type, StringType):
        empty |= F.trim(column) == ""
        unreadable |= column.rlike(_JAVA_NUMBER)
    refusal = (
        F.when(empty, F.lit("empty rating"))
        .when(unreadable, F.lit("rating is not a number"))
        .when(F.isnan(value), F.lit("rating is NaN"))
        .when(F.abs(value) == float("inf"), F.lit("rating is infinite"))
        .when(outside, F.lit(f"rating outside {clean.min_rating:g} to {clean.max_rating:g}"))
    )
    return value, refusal


def _parse_timestamp(source: Source, name: str | None) -> tuple[Column, Column]:
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
    time = F.when(column.rlike(_DATED), F.unix_seconds(column.try_cast("timestamp")))
    value = F.coalesce(column.try_cast("bigint"), time)
    filled = column.isNotNull() & (F.trim(column) != "")
    return value, F.when(filled & value.isNull(), F.lit("timestamp is not a time"))
