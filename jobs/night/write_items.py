"""The tables that have a night's items for rows: clusters, similar items, factors."""

import pandas as pd
from pyspark.sql import SparkSession

from jobs.night.context import Night
from jobs.night.make_model import NightModel
from jobs.night.prepare_ratings import NightInput, NightRatings
from jobs.runs.current import find_current
from jobs.stages.cluster import (
    EarlierClusters,
    LabelledItems,
    label_items,
    read_earlier_clusters,
)
from jobs.stages.item_factors import list_item_factors
from jobs.stages.similar_items import list_similar_items
from jobs.storage.base import Storage
from jobs.tables.published import ITEM_CLUSTERS, ITEM_FACTORS, SIMILAR_ITEMS, Table


def write_items(
    night: Night, source: NightInput, ratings: NightRatings, model: NightModel
) -> LabelledItems:
    """Cluster the items, and write this and whatever else of them is to be published."""
    publish, factors = night.config.publish, model.trained.model
    earlier = _read_current_clusters(night.spark, night.storage)
    labelled = label_items(factors, ratings.catalog, night.config.cluster, earlier)
    tables: dict[Table, pd.DataFrame] = {ITEM_CLUSTERS: labelled.rows}
    if publish.similar_items:
        tables[SIMILAR_ITEMS] = list_similar_items(
            factors, ratings.catalog, publish.similar_items, ratings.allowed
        )
    if publish.factors:
        tables[ITEM_FACTORS] = list_item_factors(factors, ratings.catalog)
    for table, rows in tables.items():
        night.staged.write_local_table(night.spark, table, rows, source.item_id_type)
    return labelled


def _read_current_clusters(spark: SparkSession, storage: Storage) -> EarlierClusters | None:
    """The labels that readers know, whatever the date of their run: a backfill keeps them too."""
    current = find_current(storage)
    if current is None:
        return None
    uri = storage.uri(f"{current.place}/{ITEM_CLUSTERS.name}")
    return read_earlier_clusters(spark, uri, current.run_id)
