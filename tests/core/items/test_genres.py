import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys_core.items.cluster_names import measure_genre_agreement
from recsys_core.items.clustering import cluster_items
from recsys_core.models.nmf import train_nmf
from recsys_core.sample.generator import iter_ratings, make_items


def test_labels_that_follow_genres_agree_and_shuffled_ones_do_not() -> None:
    genres: list[str | None] = ["Horror"] * 30 + ["Comedy|Romance"] * 60
    agreement = measure_genre_agreement(
        np.repeat([1, 0], [30, 60]).astype(np.int32), genres, seed=0
    )
    assert agreement is not None
    assert agreement.adjusted_mutual_information == pytest.approx(1.0)
    assert abs(agreement.shuffled_mutual_information) < 0.05
    assert agreement.leading_genres == {0: ("Comedy", 1.5), 1: ("Horror", 3.0)}
    assert agreement.lift == pytest.approx((60 * 1.5 + 30 * 3.0) / 90)
    assert agreement.shuffled_lift < 1.3


def test_items_without_genres_do_not_count() -> None:
    genres = ["A", "A", "B", "B", None, ""]
    agreement = measure_genre_agreement(np.array([0, 0, 1, 1, 0, 1], np.int32), genres, seed=0)
    assert agreement is not None
    assert agreement.adjusted_mutual_information == pytest.approx(1.0)
    assert measure_genre_agreement(np.zeros(2, np.int32), [None, None], seed=0) is None


def test_where_every_genre_is_rare_the_most_frequent_one_leads() -> None:
    genres: list[str | None] = [f"{item:02d}" for item in range(59)] + ["58"]
    agreement = measure_genre_agreement(np.zeros(60, np.int32), genres, seed=0)
    assert agreement is not None
    assert agreement.leading_genres == {0: ("58", 1.0)}


def test_planted_genres_are_recovered_on_the_built_in_sample() -> None:
    items = make_items(1_000, seed=0)
    chunks = list(iter_ratings(600, 60_000, items, seed=0))
    users = np.concatenate([chunk.user_id for chunk in chunks]) - 1
    columns = np.searchsorted(items.item_id, np.concatenate([chunk.item_id for chunk in chunks]))
    ratings = csr_matrix((np.concatenate([chunk.rating for chunk in chunks]), (users, columns)))
    trained = train_nmf(ratings, n_components=20, init="nndsvd", max_iter=200, tol=1e-4, seed=0)
    clusters = cluster_items(trained.model.item_embeddings, n_clusters=10, metric="cosine", seed=42)
    agreement = measure_genre_agreement(clusters.cluster, items.genres, seed=0)
    assert agreement is not None
    assert agreement.adjusted_mutual_information > 0.3
    assert abs(agreement.shuffled_mutual_information) < 0.02
    assert agreement.lift > 1.5 * agreement.shuffled_lift
