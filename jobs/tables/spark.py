"""Frames of Spark as published tables."""

from collections.abc import Mapping
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

from jobs.tables.published import Table, TableColumn


def id_type_name(data_type: DataType) -> Literal["integer", "string"]:
    """``integer`` or ``string``, as in the configuration."""
    return "string" if data_type.simpleString() == "string" else "integer"


def conform(frame: DataFrame, table: Table, footer: Mapping[str, str]) -> DataFrame:
    """``frame`` with exactly the columns and types of ``table``, in order.

    Each column carries its comment, and the first also ``footer`` (run id, run date), into the
    schema that Spark writes to the Parquet footers.
    """
    return frame.select(
        *(
            _conform_column(column, footer if position == 0 else {})
            for position, column in enumerate(table.columns)
        )
    )


def _conform_column(column: TableColumn, footer: Mapping[str, str]) -> Column:
    expression = F.col(column.name)
    if column.type is not None:
        expression = expression.cast(column.type)
    return expression.alias(column.name, metadata={"comment": column.comment, **footer})
