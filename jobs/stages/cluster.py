"""The clusters of the items: found, numbered as in the run before, named and described."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.errors import InputError
from jobs.process.terminal import printable
from jobs.settings.cluster import CHOOSE, ClusterConfig
from jobs.tables.columns import ITEM_ID
from recsys_core.arrays import Int32Array
from recsys_core.items.catalog import ItemCatalog
from recsys_core.items.cluster_names import (
    list_top_titles,
    measure_genre_agreement,
    name_clusters,
)
from recsys_core.items.clustering import (
    AlignedLabels,
    ChosenClusters,
    align_labels,
    choose_clusters,
    cluster_items,
)
from recsys_core.model_form.item_model import ItemModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EarlierClusters:
    """The labels that readers know: those of the run that is current."""

    run_id: str
    label_of: dict[Any, int]
    """By item id."""


@dataclass(frozen=True)
class LabelledItems:
    """The clusters of a night."""

    rows: pd.DataFrame
    """The columns of ``ITEM_CLUSTERS``, one row an item, in order of item_id."""
    names: dict[int, str]
    """By label, ascending; made of titles, which are untrusted."""
    silhouettes: dict[int, float]
    """By number of clusters, of those that were tried; empty where the number was given."""
    aligned: AlignedLabels
    compared_with: str | None
    """Run whose numbers the clusters keep."""


def read_earlier_clusters(spark: SparkSession, uri: str, run_id: str) -> EarlierClusters | None:
    """The labels in a run's ``ITEM_CLUSTERS``; None, with a warning, where it cannot be read."""
    try:
        labels = F.col("cluster").cast("int")
        rows = spark.read.parquet(uri).select(ITEM_ID, labels.alias("cluster")).dropna().toArrow()
    except (PySparkException, Py4JJavaError):
        logger.debug("failed in Spark", exc_info=True)
        logger.warning("%s cannot be read: clusters are numbered anew", uri)
        return None
    ids, labels_found = (rows[name].to_pylist() for name in (ITEM_ID, "cluster"))
    return EarlierClusters(run_id, dict(zip(ids, labels_found, strict=True)))


def label_items(
    model: ItemModel,
    catalog: ItemCatalog,
    config: ClusterConfig,
    earlier: EarlierClusters | None = None,
) -> LabelledItems:
    """Cluster the items, number the clusters as an earlier run did, and name them.

    Raises:
        InputError: fewer items than clusters.
    """
    chosen = _find_clusters(model, len(catalog), config)
    aligned = align_labels(chosen.clusters.cluster, _find_earlier_labels(catalog, earlier))
    names = name_clusters(
        aligned.cluster,
        item_ids=catalog.item_ids,
        titles=catalog.titles,
        genres=catalog.genres,
        rating_count=catalog.rating_count,
        distance=chosen.clusters.distance,
    )
    rows = pd.DataFrame(
        {
            "item_id": catalog.item_ids,
            "title": catalog.titles,
            "genres": catalog.genres,
            "cluster": aligned.cluster,
            "cluster_name": [names[label] for label in aligned.cluster.tolist()],
            "distance": chosen.clusters.distance,
            "rating_count": catalog.rating_count,
            "mean_rating": catalog.mean_rating,
        }
    )
    compared_with = None if earlier is None else earlier.run_id
    return LabelledItems(rows, names, chosen.silhouettes, aligned, compared_with)


def _find_clusters(model: ItemModel, n_items: int, config: ClusterConfig) -> ChosenClusters:
    if config.n_clusters == CHOOSE:
        candidates = [number for number in config.choose_from if number < n_items]
        if not candidates:
            raise InputError(
                f"cluster.choose_from = {config.choose_from}, but only {n_items} items are left, "
                "and there must be more items than clusters; lower it or relax clean.*"
            )
        return choose_clusters(
            model.item_embeddings, candidates=candidates, metric=config.metric, seed=config.seed
        )
    if config.n_clusters > n_items:
        raise InputError(
            f"cluster.n_clusters = {config.n_clusters}, but only {n_items} items are left; "
            "lower it or relax clean.*"
        )
    clusters = cluster_items(
        model.item_embeddings,
        n_clusters=config.n_clusters,
        metric=config.metric,
        seed=config.seed,
    )
    return ChosenClusters(clusters, {})


def _find_earlier_labels(catalog: ItemCatalog, earlier: EarlierClusters | None) -> Int32Array:
    """[n_items], -1 where there is none; ids of another type are compared as text."""
    ids, label_of = catalog.item_ids.tolist(), {} if earlier is None else earlier.label_of
    if {type(item) for item in ids} != {type(item) for item in label_of}:
        ids = [str(item) for item in ids]
        label_of = {str(item): label for item, label in label_of.items()}
    return np.array([label_of.get(item, -1) for item in ids], dtype=np.int32)


def describe_clusters(labelled: LabelledItems, config: ClusterConfig) -> dict[str, Any]:
    """Log what each cluster holds, how it was found and whether its genres agree; the same as data.

    The ten most rated titles of each cluster are the third notebook's listing, and the agreement is
    the test of its closing claim.
    """
    if labelled.silhouettes:
        scores = ", ".join(f"{n}: {value:.3f}" for n, value in labelled.silhouettes.items())
        logger.info("%d clusters, chosen by silhouette of %s", len(labelled.names), scores)
    sizes = labelled.rows["cluster"].value_counts()
    top_titles = list_top_titles(
        labelled.rows["cluster"].to_numpy(),
        item_ids=labelled.rows[ITEM_ID].to_numpy(),
        titles=labelled.rows["title"].tolist(),
        rating_count=labelled.rows["rating_count"].to_numpy(),
    )
    for cluster, titles in top_titles.items():
        name, shown = printable(labelled.names[cluster]), "; ".join(map(printable, titles))
        logger.info("cluster %d, %s (%d items): %s", cluster, name, sizes[cluster], shown)
    return {
        "n_clusters": len(labelled.names),
        "silhouettes": labelled.silhouettes,
        "names": labelled.names,
        "stability": _describe_stability(labelled),
        **_describe_agreement(labelled.rows, config.seed),
    }


def _describe_stability(labelled: LabelledItems) -> dict[str, Any]:
    aligned = labelled.aligned
    if aligned.adjusted_rand_index is not None:
        logger.info(
            "clusters keep the numbers of run %s: %d of %d items moved, adjusted Rand index %.3f",
            labelled.compared_with,
            aligned.moved_items,
            aligned.shared_items,
            aligned.adjusted_rand_index,
        )
    return {
        "compared_with": labelled.compared_with,
        "shared_items": aligned.shared_items,
        "moved_items": aligned.moved_items,
        "adjusted_rand_index": aligned.adjusted_rand_index,
    }


def _describe_agreement(rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    agreement = measure_genre_agreement(
        rows["cluster"].to_numpy(), rows["genres"].tolist(), seed=seed
    )
    if agreement is None:
        return {}
    logger.info(
        "clusters and genres: adjusted mutual information %.3f (shuffled labels %.3f), "
        "lift of the leading genres %.2f (shuffled labels %.2f)",
        agreement.adjusted_mutual_information,
        agreement.shuffled_mutual_information,
        agreement.lift,
        agreement.shuffled_lift,
    )
    for cluster, (genre, lift) in agreement.leading_genres.items():
        logger.info("cluster %d leans to %s: %.1f times its share", cluster, printable(genre), lift)
    return asdict(agreement)
