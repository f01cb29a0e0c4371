"""What slim computes: ridge regressions of each item on its most alike ones, by the equations."""

import numpy as np
import pytest
from core_examples import are_bit_equal, draw_ratings
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import GROUPS, NO_RATINGS, SLIM
from scipy.sparse import csr_matrix

from recsys_core.errors import TrainingError
from recsys_core.models import slim
from recsys_core.models.slim import SlimModel, train_slim
from recsys_core.ranking.model_scorer import ModelScorer


def train(ratings: csr_matrix, **settings: object) -> SlimModel:
    model = train_slim(ratings, **{**SLIM, "seed": 0, "device": "cpu", **settings}).model
    assert isinstance(model, SlimModel)
    return model


def compute_weights(ratings: csr_matrix, m: int, **settings: float) -> np.ndarray:
    """S by the formulas, in dense float64."""
    rated = np.zeros(ratings.shape, dtype=bool)
    rated[ratings.nonzero()] = True
    stars = ratings.toarray().astype(np.float64)
    x = np.where(rated, 1 + settings["rating_weight"] * (stars - stars[rated].mean()), 0.0)
    x = np.maximum(x, 0.0)
    n_users, n_items = rated.sum(axis=1), rated.sum(axis=0)
    activity = np.maximum(n_users, 1) / n_users[n_users > 0].mean()
    gram = x.T @ (x * activity[:, None] ** (-2 * settings["activity_exponent"]))
    weights = np.zeros_like(gram)
    for item in range(len(gram)):
        with np.errstate(all="ignore"):
            likeness = np.nan_to_num(gram[item] / np.sqrt(np.diag(gram)))
        likeness[item] = 0.0
        near = [i for i in np.argsort(-likeness, kind="stable")[:m] if likeness[i] > 0]
        system = gram[np.ix_(near, near)] + settings["regularization"] * np.eye(len(near))
        scale = (max(n_items[item], 1) / n_items[n_items > 0].mean()) ** -settings[
            "popularity_exponent"
        ]
        weights[near, item] = np.linalg.solve(system, gram[near, item]) * scale
    return weights


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    m=st.integers(1, 25),
    rating_weight=st.sampled_from([0.0, 0.2, 0.6]),
    activity=st.sampled_from([0.0, 0.25, 1.0]),
    popularity=st.sampled_from([0.0, 0.1]),
)
def test_weights_are_those_of_the_formulas(
    seed: int, m: int, rating_weight: float, activity: float, popularity: float
) -> None:
    ratings = draw_ratings(30, 20, seed=seed, density=0.3)
    chosen = {
        "regularization": 1.5,
        "activity_exponent": activity,
        "popularity_exponent": popularity,
        "rating_weight": rating_weight,
    }
    model = train(ratings, neighbours=m, **chosen)
    expected = compute_weights(ratings, m, **chosen)
    found = model.weights.matrix.toarray()
    # Neighbours that are alike to the last digits may be chosen one way or the other.
    same = ((found != 0) == (expected != 0)).all(axis=0)
    assert same.mean() > 0.8
    np.testing.assert_allclose(found[:, same], expected[:, same], rtol=1e-4, atol=1e-6)


def test_threads_and_blocks_of_systems_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = draw_ratings(300, 150, seed=1, density=0.1)
    model = train(ratings, n_threads=1)
    again = train(ratings, n_threads=3)
    monkeypatch.setattr(slim, "SYSTEM_BYTES", 4 * SLIM["neighbours"] ** 2 * 7)
    in_blocks = train(ratings)
    for other in (again, in_blocks):
        assert are_bit_equal(other.weights.matrix.data, model.weights.matrix.data)
        assert are_bit_equal(other.weights.matrix.indices, model.weights.matrix.indices)


def test_of_users_with_very_many_ratings_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = draw_ratings(20, 60, seed=2, density=0.2)
    ratings[3] = np.full(60, 4.0)
    ratings = csr_matrix(ratings)
    whole = train(ratings)
    monkeypatch.setattr(slim, "MOST_RATINGS", 25)
    drawn = slim._draw_ratings(ratings, seed=0)
    counts, before = np.diff(drawn.indptr), np.diff(ratings.indptr)
    assert before.max() == 60
    assert counts.max() == 25
    assert (counts[before <= 25] == before[before <= 25]).all()
    assert ((drawn != 0).astype(int) - (ratings != 0).astype(int)).max() <= 0
    some = train(ratings)
    assert are_bit_equal(some.weights.matrix.data, train(ratings).weights.matrix.data)
    assert not np.array_equal(some.weights.matrix.toarray(), whole.weights.matrix.toarray())


PLAIN = {"regularization": 1.0, "activity_exponent": 0.0, "popularity_exponent": 0.0}


def test_two_items_by_hand() -> None:
    """Three users have both, one has only the first: b = 3 / (G_ii + 1)."""
    ratings = csr_matrix(np.float32([[1, 1], [1, 1], [1, 1], [1, 0]]))
    weights = train(ratings, **PLAIN).weights.matrix.toarray()
    np.testing.assert_allclose(weights, [[0, 3 / 5], [3 / 4, 0]], rtol=1e-6)


def test_an_item_that_nobody_shares_has_no_weights_and_comes_last() -> None:
    ratings = csr_matrix(np.float32([[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]))
    trained = train_slim(ratings, **{**SLIM, **PLAIN}, seed=0, device="cpu")
    assert trained.figures["items_without_weights"] == 1
    model = trained.model
    assert not model.weights.matrix.toarray()[3].any()
    assert not model.weights.matrix.toarray()[:, 3].any()
    lists = ModelScorer(model, 4).rank(model.fold(csr_matrix(np.float32([[1, 0, 0, 0]]))))
    assert lists.item_index.tolist()[-1] == 3
    assert lists.score[-1] < min(0.0, *lists.score[:-1].tolist())


def test_a_user_whom_nothing_reaches_gets_the_most_popular() -> None:
    ratings = csr_matrix(np.float32([[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 0, 0]]))
    model = train(ratings, **PLAIN)
    for alone in ([[0, 1, 0, 0]], [[0, 0, 0, 0]]):
        user = csr_matrix(np.float32(alone))
        lists = ModelScorer(model, 4).rank(model.fold(user))
        seen = set(user.indices.tolist())
        by_popularity = [item for item in (2, 3, 0, 1) if item not in seen]
        assert lists.item_index.tolist() == by_popularity
        assert (np.diff(lists.score) <= 0).all()


def test_a_user_who_rated_everything_gets_nothing() -> None:
    model = train(GROUPS.ratings)
    all_rated = csr_matrix(np.full((1, GROUPS.ratings.shape[1]), 3.0, np.float32))
    assert ModelScorer(model, 5).rank(model.fold(all_rated)).counts.tolist() == [0]


def test_ratings_that_are_all_equal_count_as_ones() -> None:
    ratings = GROUPS.ratings.copy()
    ratings.data[:] = 4.0
    weighted, plain = train(ratings, rating_weight=0.3), train(ratings, rating_weight=0.0)
    assert are_bit_equal(weighted.weights.matrix.data, plain.weights.matrix.data)


def test_a_bad_rating_counts_against_what_goes_with_the_item() -> None:
    ratings = csr_matrix(np.tile(np.float32([[5, 5, 0], [5, 5, 5]]), (10, 1)))
    ratings = csr_matrix(np.vstack([ratings.toarray(), np.float32([[1, 0, 5]] * 5)]))
    model = train(ratings, rating_weight=0.5, **PLAIN)
    user = csr_matrix(np.float32([[1, 0, 0]]))
    assert model.fold(user).weights.toarray()[0, 0] < 0
    scores = ModelScorer(model, 3).score_places(model.fold(user), np.array([1, 2]))
    good = ModelScorer(model, 3).score_places(model.fold(csr_matrix(user * 5)), np.array([1, 2]))
    assert (scores < 0).all()
    assert (good > 0).all()


def test_a_rating_that_weighs_nothing_reaches_nothing() -> None:
    ratings = csr_matrix(np.float32([[4, 4, 0], [2, 2, 2], [3, 3, 3]]))
    model = train(ratings, rating_weight=1.0, **PLAIN)
    mean = float(ratings.data.mean())
    user = csr_matrix(np.float32([[mean - 1, 0, 0]]))
    assert model.fold(user).weights.nnz == 0
    lists = ModelScorer(model, 3).rank(model.fold(user))
    assert lists.item_index.tolist() == [1, 2]  # the more popular first


def test_negative_weights_are_kept() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(400) < 0.5
    both = np.stack([first, ~first, rng.random(400) < 0.9], axis=1)
    weights = train(csr_matrix(both.astype(np.float32)), **PLAIN).weights.matrix.toarray()
    assert weights.min() >= -1
    ratings = draw_ratings(60, 40, density=0.4)
    assert train(ratings, neighbours=30, **PLAIN).weights.matrix.data.min() < 0
    assert weights[2, 0] > 0


def test_one_item_alone_and_no_ratings() -> None:
    model = train(csr_matrix(np.ones((3, 1), np.float32)))
    assert model.weights.matrix.nnz == 0
    assert model.item_embeddings.shape[0] == 1
    with pytest.raises(TrainingError, match="no ratings to learn from"):
        train(NO_RATINGS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("indptr", np.zeros(3, np.int64)),
        ("indices", np.full(5, 10**6, np.int32)),
        ("values", np.full(5, np.nan, np.float32)),
        ("popularity", np.full(30, 1.5, np.float32)),
        ("embeddings", np.ones((2, 2), np.float32)),
        ("rating_weight", np.array([np.nan])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: np.ndarray) -> None:
    arrays = train(GROUPS.ratings).to_arrays()
    if name in ("indices", "values"):
        value = np.resize(value, arrays[name].shape).astype(arrays[name].dtype)
    with pytest.raises(ValueError, match=r".+"):
        SlimModel.from_arrays({**arrays, name: value})
