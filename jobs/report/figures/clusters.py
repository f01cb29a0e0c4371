"""What the nightly report shows of the items: the lists they are in, their map, their clusters."""

import numpy as np
import pandas as pd

from jobs.report.figures.parts import (
    ClusterCard,
    Coverage,
    GenreShare,
    ItemMap,
    MapItem,
    RankedItem,
    shorten,
    thin,
)
from recsys_core.arrays import Float32Array, Float64Array, Int64Array
from recsys_core.items.cluster_names import list_top_titles

MAX_MAP_ITEMS = 2_000
MAX_CLUSTERS = 30
_MAX_CURVE_POINTS = 100
_MAX_GENRES_TEXT = 40
_TOP_ITEMS = 15
_LEADING_GENRES = 3
_LEADING_SHARE = 0.05
"""A leading genre is on at least this share of a cluster's items: one rare title is no genre."""


def measure_coverage(table: pd.DataFrame, n_lists: int) -> Coverage:
    """How the places of ``n_lists`` lists fall on the items.

    Args:
        table: item_id, name, lists and lists_before of all items, as all functions here.
    """
    lists = np.sort(table["lists"].to_numpy(np.int64))[::-1]
    shares = np.arange(1, len(lists) + 1) / len(lists)
    places = np.cumsum(lists) / max(1, lists.sum())
    corners = thin(list(range(len(lists))), _MAX_CURVE_POINTS)
    curve = [(0.0, 0.0), *((float(shares[at]), float(places[at])) for at in corners)]
    top = table.sort_values(["lists", "item_id"], ascending=[False, True]).head(_TOP_ITEMS)
    return Coverage(
        items=len(table),
        recommended=int((lists > 0).sum()),
        gini=_measure_gini(lists),
        first_ten=float(places[:10][-1]),
        first_tenth=float(places[: -(-len(lists) // 10)][-1]),
        curve=curve,
        top=rank_items(top, n_lists),
    )


def _measure_gini(descending: Int64Array) -> float:
    """The Gini coefficient of counts; 0 where all are 0."""
    n, total = len(descending), int(descending.sum())
    if total == 0:
        return 0.0
    weights = n - 1 - 2 * np.arange(n)
    return float((weights * descending).sum() / (n * total))


def rank_items(rows: pd.DataFrame, n_lists: int) -> list[RankedItem]:
    """The rows as they come, beside the number of all lists."""
    return [
        RankedItem(name, int(lists), int(before), lists / max(1, n_lists))
        for name, lists, before in zip(
            rows["name"].tolist(),
            rows["lists"].tolist(),
            rows["lists_before"].tolist(),
            strict=True,
        )
    ]


def draw_map(table: pd.DataFrame, embeddings: Float32Array) -> ItemMap:
    """The most rated items on the plane of ``project_items``."""
    places, explained = project_items(embeddings)
    shown = table.assign(x=places[:, 0], y=places[:, 1]).sort_values(
        ["rating_count", "item_id"], ascending=[False, True]
    )
    rows = shown.head(MAX_MAP_ITEMS)
    genres = rows["genres"].fillna("").str.replace("|", ", ", regex=False).tolist()
    items = [
        MapItem(name, shorten(text, _MAX_GENRES_TEXT), int(cluster), int(ratings), int(lists), x, y)
        for name, text, cluster, ratings, lists, x, y in zip(
            rows["name"].tolist(),
            genres,
            *(rows[column].tolist() for column in ("cluster", "rating_count", "lists")),
            *(rows[column].round(4).tolist() for column in ("x", "y")),
            strict=True,
        )
    ]
    return ItemMap(items, explained)


def project_items(embeddings: Float32Array) -> tuple[Float64Array, float]:
    """Coordinates [n_items, 2] on the two directions of most variance, and its share in them.

    Lengths are made 1 first, as neighbours are by angle: else a few much rated items take all the
    room, and the others lie on one point.
    """
    rows = embeddings.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    rows -= rows.mean(axis=0)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    directions = vectors[:, ::-1][:, :2]
    # A direction's sign is arbitrary: fixed, so that two reports of one run are the same.
    strongest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[strongest, np.arange(directions.shape[1])])
    places = np.zeros((len(rows), 2))
    places[:, : directions.shape[1]] = rows @ directions
    total = float(values.sum())
    return places, float(values[::-1][:2].sum() / total) if total > 0 else 1.0


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
