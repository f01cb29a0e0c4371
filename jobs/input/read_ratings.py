"""Read ratings by column name, and say of each row whether it can be used.

``read_ratings`` gives one frame with a row for every input row:

    user_id    bigint or string   as ``input.user_id_type``; null where it does not parse
    item_id    bigint or string   as ``input.item_id_type``; null where it does not parse
    rating     double
    timestamp  bigint             seconds since 1970, or null
    reason     string             why the row is refused; null for a valid row
    raw, file  string             the row as read and its file; null for a valid row
"""

from dataclasses import dataclass
from functools import partial, reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.input.files import InputFile, find_input
from jobs.input.formats import open_sources
from jobs.input.id_types import resolve_id_type
from jobs.input.quarantine import holds_half_a_quote, parse_id, parse_rating, parse_timestamp
from jobs.input.source import Source, optional_column, require_column
from jobs.settings.clean import CleanConfig
from jobs.settings.input import IdType, InputConfig
from jobs.tables.columns import FILE, ITEM_ID, RATING, RAW, REASON, TIMESTAMP, USER_ID


@dataclass(frozen=True)
class RatingsInput:
    """The ratings as read; see the module's account of ``rows``."""

    rows: DataFrame
    files: list[InputFile]
    has_timestamp: bool

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


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
    resolve = partial(resolve_id_type, spark, sources[0], separator=config.separator)
    user_type = resolve(names.user, config.user_id_type)
    item_type = resolve(names.item, config.item_id_type)
    parts = [_parse(source, config, clean, timestamp, user_type, item_type) for source in sources]
    return RatingsInput(reduce(DataFrame.unionAll, parts), files, timestamp is not None)


def _parse(
    source: Source,
    config: InputConfig,
    clean: CleanConfig,
    timestamp_name: str | None,
    user_type: IdType,
    item_type: IdType,
) -> DataFrame:
    names = config.columns
    user_id, user_refusal = parse_id(source, names.user, user_type, "user")
    item_id, item_refusal = parse_id(source, names.item, item_type, "item")
    rating, rating_refusal = parse_rating(source, names.rating, clean)
    timestamp, time_refusal = parse_timestamp(source, timestamp_name)
    exact = [names.rating, *([timestamp_name] if timestamp_name else [])]
    exact += [names.user] if user_type == "integer" else []
    exact += [names.item] if item_type == "integer" else []
    malformed = F.when(source.malformed | holds_half_a_quote(source, exact), F.lit("malformed row"))
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
