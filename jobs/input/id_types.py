"""Whether ids are integers or text, where the settings leave it to the data."""

import csv
from collections.abc import Sequence

from pyspark.sql import SparkSession
from pyspark.sql.types import StringType

from jobs.input.files import read_head
from jobs.input.source import Source
from jobs.settings.input import IdType

_SAMPLE_ROWS = 1000


def resolve_id_type(
    spark: SparkSession, source: Source, name: str, configured: IdType, separator: str
) -> IdType:
    """``integer`` or ``string``: the configured type, or for ``auto`` that of the data.

    Parquet says its own; of CSV the first thousand rows of one file are looked at.

    Args:
        name: of the ids' column.
        separator: of CSV fields.
    """
    if configured != "auto":
        return configured
    column_type = source.types[name]
    if not isinstance(column_type, StringType):
        return "integer"
    if not source.is_text:  # a Parquet string is a string
        return "string"
    lines = read_head(spark, source.file, _SAMPLE_ROWS + 1)[1:]
    position = list(source.columns).index(name)
    rows = [row for line in lines for row in _split_line(line, separator)]
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
