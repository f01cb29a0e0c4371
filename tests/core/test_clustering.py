"""Clusters that were planted are found; the arithmetic is checked by hand."""

import numpy as np
import pytest
from core_examples import are_bit_equal

from recsys_core.clustering import cluster_items

CENTRES = np.float32([[10, 0, 0], [0, 10, 0], [0, 0, 10], [-10, -10, -10]])
PLANTED = np.arange(80) % len(CENTRES)


def plant_clusters(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.5, (len(PLANTED), 3))
    return (CENTRES[PLANTED] + noise).astype(np.float32)


def test_planted_clusters_are_found() -> None:
    found = cluster_items(plant_clusters(), n_clusters=4, seed=0).cluster
    label_of = found[: len(CENTRES)]
    assert sorted(label_of.tolist()) == [0, 1, 2, 3]
    assert found.tolist() == label_of[PLANTED].tolist()


def test_distance_is_to_the_centroid_of_the_own_cluster() -> None:
    items = plant_clusters()
    found = cluster_items(items, n_clusters=4, seed=0)
    for cluster in range(4):
        members = items[found.cluster == cluster].astype(np.float64)
        np.testing.assert_allclose(found.centroids[cluster], members.mean(axis=0), rtol=1e-5)
    to_all = np.linalg.norm(items[:, None] - found.centroids[None], axis=2)
    np.testing.assert_allclose(found.distance, to_all[np.arange(80), found.cluster], rtol=1e-5)
    assert found.cluster.tolist() == to_all.argmin(axis=1).tolist()


def test_shapes_and_dtypes() -> None:
    found = cluster_items(plant_clusters(), n_clusters=5, seed=0)
    shapes = [array.shape for array in (found.cluster, found.distance, found.centroids)]
    dtypes = [array.dtype for array in (found.cluster, found.distance, found.centroids)]
    assert shapes == [(80,), (80,), (5, 3)]
    assert dtypes == [np.int32, np.float64, np.float64]


def test_one_seed_gives_one_answer() -> None:
    items = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)  # no clear clusters
    once, again, other = (cluster_items(items, n_clusters=9, seed=seed) for seed in (0, 0, 1))
    for name in ("cluster", "distance", "centroids"):
        assert are_bit_equal(getattr(once, name), getattr(again, name))
    assert not np.array_equal(once.cluster, other.cluster)


def test_as_many_clusters_as_items_leave_no_distance() -> None:
    found = cluster_items(CENTRES, n_clusters=4, seed=0)
    assert sorted(found.cluster.tolist()) == [0, 1, 2, 3]
    np.testing.assert_allclose(found.distance, 0.0, atol=1e-6)


def test_more_clusters_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match="5 clusters asked of 4 items"):
        cluster_items(CENTRES, n_clusters=5, seed=0)
