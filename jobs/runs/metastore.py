"""A table of the metastore that follows the current run.

The table is external: it owns no files, and a new run is one change of its location.
"""

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.errors import ConfigError, JobError


def check_table(spark: SparkSession, table: str) -> None:
    """Whether ``publish.table`` can be moved to a run, before any work is done.

    Raises:
        ConfigError: no such database, or a table of that name that is no external Parquet table.
    """
    database, _, _ = table.partition(".")
    if not spark.catalog.databaseExists(database):
        raise ConfigError(
            f"publish.table = '{table}': the metastore has no database '{database}'; create it"
        )
    if not spark.catalog.tableExists(table):
        return
    described = _describe(spark, table)
    kind = (described.get("Type", ""), described.get("Provider", "").lower())
    if kind != ("EXTERNAL", "parquet"):
        raise ConfigError(
            f"publish.table = '{table}' is a table of type {kind[0] or 'unknown'} and provider "
            f"{kind[1] or 'unknown'}; an external Parquet table is needed: name another, or drop it"
        )


def move_table(spark: SparkSession, table: str, location: str) -> None:
    """Lead the table to another run's files, in one call to the metastore; made where missing.

    Raises:
        JobError: the metastore refuses; the run is published all the same.
    """
    try:
        if spark.catalog.tableExists(table):
            literal = location.replace("\\", "\\\\").replace("'", "\\'")
            spark.sql(f"ALTER TABLE {table} SET LOCATION '{literal}'")
        else:
            spark.catalog.createTable(table, path=location, source="parquet")
    except PySparkException as error:
        reason = (str(error).splitlines() or ["no message"])[0]
        raise JobError(
            f"the run is current, but publish.table = '{table}' could not be moved to it: "
            f"{reason}; the next run moves it, or run `rollback` to this one"
        ) from None


def _describe(spark: SparkSession, table: str) -> dict[str, str]:
    rows = spark.sql(f"DESCRIBE TABLE EXTENDED {table}").collect()
    return {row["col_name"]: row["data_type"] for row in rows}
