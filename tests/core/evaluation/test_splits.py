"""What a split holds out, and that nothing of it reaches training."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from core_examples import are_bit_equal, draw_ratings
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_core.evaluation.splits import (
    Split,
    hold_out_after,
    hold_out_at_random,
    hold_out_latest,
    hold_out_users,
)


@dataclass(frozen=True)
class Timed:
    ratings: csr_matrix
    times: np.ndarray


def draw_timed(seed: int, density: float = 0.4) -> Timed:
    ratings = draw_ratings(20, 15, seed=seed, density=density)
    # A few of many users rate at the same second.
    return Timed(ratings, np.random.default_rng(seed).integers(0, 40, ratings.nnz).astype(float))


SPLITS: dict[str, Callable[[Timed, int], Split]] = {
    "random": lambda timed, seed: hold_out_at_random(timed.ratings, fraction=0.3, seed=seed),
    "latest": lambda timed, _: hold_out_latest(timed.ratings, timed.times, n=2),
    "after": lambda timed, _: hold_out_after(timed.ratings, timed.times, fraction=0.25),
    "users": lambda timed, seed: hold_out_users(
        timed.ratings, fraction=0.25, known_fraction=0.5, seed=seed
    ),
}


def list_ratings(matrix: csr_matrix) -> set[tuple[tuple[int, float], ...]]:
    return {tuple(zip(row.indices, row.data, strict=True)) for row in matrix}


@pytest.fixture(params=SPLITS.values(), ids=SPLITS.keys(), scope="module")
def hold_out(request: pytest.FixtureRequest) -> Callable[[Timed, int], Split]:
    return request.param


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.floats(0.05, 1.0))
def test_measured_users_have_ratings_on_both_sides_and_none_on_two(
    hold_out: Callable[[Timed, int], Split], seed: int, density: float
) -> None:
    timed = draw_timed(seed, density)
    split = hold_out(timed, seed)
    for matrix in (split.train, split.known, split.held_out):
        assert matrix.shape[1] == timed.ratings.shape[1]
        assert matrix.data.dtype == np.float32
    assert split.known.shape == split.held_out.shape
    assert (np.diff(split.known.indptr) > 0).all()
    assert (np.diff(split.held_out.indptr) > 0).all()
    assert split.known.multiply(split.held_out).nnz == 0
    wholes = list_ratings(timed.ratings)
    assert list_ratings(split.known + split.held_out) <= wholes


@pytest.mark.parametrize("name", ["random", "users"])
def test_the_draw_is_that_of_the_seed(name: str) -> None:
    timed = draw_timed(5)
    first, again, other = (SPLITS[name](timed, seed) for seed in (0, 0, 1))
    assert are_bit_equal(first.held_out.toarray(), again.held_out.toarray())
    assert first.held_out.shape != other.held_out.shape or (first.held_out != other.held_out).nnz


def test_a_share_of_each_users_ratings_is_held_out_and_the_rest_trained_on() -> None:
    ratings = csr_matrix(np.triu(np.ones((11, 10), np.float32)))  # 10, 9, ... 1, 0 ratings
    split = hold_out_at_random(ratings, fraction=0.2, seed=3)
    assert np.diff(split.train.indptr).tolist() == [8, 7, 6, 6, 5, 4, 3, 2, 2, 1, 0]
    assert np.diff(split.held_out.indptr).tolist() == [
        2,
        2,
        2,
        1,
        1,
        1,
        1,
        1,
    ]  # 0.2 * 2 rounds to 0
    assert (split.train[:8] + split.held_out != ratings[:8]).nnz == 0


def test_the_latest_are_held_out_the_higher_item_first_where_times_are_equal() -> None:
    ratings = csr_matrix(np.array([[1, 2, 3, 4], [0, 5, 5, 0], [5, 4, 3, 0]], dtype=np.float32))
    times = np.array([9.0, 7.0, 9.0, 1.0, 1.0, 2.0, 6.0, 6.0, 6.0])
    split = hold_out_latest(ratings, times, n=2)
    assert split.train.toarray().tolist() == [[0, 2, 0, 4], [0, 5, 5, 0], [5, 0, 0, 0]]
    assert split.held_out.toarray().tolist() == [[1, 0, 3, 0], [0, 4, 3, 0]]


def test_one_point_in_time_parts_the_past_from_the_future_of_everyone() -> None:
    timed = draw_timed(1)
    split = hold_out_after(timed.ratings, timed.times, fraction=0.25)
    at = csr_matrix((timed.times + 1, timed.ratings.indices, timed.ratings.indptr))
    past, future = at[split.train.nonzero()], at[(timed.ratings - split.train).nonzero()]
    assert past.max() < future.min()
    assert 0.15 < future.shape[1] / timed.ratings.nnz <= 0.25


def test_new_users_are_not_trained_on() -> None:
    ratings = csr_matrix(np.arange(1, 601, dtype=np.float32).reshape(60, 10))  # all values differ
    split = hold_out_users(ratings, fraction=0.25, known_fraction=0.5, seed=0)
    assert split.train.shape[0] == 45
    assert split.known.shape[0] == 15
    assert not {*split.train.data} & {*split.known.data, *split.held_out.data}
    assert set(np.diff(split.known.indptr)) == set(np.diff(split.held_out.indptr)) == {5}


def test_ratings_of_zero_are_ratings() -> None:
    ratings = csr_matrix((np.zeros(4, np.float32), [0, 1, 2, 3], [0, 4]), shape=(1, 5))
    split = hold_out_at_random(ratings, fraction=0.5, seed=0)
    assert (split.train.nnz, split.held_out.nnz) == (2, 2)
