"""Clusters of items that users rate alike: KMeans on the item factors."""

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
