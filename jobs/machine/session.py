"""The Spark session, made from what spark-submit was given."""

from pyspark.sql import SparkSession

from jobs.settings.config import SparkConfig

ARROW_BATCH_BYTES = 16 * 2**20
"""What a Python worker receives at once, but for a single row that is larger."""

_SETTINGS = {
    # Also in conf/spark-defaults.conf; here they hold for sessions made without it, as results
    # depend on them.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.pyspark.validateSchema.enabled": "true",
    # Rows of a user may be large: what a Python worker receives at once is bounded in bytes too.
    "spark.sql.execution.arrow.maxBytesPerBatch": str(ARROW_BATCH_BYTES),
}

_HADOOP_SETTINGS = {
    # Only Parquet files in a table's directory: DuckDB and Polars do not pass over others.
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",  # writes no .crc files
}


def open_session(config: SparkConfig, *, metastore: bool = False) -> SparkSession:
    """The session of this process, with the settings this job's results depend on.

    Args:
        metastore: whether tables of the Hive metastore are needed.
    """
    builder = SparkSession.builder.appName("recsys-nightly")
    if metastore:
        builder = builder.enableHiveSupport()
    spark = builder.getOrCreate()
    for key, value in _SETTINGS.items():
        spark.conf.set(key, value)
    hadoop = spark._jsc.hadoopConfiguration()
    for key, value in _HADOOP_SETTINGS.items():
        hadoop.set(key, value)
    if config.arrow_batch_rows is not None:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", config.arrow_batch_rows)
    return spark


def choose_partitions(spark: SparkSession, config: SparkConfig, input_bytes: int) -> int:
    """How many partitions the ratings are split into by user.

    The configured number, else ``spark.sql.shuffle.partitions`` where somebody set it, else two for
    each task slot and no more than 32 MiB of input in any.
    """
    if config.shuffle_partitions is not None:
        return config.shuffle_partitions
    given = spark.sparkContext.getConf().get("spark.sql.shuffle.partitions")
    if given is not None:
        return int(given)
    by_size = -(-input_bytes // (32 * 2**20))
    return max(2 * spark.sparkContext.defaultParallelism, by_size)
