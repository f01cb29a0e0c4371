"""Label the items by KMeans on their factors, and show what each cluster holds."""

import logging

import pandas as pd

from jobs.config import ClusterConfig
from jobs.errors import InputError
from jobs.printing import printable
from recsys_core.clustering import cluster_items
from recsys_core.factor_model import FactorModel
from recsys_core.model_format import ItemCatalog

logger = logging.getLogger(__name__)

_TOP_TITLES = 10


def label_items(model: FactorModel, catalog: ItemCatalog, config: ClusterConfig) -> pd.DataFrame:
    """The columns of ``ITEM_CLUSTERS``, one row an item, in order of item_id.

    Raises:
        InputError: fewer items than clusters.
    """
    if config.n_clusters > len(catalog):
        raise InputError(
            f"cluster.n_clusters = {config.n_clusters}, but only {len(catalog)} items are left; "
            "lower it or relax clean.*"
        )
    clusters = cluster_items(model.item_embeddings, n_clusters=config.n_clusters, seed=config.seed)
    return pd.DataFrame(
        {
            "item_id": catalog.item_ids,
            "title": catalog.titles,
            "genres": catalog.genres,
            "cluster": clusters.cluster,
            "distance": clusters.distance,
            "rating_count": catalog.rating_count,
            "mean_rating": catalog.mean_rating,
        }
    )


def log_clusters(labelled: pd.DataFrame) -> None:
    """Log each cluster's ten most rated titles, as the third notebook lists them."""
    for cluster, titles in list_top_titles(labelled).items():
        size = int((labelled["cluster"] == cluster).sum())
        logger.info("cluster %d (%d items): %s", cluster, size, "; ".join(map(printable, titles)))


def list_top_titles(labelled: pd.DataFrame, n_titles: int = _TOP_TITLES) -> dict[int, list[str]]:
    """Each cluster's most rated titles; an item without a title stands as its id."""
    names = labelled["title"].where(labelled["title"].notna(), labelled["item_id"].astype(str))
    ranked = labelled.assign(name=names).sort_values(
        ["cluster", "rating_count", "item_id"], ascending=[True, False, True]
    )
    top = ranked.groupby("cluster").head(n_titles)
    titles: dict[int, list[str]] = {}
    for cluster, name in zip(top["cluster"].tolist(), top["name"].tolist(), strict=True):
        titles.setdefault(cluster, []).append(name)
    return titles
