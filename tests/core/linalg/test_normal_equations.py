"""One user's normal equations: float32 where it does, float64 where not, and the same solution."""

from typing import Any

import numpy as np
import pytest

from recsys_core.compile.padding import pad_columns
from recsys_core.linalg.normal_equations import solve_remaining, solve_users
from recsys_core.linalg.user_systems import SharedGram, UserSystems, create_workspace

N_ITEMS = 900
FEW, MANY = 20, 300
"""Ratings that are solved for in the dual, and in the primal, at 64 columns."""
USERS = pytest.mark.parametrize("n_ratings", [FEW, MANY])


def draw_matrix(*, scale: float = 1.0, n_columns: int = 64) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(0.1, 0.3, (N_ITEMS, n_columns))
    return np.float32(scale * vectors)


def draw_user(n_ratings: int) -> tuple[np.ndarray, np.ndarray]:
    """Items, some of them more than once, and targets."""
    rng = np.random.default_rng(n_ratings)
    return rng.integers(0, N_ITEMS, n_ratings).astype(np.int32), rng.normal(3.0, 1.0, n_ratings)


def draw_confidences(n_ratings: int, least: float) -> np.ndarray:
    return np.random.default_rng(1).uniform(least, 3.0, n_ratings).astype(np.float32)


def solve(
    shared: SharedGram, n_ratings: int, ridge: float, confidences: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """The solution and the minimum."""
    solutions, minima = np.zeros((1, len(shared.eigenvalues))), np.zeros(1)
    solve_users(shared, *_describe(n_ratings, ridge, confidences), solutions, minima)
    return solutions[0], minima[0]


def float32_does(
    shared: SharedGram, n_ratings: int, ridge: float, confidences: np.ndarray | None = None
) -> bool:
    done, solutions = np.zeros(1, np.bool_), np.zeros((1, len(shared.eigenvalues)))
    user = UserSystems(*_describe(n_ratings, ridge, confidences), solutions, np.zeros(1), done)
    solve_remaining(shared, user, create_workspace(shared.factors.shape[1], np.float32))
    return bool(done[0])


def _describe(n_ratings: int, ridge: float, confidences: np.ndarray | None) -> tuple[Any, ...]:
    indptr, (items, targets) = np.array([0, n_ratings]), draw_user(n_ratings)
    return indptr, items, confidences, targets, indptr[:1], np.array([ridge])


def solve_with_numpy(
    matrix: np.ndarray,
    n_ratings: int,
    ridge: float,
    weight: float = 0.0,
    confidences: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """The same as least squares, whose error does not grow with the square of A's; the sum there.

    G = weight * matrix' matrix.
    """
    items, targets = draw_user(n_ratings)
    wide, n_columns = matrix.astype(np.float64), matrix.shape[1]
    roots = np.sqrt(np.ones(n_ratings) if confidences is None else confidences.astype(np.float64))
    parts = [roots[:, None] * wide[items], np.sqrt(ridge) * np.eye(n_columns)]
    if weight:
        parts.append(np.sqrt(weight) * wide)
    stacked = np.concatenate(parts)
    wanted = np.concatenate([roots * targets, np.zeros(len(stacked) - n_ratings)])
    solution = np.linalg.lstsq(stacked, wanted, rcond=None)[0]
    return solution, float(np.sum((stacked @ solution - wanted) ** 2))


def with_gram(matrix: np.ndarray, weight: float) -> SharedGram:
    wide = matrix.astype(np.float64)
    gram = weight * wide.T @ wide
    values, vectors = np.linalg.eigh(gram)
    directions = np.ascontiguousarray(vectors.T)
    padded = [pad_columns(each) for each in (matrix, gram, wide @ vectors, directions)]
    return SharedGram(*padded, values)


def measure_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@USERS
@pytest.mark.parametrize("ridge", [0.05, 2.0, 500.0])
def test_float32_is_refined_to_what_float64_gives(n_ratings: int, ridge: float) -> None:
    matrix = draw_matrix()
    shared = SharedGram.zero(matrix)
    found, minimum = solve(shared, n_ratings, ridge)
    expected, expected_minimum = solve_with_numpy(matrix, n_ratings, ridge)
    assert float32_does(shared, n_ratings, ridge)
    # Without the correction it is off by 1e-7 and more, and the minimum by the square of it.
    assert measure_error(found, expected) < 1e-10
    assert minimum == pytest.approx(expected_minimum, rel=1e-13 if n_ratings == MANY else 1e-10)


def test_a_correction_that_is_not_small_means_float64() -> None:
    """So many ratings that float32 loses digits in their sums: one correction leaves 1e-11."""
    matrix, n_ratings = draw_matrix(), 100_000
    shared, ridge = SharedGram.zero(matrix), 600.0
    found, minimum = solve(shared, n_ratings, ridge)
    expected, expected_minimum = solve_with_numpy(matrix, n_ratings, ridge)
    assert not float32_does(shared, n_ratings, ridge)
    assert measure_error(found, expected) < 1e-13
    assert minimum == pytest.approx(expected_minimum, rel=1e-12)


@USERS
@pytest.mark.parametrize("condition", [1e3, 9e5])
def test_columns_of_all_sizes_are_solved_as_exactly(n_ratings: int, condition: float) -> None:
    matrix = draw_matrix() * np.logspace(0.0, -3.0, 64, dtype=np.float32)
    ridge = float(np.sum(matrix[draw_user(n_ratings)[0]] ** 2)) / condition
    found, minimum = solve(SharedGram.zero(matrix), n_ratings, ridge)
    expected, expected_minimum = solve_with_numpy(matrix, n_ratings, ridge)
    assert measure_error(found, expected) < 1e-9
    assert minimum == pytest.approx(expected_minimum, rel=1e-9)


@USERS
@pytest.mark.parametrize("weight", [1e-3, 0.1])
def test_a_shared_gram_matrix_is_part_of_the_system(n_ratings: int, weight: float) -> None:
    matrix = draw_matrix()
    shared = with_gram(matrix, weight)
    found, minimum = solve(shared, n_ratings, 0.5)
    expected, expected_minimum = solve_with_numpy(matrix, n_ratings, 0.5, weight)
    assert float32_does(shared, n_ratings, 0.5)
    assert measure_error(found, expected) < 1e-10
    assert minimum == pytest.approx(expected_minimum, rel=1e-10)


@USERS
@pytest.mark.parametrize("least", [1e-4, 0.5])
@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_ratings_count_as_their_confidences_say(
    n_ratings: int, least: float, weight: float
) -> None:
    matrix, confidences = draw_matrix(), draw_confidences(n_ratings, least)
    shared = with_gram(matrix, weight) if weight else SharedGram.zero(matrix)
    found, minimum = solve(shared, n_ratings, 0.5, confidences)
    expected, expected_minimum = solve_with_numpy(matrix, n_ratings, 0.5, weight, confidences)
    assert float32_does(shared, n_ratings, 0.5, confidences)
    assert measure_error(found, expected) < 1e-10
    assert minimum == pytest.approx(expected_minimum, rel=1e-10)


@USERS
def test_confidences_of_one_are_none(n_ratings: int) -> None:
    shared, ones = SharedGram.zero(draw_matrix()), np.ones(n_ratings, np.float32)
    found, minimum = solve(shared, n_ratings, 0.5, ones)
    expected, expected_minimum = solve(shared, n_ratings, 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert minimum == pytest.approx(expected_minimum, rel=1e-12)


def test_a_confidence_far_below_the_others_means_float64() -> None:
    """In the dual, where it is inverted."""
    matrix, confidences = draw_matrix(), draw_confidences(FEW, 1.0)
    confidences[3] = 1e-8
    shared = SharedGram.zero(matrix)
    found, _ = solve(shared, FEW, 0.5, confidences)
    expected, _ = solve_with_numpy(matrix, FEW, 0.5, confidences=confidences)
    assert not float32_does(shared, FEW, 0.5, confidences)
    assert measure_error(found, expected) < 1e-10


def repeat_columns(noise: float) -> np.ndarray:
    """Half of the columns are the other half but for some noise."""
    base = draw_matrix(n_columns=32)
    other = np.random.default_rng(1).normal(size=base.shape)
    return np.float32(np.concatenate([base, base + noise * other], axis=1))


@USERS
@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_a_badly_conditioned_system_is_solved_in_float64(n_ratings: int, noise: float) -> None:
    matrix, ridge = repeat_columns(noise), 1e-5
    shared = SharedGram.zero(matrix)
    assert not float32_does(shared, n_ratings, ridge)
    found, minimum = solve(shared, n_ratings, ridge)
    expected, expected_minimum = solve_with_numpy(matrix, n_ratings, ridge)
    assert measure_error(found, expected) < 1e-7
    assert minimum == pytest.approx(expected_minimum, rel=1e-7)


@USERS
@pytest.mark.parametrize("scale", [1e-20, 1e18])
def test_what_is_beyond_float32_is_solved_in_float64(n_ratings: int, scale: float) -> None:
    """Squares of the factors are no numbers of float32, though the system is a good one."""
    matrix, ridge = draw_matrix(scale=scale), 2.0 * scale**2
    shared = SharedGram.zero(matrix)
    # The dual's system is scaled, and none of its numbers are that far out.
    assert float32_does(shared, n_ratings, ridge) == (n_ratings == FEW)
    found, minimum = solve(shared, n_ratings, ridge)
    expected, expected_minimum = solve_with_numpy(draw_matrix(), n_ratings, 2.0)
    assert measure_error(scale * found, expected) < 1e-6  # the factors are rounded anew
    assert minimum == pytest.approx(expected_minimum, rel=1e-6)


@pytest.mark.parametrize("ridge", [1e-6, 3e4])
def test_a_hundred_thousand_ratings_are_solved_as_exactly(ridge: float) -> None:
    matrix = draw_matrix()
    found, minimum = solve(SharedGram.zero(matrix), 100_000, ridge)
    expected, expected_minimum = solve_with_numpy(matrix, 100_000, ridge)
    assert measure_error(found, expected) < 3e-10
    assert minimum == pytest.approx(expected_minimum, rel=1e-9)


def test_users_are_done_in_the_type_of_numbers_that_does() -> None:
    """Among others, each as alone."""
    shared, sizes = SharedGram.zero(draw_matrix()), [FEW, MANY, 0, FEW, MANY]
    ridges = np.array([2.0, 2.0, 2.0, 1e-9, 1e-9])
    items, targets = (np.concatenate(parts) for parts in zip(*map(draw_user, sizes), strict=True))
    indptr = np.cumsum([0, *sizes])
    solutions, done = np.zeros((5, 64)), np.array(sizes) == 0
    user = indptr, items, None, targets, indptr[:-1], ridges
    users = UserSystems(*user, solutions, np.zeros(5), done)
    solve_remaining(shared, users, create_workspace(64, np.float32))
    assert done.tolist() == [True, True, True, False, False]
    solve_users(shared, *user, solutions, np.zeros(5))
    for at, size in enumerate(sizes):
        np.testing.assert_array_equal(solutions[at], solve(shared, size, ridges[at])[0])


@pytest.mark.parametrize("n_columns", [1, 15, 16, 17])
def test_padded_matrices_begin_at_a_line_of_the_cache(n_columns: int) -> None:
    matrix = draw_matrix(n_columns=n_columns)
    padded = pad_columns(matrix)
    np.testing.assert_array_equal(padded[:, :n_columns], matrix)
    assert not padded[:, n_columns:].any()
    assert padded.shape[1] == (32 if n_columns == 17 else 16)
    assert padded.ctypes.data % 64 == 0
    assert pad_columns(padded) is padded


def test_a_matrix_of_whole_vectors_need_not_be_copied() -> None:
    memory = np.zeros(16 * 10 + 1, np.float32)
    shifted = (memory[1:] if memory.ctypes.data % 64 == 0 else memory[:-1]).reshape(10, 16)
    assert pad_columns(shifted) is not shifted
    assert pad_columns(shifted, aligned=False) is shifted
    shifted.flags.writeable = False
    assert pad_columns(shifted, aligned=False) is not shifted
