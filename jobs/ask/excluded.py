"""Users and items of the input that a published run has left out, and why."""

import json
from typing import Any

import pyarrow.compute as pc

from jobs.ask.published_tables import Id, PublishedTables
from jobs.ask.wording import count_noun
from jobs.tables.columns import ITEM_ID, TITLE
from jobs.tables.published import EXCLUDED


def find_reasons(run: PublishedTables, kind: str, key: Id) -> list[str]:
    """Why a user or item is not in the model, with its number of ratings; empty where it is.

    Args:
        kind: ``user`` or ``item``.
    """
    condition = (pc.field("kind") == kind) & (pc.field("id") == str(key))
    rows = run.read(EXCLUDED, ("reason", "rating_count"), condition)
    return [
        f"{row['reason']} ({count_noun(row['rating_count'], 'valid rating')})"
        for row in rows.to_pylist()
    ]


def read_excluded_titles(run: PublishedTables) -> list[dict[str, Any]]:
    """item_id and title of what was left out, as only the saved model knows them."""
    try:
        facts = json.loads((run.place / "model" / "model.json").read_bytes())
        return [
            {ITEM_ID: item["item_id"], TITLE: item["title"]} for item in facts["excluded_items"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
