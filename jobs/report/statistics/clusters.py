"""The largest clusters: their names, leading genres and most rated titles."""

from dataclasses import dataclass

import pandas as pd

from jobs.report.statistics.limits import shorten
from recsys_core.items.cluster_names import list_top_titles

MAX_CLUSTERS = 30
_LEADING_GENRES = 3
_LEADING_SHARE = 0.05
"""A leading genre is on at least this share of a cluster's items: one rare title is no genre."""


@dataclass(frozen=True)
class GenreShare:
    """How common a genre is in a cluster, and in the catalogue."""

    name: str
    share: float
    catalogue_share: float


@dataclass(frozen=True)
class ClusterCard:
    """One cluster."""

    cluster: int
    name: str
    items: int
    ratings: int
    genres: list[GenreShare]
    titles: list[str]


def describe_clusters(table: pd.DataFrame) -> list[ClusterCard]:
    """The largest clusters."""
    titles = list_top_titles(
        table["cluster"].to_numpy(),
        item_ids=table["item_id"].to_numpy(),
        titles=table["name"].tolist(),
        rating_count=table["rating_count"].to_numpy(),
    )
    genres = table["genres"].dropna().str.split("|").explode().to_frame()
    genres = genres[genres["genres"] != ""].join(table["cluster"])
    n_known = max(1, genres.index.nunique())
    overall = genres["genres"].value_counts() / n_known
    sizes = table.groupby("cluster").agg(items=("item_id", "size"), ratings=("rating_count", "sum"))
    largest = sizes.sort_values("items", ascending=False, kind="stable").head(MAX_CLUSTERS)
    names = _name_clusters(table)
    cards = []
    for cluster, n_items, n_ratings in largest.itertuples():
        own = genres[genres["cluster"] == cluster]
        shares = own["genres"].value_counts() / max(1, own.index.nunique())
        cards.append(
            ClusterCard(
                int(cluster),
                shorten(names.get(cluster, f"Cluster {cluster}")),
                int(n_items),
                int(n_ratings),
                _lead_genres(shares, overall),
                titles[int(cluster)],
            )
        )
    return cards


def _name_clusters(table: pd.DataFrame) -> dict[int, str]:
    """Empty for runs that did not name them."""
    if "cluster_name" not in table:
        return {}
    named = table.drop_duplicates("cluster")
    return dict(zip(named["cluster"].tolist(), named["cluster_name"].tolist(), strict=True))


def _lead_genres(shares: pd.Series, overall: pd.Series) -> list[GenreShare]:
    """The most over-represented genres of a cluster."""
    catalogue = dict(zip(overall.index.tolist(), overall.tolist(), strict=True))
    found = [
        GenreShare(shorten(name), share, catalogue[name])
        for name, share in zip(shares.index.tolist(), shares.tolist(), strict=True)
        if share >= max(_LEADING_SHARE, catalogue[name])
    ]
    found.sort(key=lambda genre: (-genre.share / genre.catalogue_share, genre.name))
    return found[:_LEADING_GENRES]
