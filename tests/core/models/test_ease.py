"""What ease computes: Steck's closed form, in as many directions of item space as are asked for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.als_training import measure_ndcg, read_movielens
from core_examples import are_bit_equal, draw_ratings
from model_cases import EASE, GROUPS, NO_RATINGS
from scipy.sparse import csr_matrix, kron
from threadpoolctl import threadpool_limits

from recsys_core.errors import DeviceError, TrainingError
from recsys_core.evaluation.splits import Split, hold_out_at_random
from recsys_core.linalg.randomized_subspace import find_principal_directions
from recsys_core.model_form.rating_weights import EQUAL, RatingWeights
from recsys_core.models.base import TrainedModel
from recsys_core.models.ease import EaseModel, train_ease
from recsys_core.models.nmf import train_nmf
from recsys_core.sparse import mark_seen


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small, on a machine that has other work, wait for threads more than compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def train(ratings: csr_matrix, **settings: object) -> EaseModel:
    arguments = {**EASE, "seed": 0, "device": "cpu", **settings}
    model = train_ease(ratings, **arguments).model
    assert isinstance(model, EaseModel)
    return model


def weigh_ratings(ratings: csr_matrix, rating_weight: float, mean: float) -> np.ndarray:
    """Dense float64 [n_users, n_items]: 1 + c (r - mean r) where there is a rating."""
    seen = mark_seen(ratings).toarray().astype(np.float64)
    return seen * (1 + rating_weight * (ratings.toarray() - mean))


def weigh_users(ratings: csr_matrix, exponent: float, rating_weight: float = 0.0) -> np.ndarray:
    """X dense, float64: each rating's weight, times (n / mean n)^-b for a user of n ratings."""
    weights = weigh_ratings(ratings, rating_weight, float(ratings.data.mean()))
    counts = np.diff(ratings.indptr)
    return (
        np.maximum(weights, 0)
        * ((np.maximum(counts, 1) / counts[counts > 0].mean()) ** -exponent)[:, None]
    )


def compute_full_ease(
    ratings: csr_matrix,
    regularization: float,
    activity_exponent: float = 0.0,
    rating_weight: float = 0.0,
) -> np.ndarray:
    """B = I - P diag(P)^-1 with P = (X'X + lambda I)^-1, float64 [n_items, n_items]."""
    seen = weigh_users(ratings, activity_exponent, rating_weight)
    inverse = np.linalg.inv(seen.T @ seen + regularization * np.eye(seen.shape[1]))
    return np.eye(seen.shape[1]) - inverse / np.diag(inverse)


def compute_model_ease(model: EaseModel) -> np.ndarray:
    """B of the model, its diagonal set to zero as EASE's is."""
    weights = model.vectors.astype(np.float64) @ model.item_factors.T
    np.fill_diagonal(weights, 0.0)
    return weights


@pytest.mark.parametrize(("n_users", "n_items"), [(60, 20), (15, 40), (30, 30)])
@pytest.mark.parametrize("popularity", [0.0, 0.5])
@pytest.mark.parametrize("activity", [0.0, 0.5])
@pytest.mark.parametrize("rating_weight", [0.0, 0.2, 0.6])
def test_ease_of_full_rank_is_ease(
    n_users: int, n_items: int, popularity: float, activity: float, rating_weight: float
) -> None:
    ratings = draw_ratings(n_users, n_items)
    model = train(
        ratings,
        n_factors=40,
        regularization=5.0,
        popularity_exponent=popularity,
        activity_exponent=activity,
        rating_weight=rating_weight,
    )
    assert model.vectors.shape[1] == min(n_users, n_items)
    expected = compute_full_ease(ratings, 5.0, activity, rating_weight)
    np.testing.assert_allclose(compute_model_ease(model), expected, atol=1e-5)


@pytest.mark.parametrize(("n_users", "n_items"), [(120, 90), (60, 90)])
@pytest.mark.parametrize("exponent", [0.0, 0.4])
def test_ease_with_many_iterations_keeps_the_largest_directions(
    n_users: int, n_items: int, exponent: float
) -> None:
    ratings = draw_ratings(n_users, n_items)
    seen = weigh_users(ratings, 0.25)
    kept = np.linalg.svd(seen * mark_seen(ratings).toarray().sum(axis=0) ** -exponent)[2][:30].T
    _, values, turn = np.linalg.svd(seen @ kept, full_matrices=False)
    shrunk = values**2 / (values**2 + 4.0)
    v = kept @ turn.T
    expected = v * shrunk @ v.T / (1.0 - v**2 @ shrunk)
    np.fill_diagonal(expected, 0.0)
    settings = {"n_factors": 30, "regularization": 4.0, "popularity_exponent": exponent}
    exact, coarse = (train(ratings, **settings, power_iterations=n) for n in (2_000, 1))
    np.testing.assert_allclose(compute_model_ease(exact), expected, atol=2e-3)
    assert np.abs(compute_model_ease(coarse) - expected).max() > 0.02


def test_ease_scaled_by_length_has_rows_of_the_root_of_their_length() -> None:
    ratings = draw_ratings(60, 30)
    plain, scaled = (train(ratings, n_factors=9, scaling=each) for each in ("diagonal", "length"))
    lengths = np.linalg.norm(plain.vectors, axis=1)
    assert lengths.max() > 1.5 * lengths.min()
    np.testing.assert_allclose(
        scaled.vectors @ scaled.item_factors.T,
        plain.vectors @ plain.vectors.T / np.sqrt(np.outer(lengths, lengths)),
        atol=1e-6,
    )
    np.testing.assert_allclose(np.linalg.norm(scaled.vectors, axis=1), np.sqrt(lengths), rtol=1e-5)


def test_ease_of_two_items_that_go_together() -> None:
    """Both rated by the same two users: s^2 = 4, v = (1, 1) / sqrt 2, h = 4 / 5."""
    together = csr_matrix(np.array([[1, 1], [1, 1], [0, 0]], dtype=np.float32))
    model = train(together, n_factors=1, regularization=1.0)
    np.testing.assert_allclose(model.vectors, np.full((2, 1), 0.4**0.5), rtol=1e-6)
    np.testing.assert_allclose(model.scale, [1 / 0.6, 1 / 0.6], rtol=1e-6)
    score = model.fold_in(together[:1, :])[0] @ model.item_factors[1]
    assert score == pytest.approx(2 * 0.4 / 0.6, rel=1e-6)


def test_ease_counts_what_is_stored_whatever_the_rating() -> None:
    ratings = draw_ratings(40, 20)
    zeros = csr_matrix((np.zeros_like(ratings.data), ratings.indices, ratings.indptr))
    model = train(ratings)
    assert are_bit_equal(train(zeros).item_factors, model.item_factors)
    assert are_bit_equal(model.fold_in(zeros), model.fold_in(ratings))
    np.testing.assert_allclose(
        model.fold_in(ratings), (ratings > 0).astype(np.float64) @ model.vectors, rtol=1e-5
    )


def test_ease_with_ratings_lets_a_bad_one_count_against_what_is_like_it() -> None:
    model = train(draw_ratings(40, 20), rating_weight=0.6)
    new = draw_ratings(30, 20, seed=1)
    weights = weigh_ratings(new, 0.6, model.weights.mean_rating)
    assert weights.min() < -0.2
    np.testing.assert_allclose(model.fold_in(new), weights @ model.vectors, rtol=1e-4, atol=1e-6)


def test_ease_with_ratings_goes_by_the_mean_of_those_it_was_trained_on() -> None:
    ratings = draw_ratings(40, 20)
    model = EaseModel.from_arrays(train(ratings, rating_weight=0.6).to_arrays())
    assert model.weights == RatingWeights(0.6, float(ratings.data.mean(dtype=np.float64)))


def test_ease_with_ratings_has_no_use_for_an_item_that_is_only_rated_badly() -> None:
    ratings = draw_ratings(40, 20).tolil()
    ratings[:, 3] = 0
    ratings[:5, 3] = 0.5
    model = train(ratings.tocsr(), n_factors=20, rating_weight=0.6)
    assert not model.vectors[3].any()
    assert model.scale[3] == 1.0


def test_ease_without_ratings_is_saved_as_it_was_before_they_could_weigh() -> None:
    arrays = train(draw_ratings(40, 20)).to_arrays()
    assert arrays.keys() == {"item_factors", "scale"}
    assert EaseModel.from_arrays(arrays).weights == EQUAL


def test_ease_gives_unrated_items_no_score() -> None:
    ratings = draw_ratings(40, 20).tolil()
    ratings[:, [3, 19]] = 0
    model = train(ratings.tocsr(), n_factors=20)
    np.testing.assert_allclose(model.item_factors[[3, 19]], 0.0, atol=1e-12)
    np.testing.assert_array_equal(model.scale[[3, 19]], 1.0)
    assert np.isfinite(model.scale).all()


def test_ease_has_as_many_factors_as_the_ratings_have_directions() -> None:
    two_groups = csr_matrix(kron(np.eye(2), np.ones((50, 60))), dtype=np.float32)
    trained = train_ease(two_groups, seed=0, device="cpu", **{**EASE, "n_factors": 200})
    assert trained.figures["rank"] == trained.model.item_factors.shape[1] == 2
    assert trained.figures["explained_share"] == pytest.approx(1.0, rel=1e-5)


def test_directions_without_ratings_are_left_out() -> None:
    twenty_groups = csr_matrix(kron(np.eye(20), np.ones((20, 30))), dtype=np.float32)
    space = find_principal_directions(
        twenty_groups, 50, popularity_exponent=0.5, power_iterations=2, seed=0, device="cpu"
    )
    np.testing.assert_allclose(space.energies, np.full(20, 600.0), rtol=1e-5)
    gram = space.directions.T @ space.directions
    np.testing.assert_allclose(gram, np.eye(20), atol=1e-5)


def test_ease_directions_are_near_the_largest_of_a_flat_spectrum() -> None:
    """Random ratings, which have no structure to find, are the worst case."""
    ratings = draw_ratings(900, 600, density=0.05)
    exact = np.linalg.svd(mark_seen(ratings).toarray(), compute_uv=False)[:64] ** 2
    space = find_principal_directions(
        mark_seen(ratings), 64, popularity_exponent=0.0, power_iterations=30, seed=0, device="cpu"
    )
    assert 0.99 * exact.sum() < space.energies.sum() <= exact.sum() * (1 + 1e-6)
    assert (np.diff(space.energies) <= 0).all()


def test_ease_signs_and_bits_do_not_depend_on_chance() -> None:
    ratings = draw_ratings(300, 200)
    once, again, other = (
        find_principal_directions(
            mark_seen(ratings),
            8,
            popularity_exponent=0.2,
            power_iterations=60,
            seed=seed,
            device="cpu",
        )
        for seed in (0, 0, 1)
    )
    assert are_bit_equal(once.directions, again.directions)
    largest = np.abs(once.directions).argmax(axis=0)
    assert (once.directions[largest, range(8)] > 0).all()
    assert not are_bit_equal(once.directions, other.directions)
    np.testing.assert_allclose(once.directions[:, 0], other.directions[:, 0], atol=1e-3)


def test_ease_of_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"^ease: there are no ratings"):
        train(NO_RATINGS)


def test_ease_without_regularization_names_it() -> None:
    with pytest.raises(TrainingError, match=r"raise train\.ease\.regularization \(now 1e-09\)"):
        train(draw_ratings(60, 20), n_factors=20, regularization=1e-9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_ease_without_a_gpu_refuses_one() -> None:
    with pytest.raises(DeviceError, match=r"train\.device = 'cuda', but torch .* finds no GPU"):
        train(GROUPS.ratings, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_ease_on_a_gpu_is_that_of_the_cpu() -> None:
    ratings = draw_ratings(300, 200)
    on_gpu = train(ratings, n_factors=8, device="cuda")
    on_cpu = train(ratings, n_factors=8)
    expected = compute_model_ease(on_cpu)
    np.testing.assert_allclose(compute_model_ease(on_gpu), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("scale", np.ones(19, np.float32)),
        ("scale", np.ones((20, 1), np.float32)),
        ("scale", np.full(20, np.inf)),
        ("scale", np.zeros(20)),
        ("item_factors", np.full((20, 2), np.nan)),
        ("item_factors", np.ones(20)),
    ],
)
def test_ease_refuses_arrays_that_do_not_fit(name: str, broken: np.ndarray) -> None:
    arrays = train(draw_ratings(40, 20)).to_arrays() | {name: broken}
    with pytest.raises(ValueError, match=r"item_factors|scale"):
        EaseModel.from_arrays(arrays)


def measure_model(trained: TrainedModel, split: Split) -> float:
    model = trained.model
    return measure_ndcg(model.fold_in(split.known), model.item_factors, split)


PLAIN_NMF = [(10, 0.0, False), (15, 0.0, False), (20, 0.0, False), (15, 0.0, True)]
PENALIZED_NMF = [(80, 0.01, True), (160, 0.01, True), (80, 0.03, False)]
"""n_components, regularization and binary: the best of a wide grid."""


def measure_nmf(split: Split, grid: list[tuple[int, float, bool]]) -> list[float]:
    common = {"init": "nndsvda", "max_iter": 100, "tol": 1e-3, "seed": 0}
    names = ("n_components", "regularization", "binary")
    settings = [dict(zip(names, values, strict=True)) for values in grid]
    return [measure_model(train_nmf(split.train, **common, **chosen), split) for chosen in settings]


def measure_ease(split: Split, grid: list[float]) -> list[float]:
    return [
        measure_model(
            train_ease(
                split.train,
                n_factors=256,
                regularization=regularization,
                popularity_exponent=0.0,
                activity_exponent=0.25,
                power_iterations=2,
                scaling="diagonal",
                seed=0,
                device="cpu",
            ),
            split,
        )
        for regularization in grid
    ]


def measure_full_ease(split: Split, grid: list[float]) -> list[float]:
    seen = mark_seen(split.known).toarray()
    weights = (compute_full_ease(split.train, regularization) for regularization in grid)
    return [
        measure_ndcg(seen, np.ascontiguousarray(each.T, dtype=np.float32), split)
        for each in weights
    ]


@pytest.mark.real
def test_ease_of_a_low_rank_is_as_good_as_ease_and_better_than_nmf(real_data: Path) -> None:
    ratings = read_movielens(real_data)
    splits = [hold_out_at_random(ratings, fraction=0.2, seed=seed) for seed in range(3)]

    def find_best(scores: list[list[float]]) -> float:
        """Of the best setting, by its mean over the splits."""
        return float(np.mean(scores, axis=0).max())

    ease = find_best([measure_ease(split, [200.0, 300.0]) for split in splits])
    full = find_best([measure_full_ease(split, [200.0, 300.0]) for split in splits])
    plain = find_best([measure_nmf(split, PLAIN_NMF) for split in splits])
    penalized = find_best([measure_nmf(split, PENALIZED_NMF) for split in splits])
    assert ease > full - 0.002
    assert ease > 1.15 * plain
    assert ease > 1.05 * penalized
