"""Airflow: one night a day, at 02:00 UTC, for the day that has ended.

Copy it to the DAGs folder. The connection `spark_default` names the cluster; RECSYS_HOME is the
checkout on the scheduler's workers, where `./spark-submit.sh --help` has made the environment once.
"""

import os
from datetime import UTC, datetime, timedelta

from airflow import DAG
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

HOME = os.environ["RECSYS_HOME"]

with DAG(
    dag_id="recsys_nightly",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # a second run would end with exit code 6: the output is locked
    default_args={"retries": 1, "retry_delay": timedelta(minutes=10)},
) as dag:
    SparkSubmitOperator(
        task_id="nightly",
        conn_id="spark_default",
        application=f"{HOME}/jobs/nightly.py",
        application_args=[
            "--config",
            f"{HOME}/conf/nightly.toml",
            "--run-date",
            "{{ ds }}",
            "--log-format",
            "json",
        ],
        properties_file=f"{HOME}/conf/spark-defaults.conf",
        py_files=f"{HOME}/.venv/recsys.zip",  # made by spark-submit.sh --master ...
        env_vars={"PYSPARK_DRIVER_PYTHON": f"{HOME}/.venv/bin/python", "PYTHONSAFEPATH": "1"},
        execution_timeout=timedelta(hours=3),
    )
