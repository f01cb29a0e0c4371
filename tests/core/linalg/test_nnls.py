"""Non-negative least squares: the minimum, and each row alone."""

import numpy as np
import pytest
from core_examples import are_bit_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from recsys_core.linalg.nnls import solve_nnls

N_ITEMS = 60


def draw_factors(n_factors: int, *, rank: int | None = None, seed: int = 0) -> np.ndarray:
    """Non-negative H, float64 [n_factors, N_ITEMS], half of it zero unless ``rank`` is given."""
    rng = np.random.default_rng(seed)
    if rank is not None:
        return rng.random((n_factors, rank)) @ rng.random((rank, N_ITEMS))
    return np.maximum(rng.normal(size=(n_factors, N_ITEMS)), 0.0)


def draw_rows(n_rows: int, *, seed: int = 0) -> np.ndarray:
    """Rows of half stars, four fifths of them zero."""
    rng = np.random.default_rng(seed)
    stars = rng.integers(1, 11, (n_rows, N_ITEMS)) / 2
    return np.where(rng.random(stars.shape) < 0.2, stars, 0.0)


def solve(rows: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return solve_nnls(factors @ factors.T, rows @ factors.T)


def solve_with_scipy(rows: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return np.array([nnls(factors.T, row)[0] for row in rows])


def assert_minimum(weights: np.ndarray, gram: np.ndarray, targets: np.ndarray) -> None:
    """The KKT conditions: w >= 0, gradient >= 0, and one of the two zero for each factor."""
    gradient = weights @ gram - targets
    tolerance = 1e-6 * np.abs(targets).max(axis=1, keepdims=True)
    assert np.all(weights >= 0)
    assert np.all(gradient >= -tolerance)
    assert np.all(
        np.abs(gradient[weights > 0]) <= np.broadcast_to(tolerance, gradient.shape)[weights > 0]
    )


@pytest.mark.parametrize("n_factors", [1, 2, 8, 30, 60])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_weights_are_those_of_scipy(n_factors: int, scale: float) -> None:
    factors, rows = scale * draw_factors(n_factors, seed=1), draw_rows(25)
    expected = solve_with_scipy(rows, factors)
    found = solve(rows, factors)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())
    assert_minimum(found, factors @ factors.T, rows @ factors.T)


@pytest.mark.parametrize("step", [1e-2, 1e-4, 1e-7])
def test_nearly_equal_factors_still_give_the_minimum(step: float) -> None:
    """Weights of factors this alike are not determined; what they add up to is."""
    factors = draw_factors(10, rank=1, seed=2) + step * draw_factors(10, seed=3)
    rows = draw_rows(25)
    found = solve(rows, factors)
    assert_minimum(found, factors @ factors.T, rows @ factors.T)
    np.testing.assert_allclose(
        found @ factors, solve_with_scipy(rows, factors) @ factors, atol=1e-3
    )


def test_thirty_factors_of_rank_ten_give_the_same_reconstruction() -> None:
    factors, rows = draw_factors(30, rank=10, seed=4), draw_rows(40)
    found = solve(rows, factors)
    assert_minimum(found, factors @ factors.T, rows @ factors.T)
    np.testing.assert_allclose(
        found @ factors, solve_with_scipy(rows, factors) @ factors, atol=1e-5
    )


def test_planted_weights_come_back() -> None:
    factors = draw_factors(8, seed=5)
    planted = np.maximum(np.random.default_rng(6).normal(size=(30, 8)), 0.0)
    np.testing.assert_allclose(solve(planted @ factors, factors), planted, atol=1e-7)


def test_more_rows_than_a_block_are_all_solved() -> None:
    factors, rows = draw_factors(5), draw_rows(1100)
    assert_minimum(solve(rows, factors), factors @ factors.T, rows @ factors.T)


def test_nothing_to_explain_and_nothing_explainable_give_zero() -> None:
    gram = draw_factors(4) @ draw_factors(4).T
    targets = np.array([[0.0] * 4, [-1.0, -2.0, -0.5, -3.0]])
    assert not solve_nnls(gram, targets).any()


def test_a_factor_that_no_item_uses_stays_zero() -> None:
    factors, rows = draw_factors(6), draw_rows(20)
    with_gap = factors.copy()
    with_gap[2] = 0.0
    found = solve(rows, with_gap)
    assert not found[:, 2].any()
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(found[:, others], solve(rows, factors[others]), atol=1e-7)


@pytest.mark.filterwarnings("error")
def test_factors_that_are_all_zero_get_no_weight() -> None:
    assert not solve(draw_rows(5), np.zeros((3, N_ITEMS))).any()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 999), st.integers(1, 30), st.sampled_from([None, 2]), st.permutations(range(7))
)
def test_a_row_depends_on_itself_alone(
    seed: int, n_factors: int, rank: int | None, order: list[int]
) -> None:
    factors = draw_factors(n_factors, rank=rank, seed=seed)
    gram, targets = factors @ factors.T, draw_rows(7, seed=seed) @ factors.T
    together = solve_nnls(gram, targets)
    assert are_bit_equal(solve_nnls(gram, targets[order]), together[order])
    alone = [solve_nnls(gram, targets[[row]]) for row in range(7)]
    assert are_bit_equal(np.concatenate(alone), together)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 20), st.integers(1, 20))
def test_every_answer_is_a_minimum(seed: int, n_factors: int, rank: int) -> None:
    factors = draw_factors(n_factors, rank=rank, seed=seed)
    gram, targets = factors @ factors.T, draw_rows(6, seed=seed) @ factors.T
    assert_minimum(solve_nnls(gram, targets), gram, targets)


def test_arguments_are_left_as_they_were() -> None:
    factors = draw_factors(5)
    gram, targets = factors @ factors.T, draw_rows(9) @ factors.T
    copies = gram.copy(), targets.copy()
    solve_nnls(gram, targets)
    assert are_bit_equal(gram, copies[0])
    assert are_bit_equal(targets, copies[1])
