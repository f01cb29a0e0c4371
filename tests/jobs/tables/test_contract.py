"""The data contract is what is published: the file, the schemas and the runs say the same."""

from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from nights import SampleNight
from paths import ROOT
from pyspark.sql import SparkSession

from jobs.errors import AuditError
from jobs.stages.audit.tables import audit_columns
from jobs.tables.columns import ITEM_ID, USER_ID
from jobs.tables.contract import TABLES, describe_contract
from jobs.tables.published import EXCLUDED, ITEM_FACTORS

CONTRACT = ROOT / "conf" / "contract.odcs.yaml"
ARROW_TYPES = {
    "int": "int32",
    "bigint": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "array<float>": "list<element: float>",
    "bigint or string": "int64",  # as the sample's ids are
}


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    return yaml.safe_load(CONTRACT.read_text())


def test_the_file_says_what_the_schemas_say(contract: dict[str, Any]) -> None:
    assert contract == describe_contract()


def test_every_table_has_a_key_and_described_columns(contract: dict[str, Any]) -> None:
    for table in contract["schema"]:
        keys = [column for column in table["properties"] if column.get("primaryKey")]
        places = [column["primaryKeyPosition"] for column in keys]
        assert sorted(places) == [*range(1, len(keys) + 1)] != []
        assert all(column["description"].endswith(".") for column in table["properties"])


def test_the_tables_of_a_run_are_those_of_the_contract(
    contract: dict[str, Any], sample_night: SampleNight
) -> None:
    run = (sample_night.output / "current").resolve()
    tables = {table["name"]: table for table in contract["schema"]}
    published = {file.parent.name for file in run.glob("*/*.parquet")}
    assert published <= set(tables)
    assert {"recommendations", "item_clusters", "user_factors", "recent_ratings"} <= published
    for name in published:
        schema = pq.read_schema(next((run / name).glob("*.parquet")))
        promised = [c for c in tables[name]["properties"] if "tags" not in c]
        assert schema.names == [column["name"] for column in promised]
        types = [str(schema.field(column["name"]).type) for column in promised]
        ids = {USER_ID, ITEM_ID, "similar_item_id"}
        assert types == [ARROW_TYPES[column["physicalType"]] for column in promised]
        assert all(
            column["physicalType"] == "bigint or string"
            for column in promised
            if column["name"] in ids
        )


def test_a_table_with_other_columns_is_not_published(spark: SparkSession) -> None:
    columns = "kind string, id string, reason string, rating_count bigint"
    audit_columns(EXCLUDED, spark.createDataFrame([], columns))
    for wrong in (
        columns.replace("bigint", "int"),
        columns.replace("kind string, id string", "id string, kind string"),
        f"{columns}, more int",
        "kind string",
    ):
        with pytest.raises(AuditError, match=r"excluded has the columns .*, promised are kind str"):
            audit_columns(EXCLUDED, spark.createDataFrame([], wrong))
    ids = "item_id string, factors array<float>"
    audit_columns(ITEM_FACTORS, spark.createDataFrame([], ids))
    with pytest.raises(AuditError):
        audit_columns(ITEM_FACTORS, spark.createDataFrame([], ids.replace("string", "double")))


def test_the_contract_has_every_table() -> None:
    assert len({table.name for table in TABLES}) == len(TABLES) == 9
