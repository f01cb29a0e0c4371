"""Clusters that were planted are found; the arithmetic is checked by hand."""

from typing import get_args

import numpy as np
import pytest
from core_examples import are_bit_equal
from sklearn.cluster import KMeans

from recsys_core.items import clustering
from recsys_core.items.cluster_metrics import ClusterMetric
from recsys_core.items.cluster_names import list_top_titles, name_clusters
from recsys_core.items.clustering import align_labels, choose_clusters, cluster_items
from recsys_core.items.directions import find_directions

CENTRES = np.float32([[10, 0, 0], [0, 10, 0], [0, 0, 10], [-10, -10, -10]])
PLANTED = np.arange(80) % len(CENTRES)
by_each_metric = pytest.mark.parametrize("metric", get_args(ClusterMetric))


def plant_clusters(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.5, (len(PLANTED), 3))
    return (CENTRES[PLANTED] + noise).astype(np.float32)


@by_each_metric
def test_planted_clusters_are_found(metric: ClusterMetric) -> None:
    found = cluster_items(plant_clusters(), n_clusters=4, metric=metric, seed=0).cluster
    label_of = found[: len(CENTRES)]
    assert sorted(label_of.tolist()) == [0, 1, 2, 3]
    assert found.tolist() == label_of[PLANTED].tolist()


@by_each_metric
def test_distance_is_to_the_centroid_of_the_own_cluster(metric: ClusterMetric) -> None:
    items = plant_clusters()
    found = cluster_items(items, n_clusters=4, metric=metric, seed=0)
    if metric == "cosine":
        items /= np.linalg.norm(items, axis=1, keepdims=True)
        assert found.distance.max() <= 2
    for cluster in range(4):
        members = items[found.cluster == cluster].astype(np.float64)
        np.testing.assert_allclose(
            found.centroids[cluster], members.mean(axis=0), rtol=1e-5, atol=1e-7
        )
    to_all = np.linalg.norm(items[:, None] - found.centroids[None], axis=2)
    np.testing.assert_allclose(found.distance, to_all[np.arange(80), found.cluster], rtol=1e-5)
    assert found.cluster.tolist() == to_all.argmin(axis=1).tolist()


@by_each_metric
def test_shapes_and_dtypes(metric: ClusterMetric) -> None:
    found = cluster_items(plant_clusters(), n_clusters=5, metric=metric, seed=0)
    shapes = [array.shape for array in (found.cluster, found.distance, found.centroids)]
    dtypes = [array.dtype for array in (found.cluster, found.distance, found.centroids)]
    assert shapes == [(80,), (80,), (5, 3)]
    assert dtypes == [np.int32, np.float64, np.float64]


@by_each_metric
def test_one_seed_gives_one_answer(metric: ClusterMetric) -> None:
    items = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)  # no clear clusters
    once, again, other = (
        cluster_items(items, n_clusters=9, metric=metric, seed=seed) for seed in (0, 0, 1)
    )
    for name in ("cluster", "distance", "centroids"):
        assert are_bit_equal(getattr(once, name), getattr(again, name))
    assert not np.array_equal(once.cluster, other.cluster)


def test_as_many_clusters_as_items_leave_no_distance() -> None:
    found = cluster_items(CENTRES, n_clusters=4, metric="euclidean", seed=0)
    assert sorted(found.cluster.tolist()) == [0, 1, 2, 3]
    np.testing.assert_allclose(found.distance, 0.0, atol=1e-6)


@by_each_metric
def test_more_clusters_than_items_are_refused(metric: ClusterMetric) -> None:
    with pytest.raises(ValueError, match="5 clusters asked of 4 items"):
        cluster_items(CENTRES, n_clusters=5, metric=metric, seed=0)


def test_by_euclidean_distance_labels_are_those_of_kmeans_as_it_is() -> None:
    items = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    found = cluster_items(items, n_clusters=9, metric="euclidean", seed=42)
    kmeans = KMeans(9, random_state=42).fit(items)
    assert found.cluster.tolist() == kmeans.labels_.tolist()
    assert np.array_equal(found.centroids, kmeans.cluster_centers_)


def stretch(items: np.ndarray, decades: float) -> np.ndarray:
    """The rows with lengths of any order of magnitude within ``decades``; by powers of two, which
    round nothing."""
    exponents = np.random.default_rng(0).uniform(0, decades / np.log10(2), len(items))
    return items * np.exp2(np.round(exponents))[:, None].astype(np.float32)


def test_long_rows_are_clusters_of_their_own_by_euclidean_distance_alone() -> None:
    items = stretch(plant_clusters(), decades=6)
    sizes = {
        metric: np.bincount(cluster_items(items, n_clusters=4, metric=metric, seed=0).cluster)
        for metric in get_args(ClusterMetric)
    }
    assert 1 in sizes["euclidean"]
    assert sizes["cosine"].tolist() == [20, 20, 20, 20]


def test_by_cosine_lengths_do_not_count() -> None:
    items = plant_clusters()
    short, long = (
        choose_clusters(rows, candidates=[3, 4, 9], metric="cosine", seed=0)
        for rows in (items, stretch(items, decades=6))
    )
    assert short.silhouettes == long.silhouettes
    assert are_bit_equal(short.clusters.cluster, long.clusters.cluster)
    assert are_bit_equal(short.clusters.distance, long.clusters.distance)


def test_an_item_without_direction_is_where_items_agree_the_least() -> None:
    close = np.float32([[1, 0], [1, 0.1], [1, -0.1]])
    wide = np.float32([[-1, 1.2], [-1, 0], [-1, -1.2]])
    items = np.vstack([close, wide, np.zeros((1, 2), np.float32)])
    found = cluster_items(items, n_clusters=2, metric="cosine", seed=0)
    assert found.cluster[:3].tolist() == [found.cluster[0]] * 3
    assert found.cluster[3:].tolist() == [1 - found.cluster[0]] * 4
    lengths = np.linalg.norm(found.centroids, axis=1)
    assert found.distance[-1] == pytest.approx(lengths.min())


def test_directions_are_of_length_one_and_zeros_stay() -> None:
    rows = np.float32([[3, 4], [0, 0], [-1e-30, 0], [0, 1e30]])
    found = find_directions(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [-1, 0], [0, 1]], rtol=1e-7)


def test_the_number_of_planted_clusters_is_chosen() -> None:
    items = plant_clusters()
    chosen = choose_clusters(items, candidates=[7, 2, 4, 3, 7], metric="euclidean", seed=0)
    assert list(chosen.silhouettes) == [2, 3, 4, 7]
    assert max(chosen.silhouettes, key=chosen.silhouettes.__getitem__) == 4
    assert are_bit_equal(
        chosen.clusters.cluster,
        cluster_items(items, n_clusters=4, metric="euclidean", seed=0).cluster,
    )


def test_the_silhouette_is_that_of_its_definition() -> None:
    items = np.float32([[0], [1], [10], [12]])
    chosen = choose_clusters(items, candidates=[2], metric="euclidean", seed=0)
    # (b - a) / max(a, b), a the mean distance to the own cluster and b to the other.
    expected = [(11 - 1) / 11, (10 - 1) / 10, (9.5 - 2) / 9.5, (11.5 - 2) / 11.5]
    assert chosen.silhouettes == {2: pytest.approx(np.mean(expected))}


def test_equally_good_numbers_leave_it_to_the_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "_measure_silhouette", lambda *_: 0.5)
    chosen = choose_clusters(plant_clusters(), candidates=[5, 3], metric="euclidean", seed=0)
    assert len(np.unique(chosen.clusters.cluster)) == 3


def test_a_sample_of_the_items_chooses_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "_SILHOUETTE_ITEMS", 30)
    once, again = (
        choose_clusters(plant_clusters(), candidates=[2, 4, 9], metric="euclidean", seed=1)
        for _ in range(2)
    )
    assert once.silhouettes == again.silhouettes
    assert len(np.unique(once.clusters.cluster)) == 4
    # A sample may fall into one cluster, or have each item in its own: no silhouette, no failure.
    monkeypatch.setattr(clustering, "_SILHOUETTE_ITEMS", 2)
    chosen = choose_clusters(plant_clusters(), candidates=[2, 4], metric="euclidean", seed=1)
    assert chosen.silhouettes == {2: -1.0, 4: -1.0}


@pytest.mark.parametrize("candidates", [[], [1, 2], [2, 4]])
def test_numbers_without_a_silhouette_are_refused(candidates: list[int]) -> None:
    with pytest.raises(ValueError, match="for 4 items"):
        choose_clusters(CENTRES, candidates=candidates, metric="euclidean", seed=0)


def align(cluster: list[int], earlier: list[int]) -> tuple[list[int], int, int, float | None]:
    found = align_labels(np.array(cluster, np.int32), np.array(earlier, np.int32))
    assert found.cluster.dtype == np.int32
    index = found.adjusted_rand_index
    return found.cluster.tolist(), found.shared_items, found.moved_items, index


def test_a_first_clustering_keeps_its_numbers() -> None:
    assert align([1, 0, 2], [-1, -1, -1]) == ([1, 0, 2], 0, 0, None)


def test_other_numbers_of_the_same_clusters_are_undone() -> None:
    earlier = np.random.default_rng(0).integers(0, 10, 300)
    renamed = np.random.default_rng(1).permutation(10)[earlier]
    assert align(renamed.tolist(), earlier.tolist()) == (earlier.tolist(), 300, 0, 1.0)


def test_as_many_items_as_possible_stay() -> None:
    # Cluster 0 shares 3 items with the earlier 0, and 2 with 1; cluster 1 shares 2 with the earlier
    # 0 and none with 1. To take the largest pair first would leave 1 without one, and move 4.
    earlier, cluster = [0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]
    aligned, shared, moved, _ = align(cluster, earlier)
    assert aligned == [1, 1, 1, 1, 1, 0, 0]
    assert (shared, moved) == (7, 3)


def test_more_clusters_take_the_next_numbers_and_fewer_leave_gaps() -> None:
    more, _, moved, index = align([2, 2, 1, 1, 0, 3], [0, 0, 1, 1, 1, -1])
    assert more == [0, 0, 1, 1, 2, 3]
    assert moved == 1
    assert index is not None
    assert 0 < index < 1
    assert align([0, 0, 1, 1], [4, 4, 2, 2]) == ([4, 4, 2, 2], 4, 0, 1.0)


def test_a_cluster_of_new_items_is_not_called_after_one_that_has_gone() -> None:
    # Of three earlier clusters the items of 1 are gone, and 2 is there still: 1 is free.
    assert align([0, 0, 1, 1, 2], [0, 0, 2, 2, -1])[0] == [0, 0, 2, 2, 1]
    # The earlier 7 was merged into 0; a cluster of new items alone is not its successor.
    assert align([0, 0, 0, 1], [0, 0, 7, -1])[0] == [0, 0, 0, 1]


def test_the_index_is_of_shared_items_alone() -> None:
    # Hubert and Arabie's worked formula: (sum - expected) / (mean - expected) of pairs.
    _, shared, moved, index = align([0, 0, 0, 1, 1, 1, 5, 6], [0, 0, 1, 1, 1, 1, -1, -1])
    assert (shared, moved) == (6, 1)
    expected = (3 + 3) * (1 + 6) / 15
    together = 1 + 3
    assert index == pytest.approx((together - expected) / ((6 + 7) / 2 - expected))


GENRES: list[str | None] = ["Western|Crime"] * 4 + ["Drama"] * 5 + [None]


def name(
    cluster: list[int],
    titles: list[str | None],
    genres: list[str | None],
    counts: list[int],
    distances: list[float] | None = None,
) -> dict[int, str]:
    return name_clusters(
        np.array(cluster, np.int32),
        item_ids=np.arange(100, 100 + len(cluster)),
        titles=titles,
        genres=genres,
        rating_count=np.array(counts, np.int64),
        distance=np.zeros(len(cluster)) if distances is None else np.array(distances),
    )


def test_clusters_are_named_by_genres_and_a_well_known_title_near_the_centre() -> None:
    cluster, titles = [0] * 4 + [3] * 6, [f"t{item}" for item in range(10)]
    counts = [5, 9, 9, 1, 2, 2, 8, 1, 1, 7]
    # Of 4 items the 2 most rated count, t1 and t2; of 6 also 2, t6 and t9.
    distances = [0.1, 0.5, 0.4, 0.0, 0.1, 0.1, 0.6, 0.0, 0.0, 0.5]
    assert name(cluster, [*titles], GENRES, counts, distances) == {
        0: "Crime, Western: t2",
        3: "Drama: t9",
    }


def test_of_equally_known_or_near_items_the_first_names_the_cluster() -> None:
    titles: list[str | None] = [f"t{item}" for item in range(6)]
    known, nothing = [3, 9, 9, 9, 1, 1], [None] * 6
    # The last that counts as known is t2, as t1 is, however near t3 is.
    assert name([0] * 6, titles, [*nothing], known, [9, 5, 5, 1, 1, 1]) == {0: "t1"}
    assert name([0] * 6, titles, [*nothing], known, [9, 5, 4, 1, 1, 1]) == {0: "t2"}
    # As near, and better known: still the first.
    assert name([0] * 6, titles, [*nothing], [3, 9, 10, 9, 1, 1], [5] * 6) == {0: "t1"}


def test_an_item_without_a_title_does_not_name_nor_count() -> None:
    titles: list[str | None] = ["a", None, None, "b", "c", "d"]
    # Of the 4 titles 2 are well known, a and b.
    assert name([0] * 6, titles, [None] * 6, [5, 9, 9, 4, 3, 2], [3, 0, 0, 2, 1, 1]) == {0: "b"}


@pytest.mark.parametrize(
    ("of_cluster", "elsewhere", "named"),
    [
        (4, 0, True),  # on a third of the cluster, and nowhere else
        (3, 0, False),  # on less
        (7, 7, False),  # as common elsewhere
        (10, 5, False),  # 10/12 is 1.33 times 15/24
        (9, 3, True),  # 9/12 is 1.5 times 12/24
    ],
)
def test_a_genre_names_a_cluster_that_it_sets_apart(
    of_cluster: int, elsewhere: int, named: bool
) -> None:
    parts = [of_cluster, 12 - of_cluster, elsewhere, 12 - elsewhere]
    genres = [*np.repeat(np.array(["War|Drama", "Drama"] * 2), parts).tolist()]
    names = name([0] * 12 + [1] * 12, ["t"] * 24, genres, [1] * 24)
    assert names == {0: "War: t" if named else "t", 1: "t"}


def test_a_genre_that_is_everywhere_or_rare_names_nothing() -> None:
    common: list[str | None] = ["Drama"] * 10
    rare = [*common[:-1], "Drama|Musical"]
    unlisted = ["(no genres listed)"] * 4 + common[:6]
    for genres in (common, rare, unlisted, [None] * 10, ["|"] * 10):
        assert name([0] * 4 + [1] * 6, ["t"] * 10, [*genres], [1] * 10) == {0: "t", 1: "t"}


def test_without_titles_the_id_stands() -> None:
    titles: list[str | None] = [None, "known", None, None, ""]
    names = name([0, 0, 0, 1, 1], titles, [None] * 5, [9, 1, 1, 1, 3])
    assert names == {0: "known", 1: "104"}


def test_a_long_title_is_cut() -> None:
    assert name([0], ["x" * 500], [None], [1]) == {0: "x" * 59 + "\u2026"}


@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "text"])
def test_the_top_titles_are_the_most_rated_then_those_of_lower_ids(as_text: bool) -> None:
    item_ids = np.array([9, 10, 3, 4, 5])
    top = list_top_titles(
        np.array([7, 7, 7, 0, 7], np.int32),
        item_ids=item_ids.astype(str).astype(object) if as_text else item_ids,
        titles=["nine", "ten", None, "", "five"],
        rating_count=np.array([2, 2, 8, 1, 1]),
        n_titles=3,
    )
    assert top == {0: [""], 7: ["3", *(["ten", "nine"] if as_text else ["nine", "ten"])]}
    assert list(top) == [0, 7]
