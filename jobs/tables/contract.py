"""The published tables as a data contract: the Open Data Contract Standard (ODCS), version 3.

``conf/contract.odcs.yaml`` is what ``describe_contract`` says, for catalogs and other tools; a test
holds the two equal, and the audit holds every run to the same columns.
"""

from typing import Any

from jobs.tables.published import (
    EVALUATION,
    EXCLUDED,
    ITEM_CLUSTERS,
    ITEM_FACTORS,
    RECENT_RATINGS,
    RECOMMENDATIONS,
    SCORED_USERS,
    SIMILAR_ITEMS,
    TITLED_RECOMMENDATIONS,
    USER_FACTORS,
    Table,
    TableColumn,
)

_LOGICAL = {
    "bigint": "integer",
    "int": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
    "array<float>": "array",
}
_ID = "bigint or string"
"""Ids have the type they had in the input."""

TABLES: dict[Table, str] = {
    RECOMMENDATIONS: "The list of each user, best first.",
    ITEM_CLUSTERS: "Every item of the model, and the cluster it is in.",
    SIMILAR_ITEMS: "Neighbours of each item; with publish.similar_items > 0.",
    RECENT_RATINGS: "Latest ratings of the users in the report; with publish.report = true.",
    EXCLUDED: "Users, items and rows of the input that are not in the run, and why.",
    EVALUATION: "How good models were on held-out ratings; where the night is evaluated.",
    USER_FACTORS: "What users were folded in to; with publish.factors = true.",
    SCORED_USERS: "Whom the model scored, and from what; with publish.scored_users = true.",
    ITEM_FACTORS: "What the scores are made of; with publish.factors = true.",
}
"""Every table of a run and what it holds."""
OPTIONAL = {(RECOMMENDATIONS.name, TITLED_RECOMMENDATIONS.columns[-1].name)}
"""Columns that are there when asked for: (table, column)."""


def describe_contract() -> dict[str, Any]:
    """The contract as plain data, in the order of the standard."""
    return {
        "apiVersion": "v3.0.2",
        "kind": "DataContract",
        "id": "recsys-nightly",
        "name": "Nightly recommendations",
        "version": "1.0.0",
        "status": "active",
        "description": {
            "purpose": "Recommendations for every user, made anew each night, for other tables "
            "and services to read.",
            "usage": "Follow CURRENT.json, or the link `current`, once, and read the run it names: "
            "a run never changes. It stays for at least publish.keep_hours.",
        },
        "schema": [_describe_table(table, about) for table, about in TABLES.items()],
    }


def _describe_table(table: Table, about: str) -> dict[str, Any]:
    columns = TITLED_RECOMMENDATIONS.columns if table is RECOMMENDATIONS else table.columns
    return {
        "name": table.name,
        "physicalName": f"runs/<run_id>/{table.name}/*.parquet",
        "logicalType": "object",
        "physicalType": "table",
        "description": about,
        "properties": [_describe_column(table, column) for column in columns],
    }


def _describe_column(table: Table, column: TableColumn) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": column.name,
        # An id may be a number or a text: its logical type is the wider one.
        "logicalType": _LOGICAL[column.type] if column.type is not None else "string",
        "physicalType": column.type or _ID,
        "description": column.comment,
    }
    if (table.name, column.name) in OPTIONAL:
        described["tags"] = ["with publish.titles = true"]
    if column.name in table.key:
        described["primaryKey"] = True
        described["primaryKeyPosition"] = table.key.index(column.name) + 1
    return described
