"""Tables of items made from their factors: cluster labels, neighbours, the factors themselves."""

import logging
from dataclasses import asdict
from typing import Any

import pandas as pd

from jobs.config import ClusterConfig
from jobs.errors import InputError
from jobs.printing import printable
from recsys_core.clustering import cluster_items, measure_genre_agreement
from recsys_core.factor_model import FactorModel
from recsys_core.model_format import ItemCatalog
from recsys_core.similarity import rank_similar

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


def describe_clusters(labelled: pd.DataFrame, config: ClusterConfig) -> dict[str, Any]:
    """Log what each cluster holds and whether its genres agree; the same as data.

    The ten most rated titles of each cluster are the third notebook's listing, and the agreement is
    the test of its closing claim.
    """
    sizes = labelled["cluster"].value_counts()
    for cluster, titles in list_top_titles(labelled).items():
        shown = "; ".join(map(printable, titles))
        logger.info("cluster %d (%d items): %s", cluster, sizes[cluster], shown)
    agreement = measure_genre_agreement(
        labelled["cluster"].to_numpy(), labelled["genres"].tolist(), seed=config.seed
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


def list_similar_items(model: FactorModel, catalog: ItemCatalog, k: int) -> pd.DataFrame:
    """The columns of ``SIMILAR_ITEMS``: each item's k nearest by cosine of the factors."""
    ranked = rank_similar(model.item_embeddings, k)
    return pd.DataFrame(
        {
            "item_id": catalog.item_ids[ranked.user_row],
            "rank": ranked.rank,
            "similar_item_id": catalog.item_ids[ranked.item_index],
            "similarity": ranked.score,
        }
    )


def list_item_factors(model: FactorModel, catalog: ItemCatalog) -> pd.DataFrame:
    """The columns of ``ITEM_FACTORS``."""
    return pd.DataFrame({"item_id": catalog.item_ids, "factors": list(model.item_factors)})


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
