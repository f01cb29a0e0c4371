"""Read titles and genres of the items, by column name, to the driver."""

import logging
from dataclasses import dataclass
from functools import reduce

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.input.files import InputFile, find_input
from jobs.input.formats import open_sources
from jobs.input.quarantine import parse_usable_id
from jobs.input.source import optional_column, require_column
from jobs.settings.input import IdType, InputConfig
from jobs.tables.columns import ITEM_ID

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemsInput:
    """Titles and genres.

    ``items``: pandas with item_id (unique), title (str or None), genres (str or None); empty where
    no items file is configured.
    """

    items: pd.DataFrame
    files: list[InputFile]


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
        parts.append(
            source.frame.select(
                parse_usable_id(source, names.item, item_id_type, "item").alias(ITEM_ID),
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


def _read_text(column: Column) -> Column:
    # Parquet may hold any bytes for text, and Python would not decode them.
    return F.make_valid_utf8(column.cast("string"))
