"""Clusters of items that users rate alike: KMeans on the item factors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int32Array


@dataclass(frozen=True)
class ItemClusters:
    """A label for every item."""

    cluster: Int32Array
    """[n_items], 0..n_clusters-1."""
    distance: Float64Array
    """[n_items]: Euclidean distance to the centroid of the item's own cluster."""
    centroids: Float64Array
    """[n_clusters, n_factors]."""


def cluster_items(item_embeddings: Float32Array, *, n_clusters: int, seed: int) -> ItemClusters:
    """Label items with scikit-learn's KMeans, as the third notebook does.

    Args:
        item_embeddings: float32 [n_items, n_factors], finite.

    Raises:
        ValueError: more clusters than items.
    """
    if n_clusters > len(item_embeddings):
        raise ValueError(f"{n_clusters} clusters asked of {len(item_embeddings)} items")
    from sklearn.cluster import KMeans  # executors run without it

    kmeans = KMeans(n_clusters=n_clusters, random_state=seed).fit(item_embeddings)
    own_centroid = kmeans.cluster_centers_[kmeans.labels_]
    distance = np.linalg.norm(item_embeddings - own_centroid, axis=1).astype(np.float64)
    return ItemClusters(
        kmeans.labels_.astype(np.int32), distance, kmeans.cluster_centers_.astype(np.float64)
    )


@dataclass(frozen=True)
class GenreAgreement:
    """How much clusters and genres have in common, beside what chance gives."""

    adjusted_mutual_information: float
    """Of labels and first genres; 0 is chance, 1 the same partition (Vinh et al., JMLR 2010)."""
    shuffled_mutual_information: float
    """The same for shuffled labels, mean of several shuffles."""
    lift: float
    """Mean over items of their cluster's ``leading_genres`` lift."""
    shuffled_lift: float
    leading_genres: dict[int, tuple[str, float]]
    """Each cluster's most over-represented genre, and how many times its share in the catalogue."""


_SHUFFLES = 20
_LEADING_SHARE = 0.05
"""A leading genre is on at least this share of a cluster's items: one rare title is no genre."""


def measure_genre_agreement(
    cluster: Int32Array, genres: Sequence[str | None], *, seed: int
) -> GenreAgreement | None:
    """Test the third notebook's claim that a cluster holds similar genres.

    Args:
        cluster: [n_items] labels.
        genres: each item's genres, separated by '|', the first its main one.

    Returns:
        None where no item has genres.
    """
    from sklearn.metrics import adjusted_mutual_info_score  # executors run without it

    known = np.array([bool(text) for text in genres])
    if not known.any():
        return None
    labels = cluster[known]
    of_items = [text.split("|") for text in genres if text]
    first = [names[0] for names in of_items]
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(labels) for _ in range(_SHUFFLES)]
    leading = _find_leading_genres(labels, of_items)
    return GenreAgreement(
        float(adjusted_mutual_info_score(first, labels)),
        float(np.mean([adjusted_mutual_info_score(first, other) for other in shuffled])),
        _mean_lift(labels, leading),
        float(
            np.mean(
                [_mean_lift(other, _find_leading_genres(other, of_items)) for other in shuffled]
            )
        ),
        leading,
    )


def _find_leading_genres(
    labels: Int32Array, of_items: Sequence[Sequence[str]]
) -> dict[int, tuple[str, float]]:
    overall = Counter(name for names in of_items for name in names)
    leading = {}
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label).tolist()
        counts = Counter(name for item in members for name in of_items[item])
        lifts = {
            name: (count / len(members)) / (overall[name] / len(of_items))
            for name, count in counts.items()
            if count >= _LEADING_SHARE * len(members)
        }
        name = max(sorted(lifts), key=lambda genre: lifts[genre])
        leading[int(label)] = (name, lifts[name])
    return leading


def _mean_lift(labels: Int32Array, leading: dict[int, tuple[str, float]]) -> float:
    return float(np.mean([leading[label][1] for label in labels.tolist()]))
