"""The columns and the number of rows of each staged table."""

from collections.abc import Sequence

from pyspark.sql import DataFrame

from jobs.errors import AuditError
from jobs.tables.published import Table


def audit_columns(table: Table, written: DataFrame) -> None:
    """Hold a staged table to its columns, in order, and their types: the contract of its readers.

    Raises:
        AuditError: names the table, what was written and what was promised.
    """
    found = [(field.name, field.dataType.simpleString()) for field in written.schema.fields]
    promised = [(column.name, column.type or "bigint or string") for column in table.columns]
    kept = len(found) == len(promised) and all(
        name == expected and kind in wanted.split(" or ")
        for (name, kind), (expected, wanted) in zip(found, promised, strict=True)
    )
    if not kept:
        raise AuditError(
            f"{table.name} has the columns {_list_columns(found)}, promised are "
            f"{_list_columns(promised)}; nothing was published"
        )


def _list_columns(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns)


def audit_rows(name: str, written: DataFrame, expected: int) -> int:
    """The number of rows of another staged table, which must be as ``expected``."""
    rows = written.count()
    if rows != expected:
        raise AuditError(
            f"{name} holds {rows:,} rows, expected {expected:,}; nothing was published"
        )
    return rows
