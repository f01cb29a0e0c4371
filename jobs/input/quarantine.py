"""Why a row is refused: what each field means, and the reason where it means nothing.

Text is parsed here, as Spark's CSV parser takes NaN, 1e13 and an empty id for valid.
"""

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column
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

from jobs.errors import InputError
from jobs.input.source import Source
from jobs.settings.clean import CleanConfig
from jobs.settings.input import IdType

_JAVA_NUMBER = "[0-9.][dDfF]|[xX]"
"""In what Java, and so Spark, reads as a number and nobody else does: '4.5f', '0x1p1'."""


_INVISIBLE = r"^[\s\p{Z}\p{Cc}\p{Cf}]*$"
"""Text without a visible character, such as a no-break space: an id nobody could tell apart."""


_DATED = r"^\s*[-+]?[0-9]{4,6}\b"
"""Begins with a year. Spark reads '10:00' as ten o'clock of the day on which it is run."""


def holds_half_a_quote(source: Source, exact: Sequence[str]) -> Column:
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


def parse_id(source: Source, name: str, id_type: IdType, kind: str) -> tuple[Column, Column]:
    """The id and the reason to refuse it (null where there is none).

    Args:
        kind: whose id it is, for the reason: 'user' or 'item'.

    Raises:
        InputError: a column of a type that holds no ids; as those below for theirs.
    """
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


def parse_usable_id(source: Source, name: str, id_type: IdType, kind: str) -> Column:
    """The id, null where the row is malformed or its id refused."""
    value, refusal = parse_id(source, name, id_type, kind)
    return F.when(~source.malformed & refusal.isNull(), value)


def parse_rating(source: Source, name: str, clean: CleanConfig) -> tuple[Column, Column]:
    """The rating and the reason to refuse it: no finite number of the range."""
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


def parse_timestamp(source: Source, name: str | None) -> tuple[Column, Column]:
    """Seconds since 1970 from a number, a time, or text of either; and the reason to refuse it.

    Args:
        name: of the column; None where the input has no times.
    """
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
