"""Clusters of items that users rate alike: KMeans on the item factors, or on their directions.

How many there are, and which of an earlier night's each of them is.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int32Array
from recsys_core.items.cluster_metrics import ClusterMetric
from recsys_core.items.directions import find_directions


@dataclass(frozen=True)
class ItemClusters:
    """A label for every item."""

    cluster: Int32Array
    """[n_items], 0..n_clusters-1."""
    distance: Float64Array
    """[n_items]: Euclidean distance to the centroid of the item's own cluster.

    From the rows that were clustered: with ``cosine`` those of length one, so at most 2."""
    centroids: Float64Array
    """[n_clusters, n_factors]: means of the rows that were clustered, not scaled themselves."""


def cluster_items(
    item_embeddings: Float32Array, *, n_clusters: int, metric: ClusterMetric, seed: int
) -> ItemClusters:
    """Label items with scikit-learn's KMeans.

    With ``euclidean`` as the third notebook does. The length of an embedding mostly says how much
    an item was rated, and the sum of squares that KMeans makes small is that of the longest rows:
    they get clusters of their own, of an item each. With ``cosine`` rows are scaled to length one
    first. (Spherical k-means of Dhillon and Modha 2001 scales the centroids as well.) A row of
    zeros stays zero: it is in the cluster whose centroid is the shortest, that is, whose items
    agree the least; many of them may make a cluster.

    Args:
        item_embeddings: float32 [n_items, n_factors], finite.

    Returns:
        Fewer clusters, with scikit-learn's warning, where fewer rows are distinct: with ``cosine``
        of one factor there are no more than two directions.

    Raises:
        ValueError: more clusters than items.
    """
    rows = _place_items(item_embeddings, metric)
    return _run_kmeans(rows, n_clusters=n_clusters, seed=seed)


def _place_items(item_embeddings: Float32Array, metric: ClusterMetric) -> Float32Array:
    """The rows between which distances are measured, [n_items, n_factors]."""
    return find_directions(item_embeddings) if metric == "cosine" else item_embeddings


def _run_kmeans(rows: Float32Array, *, n_clusters: int, seed: int) -> ItemClusters:
    if n_clusters > len(rows):
        raise ValueError(f"{n_clusters} clusters asked of {len(rows)} items")
    from sklearn.cluster import KMeans  # executors run without it

    kmeans = KMeans(n_clusters=n_clusters, random_state=seed).fit(rows)
    own_centroid = kmeans.cluster_centers_[kmeans.labels_]
    distance = np.linalg.norm(rows - own_centroid, axis=1).astype(np.float64)
    return ItemClusters(
        kmeans.labels_.astype(np.int32), distance, kmeans.cluster_centers_.astype(np.float64)
    )


@dataclass(frozen=True)
class ChosenClusters:
    """Labels for the best of several numbers of clusters."""

    clusters: ItemClusters
    silhouettes: dict[int, float]
    """Mean silhouette (-1 to 1, higher is better) by number of clusters, ascending."""


_SILHOUETTE_ITEMS = 5_000
"""Silhouettes compare every item with every other; a larger catalogue is sampled."""


def choose_clusters(
    item_embeddings: Float32Array,
    *,
    candidates: Sequence[int],
    metric: ClusterMetric,
    seed: int,
) -> ChosenClusters:
    """Cluster into the number whose mean silhouette is largest (Rousseeuw 1987).

    Equally good ones leave it to the smaller number. Silhouettes are of the rows that were
    clustered, see ``cluster_items``; of a large catalogue, of a sample of them, the same for each
    number.

    Args:
        item_embeddings: float32 [n_items, n_factors], finite.
        candidates: numbers of clusters, from 2 to n_items - 1.

    Raises:
        ValueError: no candidates, or one out of that range.
    """
    n_items, numbers = len(item_embeddings), sorted(set(candidates))
    if not numbers or numbers[0] < 2 or numbers[-1] >= n_items:
        raise ValueError(f"numbers of clusters {numbers} for {n_items} items")
    sample = np.arange(n_items)
    if n_items > _SILHOUETTE_ITEMS:
        sample = np.random.default_rng(seed).choice(n_items, _SILHOUETTE_ITEMS, replace=False)
    rows = _place_items(item_embeddings, metric)
    found = {number: _run_kmeans(rows, n_clusters=number, seed=seed) for number in numbers}
    silhouettes = {
        number: _measure_silhouette(rows[sample], clusters.cluster[sample])
        for number, clusters in found.items()
    }
    best = max(numbers, key=lambda number: silhouettes[number])  # the first of equals
    return ChosenClusters(found[best], silhouettes)


def _measure_silhouette(items: Float32Array, cluster: Int32Array) -> float:
    from sklearn.metrics import silhouette_score  # executors run without it

    # Of one cluster, or of clusters of one item each, there is none: as bad as can be.
    if not 2 <= len(np.unique(cluster)) < len(items):
        return -1.0
    return float(silhouette_score(items, cluster))


@dataclass(frozen=True)
class AlignedLabels:
    """Labels that mean what they meant in an earlier clustering, and how far they do."""

    cluster: Int32Array
    """[n_items], at least 0; with gaps where an earlier cluster has no successor."""
    shared_items: int
    """Items that had an earlier label."""
    moved_items: int
    """Those of them whose label is another now."""
    adjusted_rand_index: float | None
    """Of the two labels of the shared items; 1 is the same partition, 0 chance (Hubert and Arabie
    1985). None where none is shared."""


def align_labels(cluster: Int32Array, earlier: Int32Array) -> AlignedLabels:
    """Number clusters after the earlier ones that they continue.

    Clusters are paired so that as many items as possible keep their label: the assignment problem
    (Kuhn 1955), on the numbers of items that each pair has in common. A cluster without an earlier
    one that it shares an item with is new; new ones take the free numbers from 0 in order.

    Args:
        cluster: [n_items] labels.
        earlier: [n_items] labels, below 0 for items that had none.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and executors need neither
    from sklearn.metrics import adjusted_rand_score

    shared = earlier >= 0
    labels, row = np.unique(cluster, return_inverse=True)
    earlier_labels, column = np.unique(earlier[shared], return_inverse=True)
    common = np.zeros((len(labels), len(earlier_labels)), dtype=np.int64)
    np.add.at(common, (row[shared], column), 1)
    continued = {
        int(new): int(earlier_labels[old])
        for new, old in zip(*linear_sum_assignment(common, maximize=True), strict=True)
        if common[new, old]
    }
    taken = set(continued.values())
    free = (number for number in itertools.count() if number not in taken)
    number_of = [
        continued[position] if position in continued else next(free)
        for position in range(len(labels))
    ]
    aligned = np.array(number_of, dtype=np.int32)[row]
    return AlignedLabels(
        aligned,
        int(shared.sum()),
        int((aligned != earlier)[shared].sum()),
        float(adjusted_rand_score(earlier[shared], aligned[shared])) if shared.any() else None,
    )
